"""Image folders for tests."""

from pathlib import Path

import numpy as np
from PIL import Image


def pixels(seed: int = 0, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """A smooth colour image (H, W, 3) uint8 that JPEG keeps close."""
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    channels = [(rows * 7 + seed * 31) % 256, (columns * 9) % 256, (rows * 3 + columns * 2 + seed) % 256]
    return np.stack(channels, axis=2).astype(np.uint8)


def make_folder(root: Path, counts: dict[str, int], suffix: str = ".png") -> Path:
    """Write `counts[name]` images into each class folder."""
    for label, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(100 * label + number)).save(root / name / f"{number:03}{suffix}")
    return root
