"""Names that are recognised and not read: other models, and other libraries' names for a ViT."""

import re
from collections.abc import Iterable

_NOT_READ: tuple[tuple[str, str], ...] = (
    (r"(.*\.)?layers\.0\.ffn\.layers\.0\.0\.weight", "mmpretrain's names for a vision transformer"),
    (r"(.*\.)?(query|value)\.SCB|.*\.qweight|.*\.weight_format", "the names of a quantised model (bitsandbytes, GPTQ)"),
    (r"(.*\.)?layer1\.0\.conv1\.weight", "a ResNet's names"),
    (r"(.*\.)?(down_blocks|up_blocks)\.0\..*", "the names of a diffusion model's U-Net"),
    (r"(.*\.)?(word_embeddings|embed_tokens|wte)\.weight", "a language model's names"),
    (r"(.*[./])?(kernel|scale)", "JAX and Flax's names"),
    (r"(.*\.)?encoder\.layers?\.0\.(.*\.)?lambda_1", "transformers' names for a BEiT"),
)


def recognised(names: Iterable[str]) -> str:
    """Return what these names are, where it is something known that is not read; else an empty string."""
    listed = list(names)
    return next((what for pattern, what in _NOT_READ if any(re.fullmatch(pattern, name) for name in listed)), "")
