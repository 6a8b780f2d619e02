"""The same images of the demos' classes in every layout that people keep images in: a row names each, writes it and has the options."""

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.pictures import TURNED, make_tar, png, save, save_to_disk
from toast_core.data.sources import open_source

COUNT = 40
NAMES = ("ankle", "bag", "coat", "dress", "pullover", "sandal", "shirt", "sneaker", "top", "trouser")
OUTPUTS = (9, 8, 4, 3, 2, 5, 6, 7, 0, 1)  # of demo_vit, of these names
NUMBER_OF = {output: name for name, output in zip(NAMES, OUTPUTS, strict=True)}


def images() -> Iterator[tuple[int, np.ndarray, int]]:
    """Number, pixels (28, 28) uint8 and class of each image."""
    source = open_source("fashion-mnist")
    for number in range(COUNT):
        yield number, source.arrays[number], int(source.labels[number])


def _folders(
    name_of: Callable[[int], str], ending: Callable[[int], str] = lambda number: ".png", turned: bool = False
) -> Callable[[Path], Path]:
    """A writer of one folder a class; `turned` writes images that lie on their side, with the tag that says so."""

    def put(folder: Path) -> Path:
        for label in range(10):
            (folder / name_of(label)).mkdir(parents=True)
        for number, pixels, label in images():
            shown, tag = (np.rot90(pixels).copy(), TURNED) if turned else (pixels, None)
            options = {"lossless": True} if ending(number) == ".webp" else {}
            save(folder / name_of(label) / f"{number}{ending(number)}", shown, tag, **options)
        return folder

    return put


def _mapped(folder: Path) -> Path:
    _folders(NUMBER_OF.__getitem__)(folder / "photos")
    (folder / "classes.json").write_text(json.dumps(dict(zip(NAMES, OUTPUTS, strict=True))))
    return folder


def _linked(folder: Path) -> Path:
    _folders(str)(folder / "store")
    for label in range(10):
        (folder / "photos" / str(label)).mkdir(parents=True)
        (folder / "photos" / str(label) / "camera").symlink_to(folder / "store" / str(label))
    return folder / "photos"


def _table(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("filename", "label"))
        for number, pixels, label in images():
            save(folder / "flat" / f"{number}.png", pixels)
            writer.writerow((f"{number}.png", label))
    return folder


def _tar(folder: Path) -> Path:
    folder.mkdir()
    return make_tar(folder / "val.tar", {f"{label}/{number}.png": png(pixels) for number, pixels, label in images()})


def _deep(folder: Path) -> Path:
    for number, pixels, _ in images():
        save(folder / f"day {number % 3}" / f"{number}.png", pixels)
    return folder


def _list(folder: Path) -> Path:
    _deep(folder / "photos")
    (folder / "list.txt").write_text("".join(f"photos/day {number % 3}/{number}.png\n" for number in range(COUNT)))
    return folder / "list.txt"


def _saved(folder: Path) -> Path:
    shown = [(png(pixels), label) for _, pixels, label in images()]
    return save_to_disk(folder / "saved", [one for one, _ in shown], [label for _, label in shown], list(map(str, range(10))))


@dataclass(frozen=True)
class Layout:
    """One layout: its title, the writer of it (folder) -> place, and the options that read it."""

    title: str
    write: Callable[[Path], Path]
    options: str = "--data {place}"


LABELLED: dict[str, Layout] = {
    "class-folders": Layout("a folder a class, in the order of the model's outputs", _folders(lambda label: f"{label:02}")),
    "numbers": Layout(
        "a folder a class, numbered as timm's training numbers them", _folders(lambda label: f"class {label + 1}"),
        "--data {place} --class-order natural",
    ),
    "class-map": Layout(
        "a folder a class in any other order, or of fewer classes than the model has", _mapped,
        "--data {place}/photos --class-map {place}/classes.json",
    ),
    "formats": Layout(
        "PNG, WebP, BMP, TIFF and whatever else Pillow opens",
        _folders(str, lambda number: (".png", ".webp", ".bmp", ".TIFF")[number % 4]),
    ),
    "links": Layout("links to folders elsewhere", _linked),
    "photographs": Layout(
        "photographs that lie on their side, with an EXIF tag", _folders(str, turned=True), "--data {place} --exif-rotate",
    ),
    "table": Layout("a flat folder and a table of labels", _table, "--data {place}/flat --labels {place}/labels.csv"),
    "tar": Layout("a tar file, as timm's reader takes it", _tar),
    "saved": Layout("a data set of Hugging Face's, as `Dataset.save_to_disk` writes it", _saved),
}
UNLABELLED: dict[str, Layout] = {
    "tree": Layout("to calibrate on: any tree of images", _deep, "--calibration {place}"),
    "list": Layout("to calibrate on: a text file with an image a line", _list, "--calibration {place}"),
}
