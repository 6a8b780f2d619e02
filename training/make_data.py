"""Make the embedded Fashion-MNIST sets from the original files: the 10,000 test images and 5,000 calibration images.

    python training/make_data.py [--source /usr/share/datasets/fashion-mnist]

Debian's package `dataset-fashion-mnist` puts the originals there. The calibration images are a seeded, class-balanced draw
from the 60,000 training images; `train_demo.py` leaves them out, so that they are unseen data for everything that is
chosen by measuring. The test images are the original test files.
"""

import argparse
from pathlib import Path

import numpy as np

from toast_core.data.idx import read_idx, write_idx

ASSETS = Path(__file__).parents[1] / "toast_core" / "assets" / "fashion_mnist"
SEED = 2026
IMAGES_PER_CLASS = 500


def calibration_indices(labels: np.ndarray) -> np.ndarray:
    """Return which training images are calibration images: 500 a class, seeded, in the original file's order."""
    rng = np.random.default_rng(SEED)
    classes = np.unique(labels)
    return np.sort(np.concatenate([rng.choice(np.flatnonzero(labels == c), IMAGES_PER_CLASS, replace=False) for c in classes]))


def main(source: Path) -> None:
    ASSETS.mkdir(parents=True, exist_ok=True)
    train_images = read_idx(source / "train-images-idx3-ubyte.gz")
    train_labels = read_idx(source / "train-labels-idx1-ubyte.gz")
    chosen = calibration_indices(train_labels)
    write_idx(ASSETS / "calibration-images.idx.gz", train_images[chosen])
    write_idx(ASSETS / "calibration-labels.idx.gz", train_labels[chosen])
    write_idx(ASSETS / "test-images.idx.gz", read_idx(source / "t10k-images-idx3-ubyte.gz"))
    write_idx(ASSETS / "test-labels.idx.gz", read_idx(source / "t10k-labels-idx1-ubyte.gz"))
    for file in sorted(ASSETS.glob("*.gz")):
        print(file.name, read_idx(file).shape, f"{file.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    main(parser.parse_args().source)
