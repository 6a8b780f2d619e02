"""Decoding one image of a set, and why one could not be: no file that people bring ends a pass over the others. Imports no torch."""

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from toast_core.data.image_set import Source
from toast_core.data.pixels import WHITE_16, as_seen, is_turned
from toast_core.errors import DataError
from toast_core.files import first_line

_Input = TypeVar("_Input")
_HEAD_BYTES = 512
_DARK = 0.5  # of white: 15 bits and less, which cameras and scanners also write into 16
_MILLION = 1_000_000
_TEXT_ENDS = b"\t\n\r\f\b\x1b"
# What files under an image's name turn out to be, by their first bytes
_FOUND = (
    (b"version https://git-lfs", "it is a Git LFS pointer, not the image; run git lfs pull"),
    (b"/annex/objects/", "it is a git-annex pointer, not the image; run git annex get"),
    (b"%!PS", "it is PostScript, a program that is not run; convert it to PNG"),
    (b"%PDF", "it is a PDF document; convert it to PNG"),
    (b"PK\x03\x04", "it is a ZIP archive"),
    (b"\x1f\x8b", "it is compressed with gzip"),
)
_CONTAINERS = {b"heic": "HEIC", b"heix": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF", b"hevc": "HEIC", b"jxl ": "JPEG XL"}
_CUT_OFF = ("truncated", "not enough image data", "unexpected end", "eof", "unrecognized data stream contents when reading", "short")
_KNOWN_STARTS = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"BM": "BMP", b"II*\0": "TIFF", b"MM\0*": "TIFF", b"RIFF": "WebP",
}


class Marks(NamedTuple):
    """What a pass counts of an image that can be read.

    is_turned  whether it carries an EXIF rotation, applied or not
    is_float   whether its pixels are floating-point numbers, whose white is guessed
    is_deep    whether they are whole numbers of more than 8 bits, whose white is taken to be 65535
    brightest  of those, the largest; 0 for other images
    """

    is_turned: bool = False
    is_float: bool = False
    is_deep: bool = False
    brightest: int = 0


@dataclass(frozen=True)
class Seen:
    """A decoded image in mode L or RGB, with its marks."""

    image: Image.Image
    marks: Marks


@dataclass(frozen=True)
class Unreadable:
    """Why an image could not be decoded, in words that follow its name."""

    reason: str


def see(source: Source, index: int, channels: int | None = None, exif_rotate: bool = False) -> Seen | Unreadable:
    """Decode one image of a set to what models and people see, `as_seen`, or say why that cannot be."""
    try:
        image = source.open(index)
        return Seen(as_seen(image, channels, exif_rotate), _marks(image))
    except Exception as error:  # Pillow's decoders raise whatever they meet in a damaged file
        return Unreadable(why_unreadable(source, index, error))


def transformed(image: Image.Image, pipeline: Callable[[Image.Image], _Input], misfit: str | None) -> _Input | Unreadable:
    """What a transform makes of a decoded image, or why it cannot; `misfit` is what is known of that before."""
    if misfit is not None:
        return Unreadable(misfit)
    try:
        return pipeline(image)
    except Exception as error:  # Pillow and torchvision raise whatever they meet at sides of odd lengths
        return Unreadable(f"it is {image.width:,} x {image.height:,} pixels, which cannot be resized ({first_line(error, 80)})")


def check(source: Source, index: int, misfit: Callable[[tuple[int, int]], str | None] = lambda size: None) -> Marks | Unreadable:
    """Read one image to its end, JPEGs in an eighth of their size, and forget it; `misfit` says what is wrong with a size."""
    try:
        with source.open_lazily(index) as image:
            if reason := misfit(image.size):
                return Unreadable(reason)
            image.draft("RGB", (1, 1))
            image.load()
            if image.mode == "F" or image.mode.startswith("I"):
                as_seen(image)
            return _marks(image)
    except Exception as error:  # as above
        return Unreadable(why_unreadable(source, index, error))


def _marks(image: Image.Image) -> Marks:
    is_deep = image.mode.startswith("I")
    return Marks(is_turned(image), image.mode == "F", is_deep, int(np.max(np.asarray(image), initial=0)) if is_deep else 0)


def pixel_notes(marks: Sequence[Marks], exif_rotate: bool) -> list[str]:
    """What is said of pixels whose reading is a choice: how many of these carry an EXIF rotation, or numbers of unknown white."""
    turned, floats, deep = (sum(getattr(one, name) for one in marks) for name in ("is_turned", "is_float", "is_deep"))
    brightest = max((one.brightest for one in marks), default=0)
    notes = []
    if turned:
        what = "that is applied" if exif_rotate else "that is not applied, as in timm; --exif-rotate turns them"
        notes.append(f"{turned:,} of {len(marks):,} images {'carries' if turned == 1 else 'carry'} an EXIF rotation {what}")
    if floats:
        has = "has" if floats == 1 else "have"
        notes.append(f"{floats:,} of {len(marks):,} images {has} floating-point pixels, read as 0 to 1, or to 255 if one is above 1")
    if deep and brightest <= WHITE_16 * _DARK:
        what = f"{deep:,} of {len(marks):,} images {'has' if deep == 1 else 'have'} grey of more than 8 bits, where white is {WHITE_16}"
        notes.append(f"{what}; the brightest is {brightest}: save with 8 bits, or scaled to 16, what has another white")
    return notes


def why_unreadable(source: Source, index: int, error: Exception) -> str:
    """Say in a few words why an image of the set could not be read, from what its decoder raised and from its first bytes."""
    if isinstance(error, DataError):
        return str(error)
    if isinstance(error, Image.DecompressionBombError):
        return f"it is over Pillow's limit of {2 * (Image.MAX_IMAGE_PIXELS or 0) / _MILLION:.0f} million pixels; make it smaller"
    if isinstance(error, MemoryError):
        return "it does not fit into memory; make it smaller"
    try:
        with source.raw(index) as file:
            head, size = file.read(_HEAD_BYTES), file.seek(0, 2)
    except OSError as unopened:
        return _why_unopened(unopened)
    return _what_it_is(head) or _how_it_is_damaged(head, size, error)


def _why_unopened(error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "it is no longer there"
    return f"it cannot be opened ({error.strerror or first_line(error)})"


def _what_it_is(head: bytes) -> str | None:
    """What a file is that is no damaged image."""
    if not head:
        return "it is empty"
    if not head.strip(b"\0"):
        return "it begins with zeros only, as a copy that was not finished does"
    for start, found in _FOUND:
        if start in head[:64]:
            return found
    if head[4:8] == b"ftyp" and head[8:12] in _CONTAINERS:
        return f"it is {_CONTAINERS[head[8:12]]}, which Pillow does not read; convert it to PNG or JPEG"
    if head[4:8] == b"JXL " or head[:2] == b"\xff\x0a":
        return "it is JPEG XL, which Pillow does not read; convert it to PNG or JPEG"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "it is a web page, not an image; download it again"
    if text.startswith(b"<svg") or b"<svg" in text:
        return "it is SVG, which Pillow does not read; convert it to PNG"
    if text.startswith((b"<?xml", b"{", b"[")):
        return "it is an answer of a server or other text, not an image; download it again"
    return "it is text, not an image" if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    printed = sum(byte >= 32 or byte in _TEXT_ENDS for byte in head)
    return printed == len(head) and not any(byte > 127 for byte in head[:4])


def _how_it_is_damaged(head: bytes, size: int, error: Exception) -> str:
    known = next((name for start, name in _KNOWN_STARTS.items() if head.startswith(start)), None)
    text = str(error).lower()
    if isinstance(error, EOFError) or any(word in text for word in _CUT_OFF):
        return f"it is cut off after {size:,} bytes; copy it again"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"it begins as {known} but is cut off or damaged; copy it again" if known else "it is no image that Pillow reads"
    return f"it is damaged ({first_line(error, 80)}); copy it again"
