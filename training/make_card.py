"""Write the data card of the embedded models and images from the evaluation command and the training records.

    python training/make_card.py

Runs `toast evaluate` on all test images for each demo model; no figure is typed in.
"""

import json
import subprocess
import sys
from pathlib import Path

from toast_core.files import write_text

ASSETS = Path(__file__).parents[1] / "toast_core" / "assets" / "fashion_mnist"
TEXT = """# The embedded models and images

Images: Fashion-MNIST (Han Xiao, Kashif Rasul and Roland Vollgraf, 2017, arXiv 1708.07747), 28 x 28 grey, ten classes, MIT licence
(`LICENSE` beside this file). `test-*` are the 10,000 original test images. `calibration-*` are 5,000 of the 60,000 training
images, 500 a class, drawn by `training/make_data.py` with a fixed seed: no model trained on them, so what is chosen on them is
chosen on unseen images, and the test images stay untouched.

Models: trained by this project (`training/train_demo.py`, seed and settings in `*.training.json`), from random weights, on the other 55,000
images, with a small convolutional teacher trained on the same 55,000. The weights are those after the last epoch; nothing was chosen on
the test images.

| model | top-1 on the test images | 95 % interval | GMACs | parameters | trained on |
|---|---|---|---|---|---|
{rows}

The accuracies are what `toast evaluate --model NAME --data fashion-mnist --json` printed (float32, CPU); `python training/make_card.py`
writes this file anew.
"""


def row(name: str) -> str:
    """One line of the table."""
    base = [sys.executable, "-m", "toast_core"]
    measured = json.loads(
        subprocess.check_output(
            [*base, "evaluate", "--model", name, "--data", "fashion-mnist", "--batch-size", "250", "--device", "cpu", "--json"]
        )
    )
    counted = json.loads(subprocess.check_output([*base, "flops", "--model", name, "--json"]))["baseline"]
    record = json.loads((ASSETS / f"{name}.training.json").read_text())
    low, high = measured["top1"]["ci95"]
    return (
        f"| `{name}` | {measured['top1']['value']:.2f} % of {measured['images']} | {low:.2f} to {high:.2f} | {counted['macs'] / 1e9:.4f} | "
        f"{counted['params'] / 1e6:.3f} M | {record['recipe']['epochs']} epochs, {record['device']}, {record['threads']} thread(s), "
        f"{record['wall_minutes']:.0f} minutes wall ({record['cpu_minutes']:.0f} CPU minutes), torch {record['torch']} |"
    )


if __name__ == "__main__":
    card = ASSETS / "DATA_CARD.md"
    write_text(card, TEXT.format(rows="\n".join(row(name) for name in ("demo_vit", "demo_swin"))))
    print(card.read_text())
