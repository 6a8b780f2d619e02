"""What a config.json says of a model that no tensor shows: heads, activation, the norms' epsilon. A model that is built must agree."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from timm.layers import GELUTanh, QuickGELU
from torch import nn

from toast_core.errors import ModelError

_EXACT, _TANH, _QUICK = "gelu", "gelu_tanh", "quick_gelu"
_WORDS = {
    "gelu": _EXACT,
    "gelu_python": _EXACT,
    "gelu_new": _TANH,
    "gelu_fast": _TANH,
    "gelu_pytorch_tanh": _TANH,
    "gelu_tanh": _TANH,
    "quick_gelu": _QUICK,
    "quickgelu": _QUICK,
}


@dataclass(frozen=True)
class Claims:
    """Heads of every stage (one for a ViT), activation in the words above or as written, eps of the norms, timm's pooling; or None."""

    heads: tuple[int, ...] | None = None
    activation: str | None = None
    eps: float | None = None
    pooling: str | None = None


NOTHING_CLAIMED = Claims()
_EPS_APART = 1e-5  # further apart norms' epsilons give other outputs, not other last digits


def activation_of(word: object) -> str | None:
    """Return the activation that a config's word means; an unknown word stays as it is, so that it fits no model."""
    return _WORDS.get(word.lower(), word) if isinstance(word, str) else None


def contradiction(model: nn.Module, claims: Claims) -> str:
    """Return in what a model differs from the claims so that it would compute something else; empty where it agrees."""
    attentions = [module for module in model.modules() if hasattr(module, "qkv") and hasattr(module, "num_heads")]
    heads = tuple(sorted({int(str(module.num_heads)) for module in attentions}))
    if claims.heads is not None and heads and tuple(sorted(set(claims.heads))) != heads:
        return f"{_list(claims.heads)} heads, not {_list(heads)}"
    activation = _activation(model)
    known = claims.activation is not None and activation is not None
    if known and claims.activation != activation and {claims.activation, activation} != {_EXACT, _TANH}:
        return f"the activation {claims.activation}, not {activation}"
    eps = _eps(model)
    if claims.eps is not None and any(abs(one - claims.eps) > _EPS_APART for one in eps):
        return f"the norms' epsilon {claims.eps:g}, not {_list(eps)}"
    pooling = getattr(model, "global_pool", None)
    if claims.pooling and pooling and claims.pooling != pooling:
        return f"the pooling {claims.pooling}, not {pooling}"
    return ""


def check_claims(model: nn.Module, claims: Claims, name: str, fitting: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
    """Return a line for each small difference between a model and what its config.json says.

    `fitting` gives the names of the models that meet the claims; it takes a while.

    Raises:
        ModelError: it has other heads, another activation or a far other epsilon than the weights were trained with.
    """
    if what := contradiction(model, claims):
        fits = fitting()
        none = "timm has no model of these shapes with it: correct config.json, or use other weights"
        instead = f"pass --model {fits[0]}" if fits else none
        raise ModelError(f"config.json says {what} as {name} has; {instead}")
    notes = []
    activation = _activation(model)
    if claims.activation is not None and activation is not None and claims.activation != activation:
        notes.append(f"config.json says the activation {claims.activation}, {name} has {activation}: values differ from the third digit on")
    eps = _eps(model)
    if claims.eps is not None and eps and eps != [claims.eps]:
        apart = max(abs(one - claims.eps) for one in eps)
        notes.append(
            f"config.json says the norms' epsilon {claims.eps:g}, {name} has {_list(eps)}: a norm's output differs by a share of "
            f"{apart / 2:.1g} over the variance that it divides by"
        )
    return tuple(notes)


def _activation(model: nn.Module) -> str | None:
    """The activation of the first feed-forward network: None where there is none, its class's name where it is no GELU."""
    act = next((module.act for module in model.modules() if hasattr(module, "fc1") and hasattr(module, "act")), None)
    if act is None or isinstance(act, QuickGELU):
        return None if act is None else _QUICK
    if isinstance(act, GELUTanh) or (isinstance(act, nn.GELU) and act.approximate == "tanh"):
        return _TANH
    return _EXACT if isinstance(act, nn.GELU) or type(act).__name__ == "GELU" else type(act).__name__


def _eps(model: nn.Module) -> list[float]:
    """The epsilons of the model's norms, ascending."""
    return sorted({module.eps for module in model.modules() if isinstance(module, nn.LayerNorm)})


def _list(values: Iterable[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)
