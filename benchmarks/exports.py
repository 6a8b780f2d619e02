"""Do exports compute the same, and how fast do they run? Every family at test size, and the demos with a compensated schedule.

    OMP_NUM_THREADS=1 python benchmarks/exports.py [--families plain swin ...] [--models demo_vit demo_swin] [--images 256] [--pairs 15]

Each compact model is exported to torch.export and ONNX through `toast_core.export`, which opens the file, runs it on the images and
reports the largest logit difference over the largest logit. Images are Fashion-MNIST's test images, resized to the input of the
families, whose weights are random. ONNX Runtime is timed against the eager compact model in interleaved pairs of one batch, both with
PyTorch's number of threads. The demos' ONNX files are quantised to int8 by ONNX Runtime, with ranges taken from each batch (dynamic)
and from calibration images (static), and evaluated on all test images. What is quantised are the blocks' matrix products; patch
embedding and classifier stay float32.

Writes benchmarks/results/exports.json after every model, and goes on from it: models that are there are not measured again.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime import quantization
from torch import nn
from training_free import CALIBRATION, uniform_at

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.families import ALL, EVERY_SITE, named, schedule_for, shared_model, shared_statistics
from toast_core import apply_plan, count_macs, load_data, load_model, make_plan
from toast_core.compensation.walk import compensate
from toast_core.export import FORMATS, LARGEST_RELATIVE_DIFFERENCE, export_model
from toast_core.files import write_text
from toast_core.machine import processor_name
from toast_core.schedule.compensation import FULL

RESULTS = Path(__file__).parent / "results" / "exports.json"
TEST = "fashion-mnist"
REDUCTION = 0.4
FIT_IMAGES = 512
STATIC_IMAGES = 128
BATCH_SIZE = 32
Runner = Callable[[torch.Tensor], torch.Tensor]


def grey_images(count: int) -> torch.Tensor:
    """The first images of a class-balanced draw of Fashion-MNIST's test images, normalised, (B, 1, 28, 28)."""
    return torch.cat([batch.images for batch in load_data(TEST, load_model("demo_vit"), count).batches(count)])


def session_of(path: Path) -> Runner:
    """ONNX Runtime on as many threads as PyTorch."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def seconds(run: Runner, images: torch.Tensor) -> float:
    """Wall seconds of one batch."""
    begun = time.perf_counter()
    with torch.inference_mode():
        run(images)
    return time.perf_counter() - begun


def paired(first: Runner, second: Runner, images: torch.Tensor, pairs: int) -> dict:
    """Both on the same batch in alternating order, after three of each; the speed-up is of the second over the first."""
    for _ in range(3):
        seconds(first, images)
        seconds(second, images)
    rows = []
    for index in range(pairs):
        order = (first, second) if index % 2 == 0 else (second, first)
        measured = {id(run): seconds(run, images) for run in order}
        rows.append((measured[id(first)], measured[id(second)]))
    ratios = sorted(one / other for one, other in rows)
    return {
        "first_ms": 1000 * statistics.median(one for one, _ in rows),
        "second_ms": 1000 * statistics.median(other for _, other in rows),
        "speedup": statistics.median(ratios),
        "speedup_quartiles": [float(np.quantile(ratios, share)) for share in (0.25, 0.75)],
        "pairs": pairs,
        "batch_size": len(images),
    }


def exported(compact: nn.Module, images: torch.Tensor, folder: Path, pairs: int) -> dict:
    """Both exports of one compact model, and ONNX Runtime on the clock."""
    row = {"images": len(images), "macs": count_macs(compact)}
    for name in ("torch_export", "onnx"):
        record = export_model(compact, name, folder / f"model{FORMATS[name].suffix}", images)
        row[name] = {"relative_difference": record.relative_difference, "bytes": record.bytes}
    row["onnx"]["against_eager"] = paired(compact, session_of(folder / "model.onnx"), images[:BATCH_SIZE], pairs)
    return row


class StaticRanges(quantization.CalibrationDataReader):
    """Calibration images one batch at a time, as the quantiser asks for them."""

    def __init__(self, batches: Iterator[torch.Tensor]) -> None:
        self.batches = batches

    def get_next(self) -> dict | None:
        """The next batch, or None."""
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch.numpy()}


def quantised(model: nn.Module, compact: nn.Module, folder: Path, pairs: int) -> dict:
    """int8 files of one demo's ONNX file: accuracy on all test images, and speed against the float32 file and eager compact."""
    plain, prepared = folder / "model.onnx", folder / "prepared.onnx"
    whole = onnx.load(plain)
    del whole.graph.value_info[:]  # shapes that the quantiser's own changes contradict
    onnx.save(whole, prepared)
    data = load_data(TEST, model, order="sorted")
    calibration = load_data(CALIBRATION, model, STATIC_IMAGES, labelled=False)
    layers = {"per_channel": True, "op_types_to_quantize": ["MatMul"]}
    quantization.quantize_dynamic(prepared, folder / "dynamic.onnx", weight_type=quantization.QuantType.QInt8, **layers)
    quantization.quantize_static(
        prepared, folder / "static.onnx", StaticRanges(batch.images for batch in calibration.batches(BATCH_SIZE)),
        quant_format=quantization.QuantFormat.QDQ, **layers,
    )
    runs: dict[str, Runner] = {"compact": compact, "onnx": session_of(plain)}
    runs |= {f"int8_{name}": session_of(folder / f"{name}.onnx") for name in ("dynamic", "static")}
    right = dict.fromkeys(runs, 0)
    for batch in data.batches(250):
        with torch.inference_mode():
            for name, run in runs.items():
                right[name] += int((run(batch.images).argmax(dim=1) == batch.labels).sum())
    images = next(data.batches(BATCH_SIZE)).images
    return {
        "test_images": len(data),
        "static_calibration_images": STATIC_IMAGES,
        "top1": {name: 100 * count / len(data) for name, count in right.items()},
        "bytes": {name: (folder / f"{name}.onnx").stat().st_size for name in ("dynamic", "static")},
        "against_onnx": {name: paired(runs["onnx"], runs[f"int8_{name}"], images, pairs) for name in ("dynamic", "static")},
        "against_eager": {name: paired(compact, runs[f"int8_{name}"], images, pairs) for name in ("dynamic", "static")},
    }


def family_row(name: str, grey: torch.Tensor, folder: Path, pairs: int) -> dict:
    """A family of the tests, every site pruned, calibrated, random weights."""
    model, size = shared_model(name), named(name).size
    images = nn.functional.interpolate(grey, size, mode="bilinear").expand(-1, 3, -1, -1).contiguous()
    schedule = schedule_for(model, "calibrated", **EVERY_SITE)
    compact = apply_plan(model, make_plan(model, schedule, shared_statistics(name)), "compact")
    return {"weights": "random", "schedule": EVERY_SITE, **exported(compact, images, folder, pairs)}


def demo_row(name: str, grey: torch.Tensor, folder: Path, pairs: int) -> dict:
    """A demo with its own weights, at 40 % fewer MACs, compensated."""
    model = load_model(name)
    schedule = uniform_at(model.toast_info.shape, REDUCTION, "calibrated", FULL, 0)
    fit = load_data(CALIBRATION, model, FIT_IMAGES, labelled=False)
    compact = apply_plan(model, compensate(model, schedule, [batch.images for batch in fit.batches(64)]), "compact")
    row = {"weights": model.toast_info.weights, "schedule": schedule.to_dict(), "baseline_macs": count_macs(model)}
    return {**row, **exported(compact, grey, folder, pairs), "int8": quantised(model, compact, folder, pairs)}


def known_rows() -> dict:
    """What is measured already, by model."""
    return json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else {}


def main(families: list[str], models: list[str], images: int, pairs: int) -> None:
    grey = grey_images(images)
    for measure, names in ((demo_row, models), (family_row, families)):
        for name in names:
            if name in known_rows():
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = measure(name, grey, Path(folder), pairs)
            print(name, json.dumps({key: row[key] for key in ("torch_export", "onnx")}), flush=True)
            document = {
                "data": f"{TEST}, test images",
                "limit": LARGEST_RELATIVE_DIFFERENCE,
                "processor": processor_name(torch.device("cpu")),
                "threads": torch.get_num_threads(),
                "python": platform.python_version(),
                "date": time.strftime("%Y-%m-%d"),
                "versions": {package: version(package) for package in ("torch", "timm", "onnx", "onnxscript", "onnxruntime")},
                "rows": known_rows() | {name: row},
            }
            write_text(RESULTS, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=[family.name for family in ALL])
    parser.add_argument("--models", nargs="*", default=["demo_vit", "demo_swin"])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=15)
    arguments = parser.parse_args()
    main(arguments.families, arguments.models, arguments.images, arguments.pairs)
