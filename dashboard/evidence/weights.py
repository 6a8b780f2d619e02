"""Whether an analysis is of the weights that the dashboard runs. Imports no torch."""

from importlib.resources import files
from pathlib import Path

from analysis_cache.staleness import digest_of_weights
from dashboard.engine.client import shipped_shape
from toast_core.setup import Setup

_SHORT = 8


def weights_concern(setup: Setup, request: dict[str, object]) -> str | None:
    """Say that an analysis is of other weights than the dashboard runs, as far as that can be told without loading them."""
    if setup.weights == "random":
        return "measured with stored weights, this dashboard runs random ones" if request.get("weights_file") else None
    digest, dtype = _digest_of_own_weights(setup)
    if digest is None or dtype != request.get("dtype") or digest == request.get("weights_digest"):
        return None
    return f"measured with other weights: sha256 {str(request.get('weights_digest'))[:_SHORT]}, this dashboard's {digest[:_SHORT]}"


def weights_digest(setup: Setup) -> str | None:
    """sha256 of the weights that the dashboard runs; None where that cannot be told without loading them."""
    return None if setup.weights == "random" else _digest_of_own_weights(setup)[0]


def _digest_of_own_weights(setup: Setup) -> tuple[str | None, str | None]:
    if setup.img_size is not None:
        return None, None  # positions may have been resampled
    if setup.weights is not None:
        path = Path(setup.weights)
    elif shipped_shape(setup.model) is not None:
        path = Path(str(files("toast_core"))) / "assets" / "fashion_mnist" / f"{setup.model}.safetensors"
    else:
        return None, None
    return digest_of_weights(path, path.stat().st_mtime_ns) if path.is_file() else (None, None)
