"""Which kind of file a path is, told by its content: the suffix says little, as people rename. Imports no torch."""

import os
import zipfile
from pathlib import Path

from toast_core.errors import ModelError

SAFETENSORS, TORCH, JSON = "safetensors", "torch", "json"
_HEAD = 512
_SAVE_STATE = "in the program that made it, write the weights with torch.save(model.state_dict(), FILE)"
_TO_TORCH = "read it in a program of its library and write the weights with safetensors or torch.save"

# what a file begins with, what it then is, and what to do with it
_BEGINNINGS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch it with git lfs pull"),
    (b"\x89HDF", "an HDF5 file, as Keras and TensorFlow write weights", _TO_TORCH),
    (b"\x93NUMPY", "a NumPy array", "write a state dict with names: safetensors.torch.save_file or torch.save"),
    (b"GGUF", "a GGUF file, whose numbers are quantised", "use the checkpoint that it was made from"),
    (b"\x1f\x8b", "compressed (gzip)", "unpack it and name the file inside"),
    (b"BZh", "compressed (bzip2)", "unpack it and name the file inside"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it and name the file inside"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstandard)", "unpack it and name the file inside"),
    (b"7z\xbc\xaf", "compressed (7z)", "unpack it and name the file inside"),
    (b"\x89PNG", "a PNG image", "name a weights file; images go to --data"),
    (b"\xff\xd8\xff", "a JPEG image", "name a weights file; images go to --data"),
)
# a file inside a zip archive, what the archive then is, and what to do with it
_ARCHIVES: tuple[tuple[str, str, str], ...] = (
    ("constants.pkl", "a TorchScript program", _SAVE_STATE),
    ("archive_format", "an exported program (torch.export, pt2)", _SAVE_STATE),
    ("serialized_exported_program.json", "an exported program (torch.export, pt2)", _SAVE_STATE),
    ("model.weights.h5", "a Keras model", _TO_TORCH),
)


def kind_of(path: Path) -> str:
    """Return SAFETENSORS, TORCH (written by torch.save, now or before PyTorch 1.6) or JSON.

    Raises:
        ModelError: it cannot be opened, is empty, or is of a kind that is not read; the message names the kind and the next step.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise ModelError(f"weights file {path} cannot be opened ({error.strerror or error}); choose a file that can be read") from error
    for beginning, what, instead in _BEGINNINGS:
        if head.startswith(beginning):
            raise ModelError(f"weights file {path} is {what}; {instead}")
    if size > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000:  # the longest header that the format allows
        return SAFETENSORS
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        raise ModelError(f"weights file {path} is an HTML page, not a checkpoint; download the file itself (often: .../resolve/main/...)")
    if text.startswith(b"<"):
        raise ModelError(f"weights file {path} is an XML text (an OpenVINO or other model description); {_TO_TORCH}")
    if text.startswith((b"{", b"[")) and not head.startswith((b"{\x00", b"[\x00")):
        return JSON
    if reason := _other(path, head):
        raise ModelError(f"weights file {path} is {reason}")
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):  # a pickle: torch.save before PyTorch 1.6
        return TORCH
    if path.suffix == ".safetensors" or not head:
        reason = f"{size} bytes without its header"
        raise ModelError(f"weights file {path} is not a complete safetensors file ({reason}); copy it again or convert it anew")
    raise ModelError(
        f"weights file {path} is no checkpoint that is known (it begins with {head[:8].hex(' ')}); "
        "read are .safetensors files and what torch.save writes"
    )


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise ModelError(f"weights file {path} is cut off or damaged ({error}); copy it again") from error
    last = {name.rsplit("/", 1)[-1] for name in inside}
    for name, what, instead in _ARCHIVES:
        if name in last:
            raise ModelError(f"weights file {path} is {what}; {instead}")
    if "data.pkl" in last:
        return TORCH
    if inside and all(name.endswith(".npy") for name in inside):
        raise ModelError(f"weights file {path} is a NumPy archive, as JAX and Flax weights come; {_TO_TORCH}")
    held = ", ".join(inside[:3]) or "nothing"
    raise ModelError(
        f"weights file {path} is a zip archive without torch.save's data (it holds {held}); unpack it and name the file inside"
    )


def _other(path: Path, head: bytes) -> str:
    """What else a file can be by weaker signs, with the next step; empty where there are none."""
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model; {_TO_TORCH}"
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it and name the file inside"
    if head[:1] == b"\x08" and (path.suffix == ".onnx" or b"pytorch" in head[:64] or b"onnx" in head[:64]):
        return f"an ONNX model; {_SAVE_STATE}"
    if path.suffix == ".msgpack" or b"\x81" <= head[:1] <= b"\x8f" or head[:1] in (b"\xde", b"\xdf"):
        return f"a msgpack file, as Flax writes weights; {_TO_TORCH}"
    if path.suffix == ".pb" or path.suffix == ".index" or ".data-0000" in path.name:
        return f"a part of a TensorFlow checkpoint; {_TO_TORCH}"
    return ""
