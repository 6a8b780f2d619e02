"""Pictures in every mode and format that people's files have, and trees of them, for tests: small, seeded and of known content."""

import io
import json
import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 28
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 10000\n"
TURNED = 6  # the EXIF orientation of a phone held upright: rows and columns changed, to be turned clockwise


def grey(seed: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A grey picture of soft blobs, (H, W) uint8, which lossy formats keep close."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0 : shape[0], 0 : shape[1]] / max(shape)
    waves = sum(np.sin(6 * (a * rows + b * columns) + c) for a, b, c in rng.random((3, 3)) * 3)
    return np.interp(waves, (waves.min(), waves.max()), (0, 255)).round().astype(np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image, orientation: int | None = None, **options: object) -> Path:
    """Write a picture in the format of the path's ending, its folder too; `orientation` is the EXIF tag of that name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    if orientation is not None:
        options["exif"] = image.getexif()
        options["exif"][0x0112] = orientation
    image.save(path, **options)
    return path


def put(root: Path, names: Sequence[str]) -> Path:
    """Write a picture under each of these relative names; a name without an image's ending becomes a text file."""
    Image.init()
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in Image.SAVE or path.suffix.lower() in Image.EXTENSION:
            save(path, grey(number))
        else:
            path.write_text("text")
    return root


def png(pixels: np.ndarray) -> bytes:
    """The bytes of a picture as PNG."""
    packed = io.BytesIO()
    Image.fromarray(pixels).save(packed, "PNG")
    return packed.getvalue()


def make_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a tar file without compression, its members in this order."""
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def save_to_disk(
    folder: Path, images: Sequence[bytes | None], labels: Sequence[object], names: Sequence[str] | None, rows: int = 4
) -> Path:
    """Write what `datasets.Dataset.save_to_disk` writes of an image and a label column, `rows` to a batch, in two files."""
    import pyarrow

    folder.mkdir(parents=True)
    structs = [{"bytes": content, "path": None if content else "gone.png"} for content in images]
    label = {"names": list(names), "_type": "ClassLabel"} if names is not None else {"dtype": "int64", "_type": "Value"}
    schema = pyarrow.schema({
        "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        "label": {str: pyarrow.string(), bool: pyarrow.bool_()}.get(type(labels[0]) if labels else int, pyarrow.int64()),
    })
    table = pyarrow.table({"image": structs, "label": list(labels)}, schema)
    half = len(images) // 2
    parts = {f"data-0000{number}-of-00002.arrow": part for number, part in enumerate((table.slice(0, half), table.slice(half)))}
    for name, part in parts.items():
        with pyarrow.OSFile(str(folder / name), "wb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
            stream.write_table(part, max_chunksize=rows)
    features = {"image": {"_type": "Image"}, "label": label}
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in parts], "_split": None}))
    return folder


def rename_to_bytes(path: Path, name: bytes) -> Path:
    """Give a file or folder a name of bytes that are no UTF-8, as old archives have them; the path as Python has it."""
    target = os.fsencode(path.parent) + b"/" + name
    os.rename(os.fsencode(path), target)  # noqa: PTH104 - pathlib takes no bytes
    return Path(os.fsdecode(target))
