"""One way from any decoded picture to what models and people see, whoever looks: evaluation, training, the desk."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from tests.support.folders import make_folder, pixels
from tests.support.pictures import TURNED, grey, put, save
from toast_core.data.load import ImageData, load_data
from toast_core.data.pictures import pictures
from toast_core.data.pixels import as_seen, is_turned
from toast_core.data.sources import open_source
from toast_core.data.transform import transform_for
from toast_core.errors import DataError
from toast_core.loading import load_model
from toast_core.models.build import load_baseline
from toast_core.preprocessing import Preprocessing
from toast_core.studies.recovery.images import TrainingImages, looked_at

SIXTEEN = grey(3).astype(np.uint16) * 257
DARK = "4 of 4 images have grey of more than 8 bits, where white is 65535; the brightest is {most}: save with 8 bits, or scaled to 16"


def decoded(image: Image.Image, ending: str, **options: object) -> Image.Image:
    """The image as Pillow gives it back from a file."""
    packed = io.BytesIO()
    image.save(packed, ending, **options)
    with Image.open(io.BytesIO(packed.getvalue())) as opened:
        opened.load()
        return opened


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same two pictures with 8 and with 16 bits."""
    root = tmp_path_factory.mktemp("bits")
    for name, factor in (("eight", np.uint8(1)), ("sixteen", np.uint16(257))):
        for label in "ab":
            save(root / name / label / "1.png", grey(ord(label), (70, 64)) * factor)
    return root / "eight", root / "sixteen"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two of four pictures lie on their side, one of them as PNG; `up` has them all upright."""
    root = tmp_path_factory.mktemp("turned")
    for number in range(4):
        right, label = grey(number, (64, 64)), "ab"[number % 2]
        save(root / "up" / label / f"{number}.png", right)
        ending, lying = ("png", "webp", "jpg", "tif")[number], number < 2
        options = {"lossless": True} if ending == "webp" else {"quality": 100} if ending == "jpg" else {}
        save(root / "d" / label / f"{number}.{ending}", np.rot90(right) if lying else right, TURNED if lying else None, **options)
    return root


class TestModes:
    """The right pixels of every mode, and timm's where timm has them right."""

    @pytest.mark.parametrize("image", [
        Image.fromarray(SIXTEEN), decoded(Image.fromarray(SIXTEEN), "PNG"), decoded(Image.fromarray(SIXTEEN), "TIFF"),
        Image.fromarray(SIXTEEN.astype(np.int32)), decoded(Image.fromarray(SIXTEEN.astype(">u2")), "TIFF"), Image.fromarray(grey(3)),
        Image.fromarray(grey(3) / np.float32(255)), Image.fromarray(grey(3).astype(np.float32)),
        Image.merge("LA", [Image.fromarray(grey(3)), Image.fromarray(grey(4))]), Image.merge("RGB", [Image.fromarray(grey(3))] * 3),
        Image.fromarray(grey(3)).convert("P"), Image.merge("RGBA", [*[Image.fromarray(grey(3))] * 3, Image.fromarray(grey(4))]),
        Image.merge("CMYK", [Image.fromarray(255 - grey(3))] * 3 + [Image.new("L", (28, 28))]),
    ], ids=lambda image: image.mode)
    @pytest.mark.parametrize("channels", [1, 3, None])
    def test_grey_is_the_same_grey_in_every_mode(self, image: Image.Image, channels: int | None) -> None:
        found = as_seen(image, channels)
        assert found.mode == {1: "L", 3: "RGB"}.get(channels, found.mode) and found.mode in ("L", "RGB")
        assert np.abs(np.asarray(found.convert("L"), int) - grey(3)).max() <= 1

    @pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LA", "RGBX"])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_what_pillow_converts_right_stays_to_the_bit(self, mode: str, channels: int) -> None:
        image = Image.fromarray(pixels(5)).convert(mode)
        assert np.array_equal(np.asarray(as_seen(image, channels)), np.asarray(image.convert("L" if channels == 1 else "RGB")))

    def test_sixteen_bits_keep_todays_values(self) -> None:
        noise = np.random.default_rng(0).integers(0, 65536, (20, 20)).astype(np.uint16)
        expected = (noise / 257.0).round().astype(np.uint8)
        assert np.array_equal(np.asarray(as_seen(Image.fromarray(noise), 1)), expected)

    @pytest.mark.filterwarnings("error")
    def test_a_transparent_palette_is_its_colours_without_a_warning(self) -> None:
        image = decoded(Image.fromarray(pixels(7)).convert("P"), "PNG", transparency=bytes([0, 10, 200] * 60))
        assert "transparency" in image.info
        assert np.array_equal(np.asarray(as_seen(image, 3)), np.asarray(image.convert("RGBA"))[..., :3])

    @pytest.mark.parametrize("channels", [1, 3, None])
    def test_lab_is_seen_in_its_colours(self, channels: int | None) -> None:
        colours = Image.fromarray(pixels(7))
        lab = ImageCms.profileToProfile(colours, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
        found = as_seen(decoded(lab, "TIFF"), channels)
        assert np.abs(np.asarray(found, int) - np.asarray(colours.convert(found.mode), int)).mean() < 3

    @pytest.mark.parametrize(("values", "said"), [
        (np.array([[0, 70000]], np.int32), "from 0 to 70000, where 0 is black and 65535 white"),
        (np.array([[-1, 5]], np.int32), "from -1 to 5"),
        (np.array([[0, 300]], np.float32), "from 0 to 300, where 0 is black and 255 white"),
        (np.array([[-0.5, 1]], np.float32), "from -0.5 to 1, where 0 is black and 1 white"), (np.array([[np.nan, 1]], np.float32), "nan"),
    ])
    def test_pixels_without_a_known_white_are_refused(self, values: np.ndarray, said: str) -> None:
        with pytest.raises(DataError, match=said):
            as_seen(Image.fromarray(values), 1)


class TestOnePath:
    """The same picture for evaluation, training and the page."""

    def test_training_sees_what_evaluation_sees(self, folders: tuple[Path, Path]) -> None:
        model = load_baseline("vit_tiny_patch16_224", "random", 2, 64)
        seen = []
        for folder in folders:
            data = load_data(folder, model, order="sorted")
            evaluated = next(data.batches(2)).images
            (trained, _), = TrainingImages(data, True, True, 0, workers=0).batches([np.arange(2)], 0)
            (plain, _), = TrainingImages(data, True, False, 0, workers=0).batches([np.arange(2)], 0)
            assert torch.equal(plain, evaluated)
            seen.append((evaluated, trained))
        assert all(torch.equal(eight, sixteen) for eight, sixteen in zip(*seen, strict=True))

    def test_the_page_shows_it(self, folders: tuple[Path, Path]) -> None:
        eight, sixteen = (pictures(open_source(folder), [0, 1]) for folder in folders)
        assert eight == sixteen and None not in eight


class TestTurned:
    """Photographs that lie on their side: as timm has them, and said; upright where asked."""

    def test_they_are_counted_and_left_as_timm_leaves_them(self, folder: Path) -> None:
        model = load_baseline("vit_tiny_patch16_224", "random", 2, 64)
        data = load_data(folder / "d", model, order="sorted")
        images = next(data.batches(4)).images
        assert data.notes()[-1] == "2 of 4 images carry an EXIF rotation that is not applied, as in timm; --exif-rotate turns them"
        assert torch.equal(images[0], transform_for(model)(Image.fromarray(np.rot90(grey(0, (64, 64))))))

    def test_asked_for_they_stand_upright_everywhere(self, folder: Path) -> None:
        model = load_baseline("vit_tiny_patch16_224", "random", 2, 64)
        right = next(load_data(folder / "up", model, order="sorted").batches(4)).images
        data = load_data(folder / "d", model, order="sorted")
        turning = ImageData(data.source, replace(data.transform, exif_rotate=True), data.index, "sorted", 0)
        images = next(turning.batches(4)).images
        assert (images - right).abs().max() < 0.2 and torch.equal(images[0], right[0])
        assert turning.notes()[-1] == "2 of 4 images carry an EXIF rotation that is applied"
        (trained, _), = TrainingImages(turning, True, False, 0, workers=0).batches([data.index], 0)
        assert torch.equal(trained, images)
        lying, upright = (Image.open(io.BytesIO(base64.b64decode(pictures(data.source, [0], turn)[0]))) for turn in (False, True))
        assert np.array_equal(np.asarray(upright), np.rot90(np.asarray(lying), -1))

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation(self, orientation: int) -> None:
        right = np.arange(12, dtype=np.uint8).reshape(3, 4)
        lying = {
            1: right, 2: right[:, ::-1], 3: right[::-1, ::-1], 4: right[::-1], 5: right.T, 6: np.rot90(right), 7: right[::-1, ::-1].T,
            8: np.rot90(right, -1),
        }[orientation]
        packed, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(np.ascontiguousarray(lying)).save(packed, "PNG", exif=exif)
        image = Image.open(packed)
        assert is_turned(image) == (orientation > 1) and np.array_equal(np.asarray(as_seen(image, 1, True)), right)

    def test_damaged_tags_do_not_cost_the_picture(self) -> None:
        image = Image.fromarray(grey(1))
        image.info["exif"] = b"Exif\0\0II*\0\xff\xff\xff\xff broken"
        assert not is_turned(image) and np.array_equal(np.asarray(as_seen(image, 1, True)), grey(1))


class TestReasons:
    """Every file that cannot be read says why."""

    @pytest.mark.parametrize(("content", "said"), [
        (b"", "it is empty"),
        (b"\0" * 900, "it begins with zeros only"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "it is a Git LFS pointer, not the image; run git lfs pull"),
        (b"/annex/objects/SHA256E-s1--00.png\n", "it is a git-annex pointer"),
        (b"<!DOCTYPE html><html>404</html>", "it is a web page, not an image"),
        (b"<html>\n<body>no", "it is a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "it is an answer of a server"),
        (b'{"error": "quota"}', "it is an answer of a server"),
        (b"<svg xmlns='x'/>", "it is SVG"),
        (b"no image\n", "it is text, not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is PostScript, a program that is not run"),
        (b"%PDF-1.7\n", "it is a PDF"),
        (b"PK\x03\x04" + b"\1" * 40, "it is a ZIP archive"),
        (b"\0\0\0\x18ftypheic" + b"\0" * 30, "it is HEIC, which Pillow does not read"),
        (b"\x89PNG\r\n\x1a\n", "it begins as PNG but is cut off or damaged"),
        (bytes(range(200, 256)) * 9, "it is no image that Pillow reads"),
    ])
    def test_what_is_no_image(self, tmp_path: Path, content: bytes, said: str) -> None:
        data = self.data(tmp_path, content)
        assert data.reasons[0].startswith(said)
        assert data.notes()[-1] == f"skipped 1 of 3 images, {tmp_path}/d/a/0.png: {data.reasons[0]}"

    def data(self, tmp_path: Path, content: bytes) -> ImageData:
        """A pass over a set whose first image has these bytes."""
        folder = make_folder(tmp_path / "d", {"a": 1, "b": 1, "c": 1})
        (folder / "a" / "000.png").rename(folder / "a" / "0.png").write_bytes(content)
        data = load_data(folder, load_model("demo_vit", "random", 3), order="sorted")
        assert sum(len(batch.labels) for batch in data.batches(2)) == 2
        assert data.skipped == [str(folder / "a" / "0.png")]
        return data

    @pytest.mark.parametrize("ending", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"])
    @pytest.mark.parametrize("share", [0.5, 0.9])
    def test_what_is_cut_off(self, tmp_path: Path, ending: str, share: float) -> None:
        packed = io.BytesIO()
        Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(packed, ending)
        whole = packed.getvalue()
        data = self.data(tmp_path, whole[: int(share * len(whole))])
        assert data.reasons[0].endswith("copy it again") and any(word in data.reasons[0] for word in ("cut off", "damaged"))

    def test_what_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2_000_000)
        packed = io.BytesIO()
        Image.new("1", (3000, 2000)).save(packed, "PNG")
        assert self.data(tmp_path, packed.getvalue()).reasons == ["it is over Pillow's limit of 4 million pixels; make it smaller"]

    def test_what_may_not_be_read_or_is_gone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        source = open_source(put(tmp_path, ["a/1.png", "b/1.png"]))
        (tmp_path / "b" / "1.png").unlink()
        opened = Path.open

        def guarded(path: Path, *arguments: object) -> object:
            if path.parent.name == "a":
                raise PermissionError(13, "Permission denied")
            return opened(path, *arguments)

        from toast_core.data.decode import why_unreadable

        monkeypatch.setattr(Path, "open", guarded)
        assert why_unreadable(source, 0, PermissionError()) == "it cannot be opened (Permission denied)"
        assert why_unreadable(source, 1, FileNotFoundError()) == "it is no longer there"

    def test_many_of_a_kind_are_one_line(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "d", {"a": 4, "b": 1})
        for path in sorted((folder / "a").iterdir()):
            path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        data = load_data(folder, load_model("demo_vit", "random", 2), order="sorted")
        list(data.batches(2))
        assert data.notes() == [
            f"skipped 4 of 5 images, first {folder}/a/000.png: it is a Git LFS pointer, not the image; run git lfs pull"
        ]


class TestDeepGrey:
    """Grey of more than 8 bits that never comes near its white is counted and said: it may have another white."""

    @pytest.mark.parametrize(("kind", "most"), [("uint16", 255), ("uint16", 4095), ("int32", 255)])
    def test_it_is_said_where_it_is_dark(self, tmp_path: Path, kind: str, most: int) -> None:
        for number in range(4):
            pixel = np.interp(grey(number), (0, 255), (0, most)).astype(kind)
            save(tmp_path / "ab"[number % 2] / f"{number}.tif", pixel)
        data = load_data(tmp_path, load_model("demo_vit", "random", 2))
        assert len(next(data.batches(4)).labels) == 4 and data.notes() == [f"{DARK.format(most=most)}, what has another white"]
        assert looked_at(data).notes() == data.notes()

    def test_it_is_not_said_of_whole_range(self, folders: tuple[Path, Path]) -> None:
        data = load_data(folders[1], load_model("demo_vit", "random", 2))
        assert len(next(data.batches(4)).labels) == 2 and data.notes() == []


class TestShapes:
    """One image that cannot be resized is skipped and said, and ends nothing."""

    @pytest.mark.parametrize("mode", ["center", "border"])
    def test_a_line_of_millions_of_pixels_is_skipped(self, tmp_path: Path, mode: str) -> None:
        put(tmp_path, [f"{name}/{number}.png" for name in "ab" for number in range(4)])
        save(tmp_path / "a" / "line.png", Image.new("L", (1, 20_000_000), 90))
        model = load_model("demo_vit", "random", 2)
        model.toast_info = replace(model.toast_info, preprocessing=Preprocessing(crop_mode=mode))
        data = load_data(tmp_path, model)
        assert sum(len(batch.labels) for batch in data.batches(3)) == 8
        says = "it is 1 x 20,000,000 pixels, too long and thin to be resized to the model's 28; cut it into parts"
        assert data.reasons == [says] and looked_at(data).left_out == ((str(tmp_path / "a" / "line.png"), says),)
        position = [file.name for file in data.source.files].index("line.png")
        with pytest.raises(DataError, match=r"line.png cannot be used: it is 1 x 20,000,000 pixels"):
            next(TrainingImages(data, False, True, 0, workers=0).batches([np.array([position])], 0))

    def test_what_no_rule_foresees_is_skipped_too(self, tmp_path: Path) -> None:
        put(tmp_path, ["a/1.png", "b/1.png"])
        data = load_data(tmp_path, load_model("demo_vit", "random", 2))

        def fails(image: Image.Image) -> torch.Tensor:
            raise ValueError("height and width must be > 0")

        data.transform = replace(data.transform, pipeline=fails)
        assert not list(data.batches(2)) and "28 x 28 pixels, which cannot be resized (height and width" in data.reasons[0]
