"""Image folders: every kind of JPEG and PNG, files that cannot be read, and folders that are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.support.families import tiny_vit
from tests.support.folders import make_folder, pixels
from toast_core.data.load import load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError, ToastError
from toast_core.loading import load_model
from toast_core.models.info import get_info


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A colour model with three classes."""
    return load_model("test_vit", weights="none", num_classes=3, img_size=32)


COUNTS = {"ant": 4, "bee": 3, "cat": 5}


def images_of(folder: Path, model: nn.Module, **options: object) -> torch.Tensor:
    """All images of a folder in class order."""
    return torch.cat([batch.images for batch in load_data(folder, model, order="sorted", **options).batches(4)])


def test_classes_are_the_subfolders_in_order(tmp_path: Path, model: nn.Module) -> None:
    folder = make_folder(tmp_path / "d", {"cat": 2, "ant": 3, "bee": 1}, ".jpg")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.png").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    (folder / "ant" / "notes.txt").write_text("no image")
    (folder / "ant" / "._resource.png").write_bytes(b"")
    source = open_source(folder)
    assert source.classes == ("ant", "bee", "cat")
    assert source.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert [file.parent.name for file in source.files] == ["ant"] * 3 + ["bee"] + ["cat"] * 2
    batch = next(load_data(str(folder), model, order="sorted").batches(10))
    assert batch.labels.tolist() == [0, 0, 0, 1, 2, 2]
    assert batch.images.shape == (6, 3, 32, 32)
    assert batch.images.dtype == torch.float32


def test_subfolders_of_a_class_belong_to_it(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", COUNTS)
    (folder / "ant" / "more").mkdir()
    Image.fromarray(pixels()).save(folder / "ant" / "more" / "x.PNG")
    assert np.bincount(open_source(folder).labels).tolist() == [5, 3, 5]


class TestKindsOfImage:
    """What a camera, a scanner or a paint program writes."""

    @pytest.mark.parametrize(
        ("kind", "suffix"),
        [
            ("RGB", ".png"), ("RGB", ".jpg"), ("RGB", ".jpeg"), ("RGB", ".JPG"), ("L", ".png"), ("L", ".jpg"), ("LA", ".png"),
            ("RGBA", ".png"), ("P", ".png"), ("1", ".png"), ("CMYK", ".jpg"),
        ],
    )
    def test_it_is_read_as_pil_converts_it(self, tmp_path: Path, model: nn.Module, kind: str, suffix: str) -> None:
        from toast_core.data.transform import transform_for

        folder = make_folder(tmp_path / "d", COUNTS)
        image = Image.fromarray(pixels(7)).convert(kind)
        image.save(folder / "ant" / f"000_{kind}{suffix}")
        (folder / "ant" / "000.png").unlink()
        data = load_data(folder, model, order="sorted")
        first = next(data.batches(4)).images[0]
        expected = transform_for(model)(Image.open(folder / "ant" / f"000_{kind}{suffix}").convert("RGB"))
        assert torch.equal(first, expected)
        assert not data.skipped
        assert first.std() > 0.1

    @pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # Pillow's own, and right
    def test_transparency_in_a_palette_is_read(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        Image.fromarray(pixels(7)).convert("P").save(folder / "ant" / "000.png", transparency=bytes([0, 10, 200]))
        data = load_data(folder, model, order="sorted")
        assert sum(len(batch.labels) for batch in data.batches(4)) == 12
        assert not data.skipped

    def test_sixteen_bits_are_scaled_and_not_cut_off(self, tmp_path: Path, model: nn.Module) -> None:
        grey = pixels(7)[:, :, 2]
        eight, sixteen = make_folder(tmp_path / "a", COUNTS), make_folder(tmp_path / "b", COUNTS)
        Image.fromarray(grey).save(eight / "ant" / "000.png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(sixteen / "ant" / "000.png")
        first, second = images_of(eight, model)[0], images_of(sixteen, model)[0]
        assert (first - second).abs().max() < 0.05

    def test_exif_is_read_past(self, tmp_path: Path, model: nn.Module) -> None:
        plain, tagged = make_folder(tmp_path / "a", COUNTS), make_folder(tmp_path / "b", COUNTS)
        exif = Image.Exif()
        exif[0x010E] = "a description"
        exif[0x0112] = 1
        Image.fromarray(pixels(7)).save(plain / "ant" / "000.jpg", quality=95)
        Image.fromarray(pixels(7)).save(tagged / "ant" / "000.jpg", quality=95, exif=exif)
        assert torch.equal(images_of(plain, model), images_of(tagged, model))

    @pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (300, 260)])
    def test_any_size_becomes_the_models(self, tmp_path: Path, model: nn.Module, size: tuple[int, int]) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        Image.fromarray(pixels(7, size)).save(folder / "ant" / "000.png")
        assert images_of(folder, model).shape == (12, 3, 32, 32)

    def test_colour_images_become_grey_for_a_grey_model(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        images = images_of(folder, load_model("demo_vit", weights="none", num_classes=3))
        assert images.shape == (12, 1, 28, 28)


def damage(folder: Path) -> list[Path]:
    """Put four files that cannot be read into class folders, at the front, in the middle and at the end."""
    jpeg = folder / "full.jpg"
    Image.fromarray(pixels(3, (64, 64))).save(jpeg)
    whole = jpeg.read_bytes()
    jpeg.unlink()
    files = {
        "ant/000_text.jpg": b"this is no image\n" * 20, "ant/zzz_zero.png": b"", "bee/001_cut.jpg": whole[: len(whole) // 2],
        "cat/zzz_header.png": b"\x89PNG\r\n\x1a\n",
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


class TestUnreadableFiles:
    """They are named and counted, and leave no gap."""

    def test_they_are_skipped_with_full_batches(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        bad = damage(folder)
        data = load_data(folder, model, order="sorted")
        assert len(data) == 16
        batches = list(data.batches(5))
        assert [len(batch.labels) for batch in batches] == [5, 5, 2]
        assert sorted(data.skipped) == sorted(str(path) for path in bad)
        labels = torch.cat([batch.labels for batch in batches])
        assert torch.bincount(labels).tolist() == [4, 3, 5]
        for batch in batches:
            assert batch.labels.tolist() == data.source.labels[batch.index].tolist()
            assert len(batch.images) == len(batch.index)

    def test_the_good_images_are_those_of_a_clean_folder(self, tmp_path: Path, model: nn.Module) -> None:
        clean, dirty = make_folder(tmp_path / "a", COUNTS), make_folder(tmp_path / "b", COUNTS)
        damage(dirty)
        assert torch.equal(images_of(clean, model), images_of(dirty, model))

    def test_they_are_counted_once_a_pass(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        damage(folder)
        data = load_data(folder, model)
        for _ in range(2):
            list(data.batches(3))
            assert len(data.skipped) == 4

    def test_a_folder_of_nothing_else_is_an_error_when_measured(self, tmp_path: Path) -> None:
        from toast_core.studies.evaluation.measure import evaluate

        for name in COUNTS:
            (tmp_path / "d" / name).mkdir(parents=True)
            (tmp_path / "d" / name / "x.png").write_bytes(b"no image")
        model = load_model("demo_vit", weights="random", num_classes=3)
        with pytest.raises(DataError, match=r"none of the 3 images of .* could be read; first .*x.png"):
            evaluate(model, load_data(tmp_path / "d", model))

    def test_a_file_that_vanishes_is_skipped(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", COUNTS)
        data = load_data(folder, model, order="sorted")
        (folder / "bee" / "001.png").unlink()
        assert sum(len(batch.labels) for batch in data.batches(4)) == 11
        assert data.skipped == [str(folder / "bee" / "001.png")]

    @pytest.mark.parametrize("seed", range(3))
    def test_random_damage_never_stops_a_pass(self, tmp_path: Path, model: nn.Module, seed: int) -> None:
        folder, rng = make_folder(tmp_path / "d", COUNTS), np.random.default_rng(seed)
        for path in sorted(folder.rglob("*.png")):
            if rng.random() < 0.5:
                Image.fromarray(pixels(seed)).save(path.with_suffix(".jpg"))
                path.unlink()
        for path in sorted(file for file in folder.rglob("*") if file.is_file()):
            data = bytearray(path.read_bytes())
            for position in rng.integers(24, len(data), 3):  # behind the size fields: no gigantic images
                data[position] = rng.integers(256)
            path.write_bytes(bytes(data[: len(data) - int(rng.integers(0, 2)) * 40]))
        data = load_data(folder, model)
        assert sum(len(batch.labels) for batch in data.batches(4)) + len(data.skipped) == 12


class TestRefusals:
    """What is there instead, and what is wanted."""

    HINT = "; give a folder with one subfolder of images a class, or one of fashion-mnist, fashion-mnist:calibration"

    def refused(self, path: Path | str, message: str, model: nn.Module) -> None:
        """Loading fails with this message and the hint."""
        with pytest.raises(DataError, match=message) as caught:
            load_data(path, model)
        assert str(caught.value).endswith(self.HINT)
        assert str(path) in str(caught.value)

    def test_a_missing_folder(self, tmp_path: Path, model: nn.Module) -> None:
        self.refused(tmp_path / "none", "none is not there", model)

    def test_a_name_that_is_none(self, model: nn.Module) -> None:
        self.refused("fashion-mnst", "data fashion-mnst is not there", model)

    def test_a_file(self, tmp_path: Path, model: nn.Module) -> None:
        (tmp_path / "f.png").write_bytes(b"")
        self.refused(tmp_path / "f.png", "f.png is a file", model)

    def test_an_empty_folder(self, tmp_path: Path, model: nn.Module) -> None:
        self.refused(tmp_path, "is empty", model)

    def test_images_without_class_folders(self, tmp_path: Path, model: nn.Module) -> None:
        Image.fromarray(pixels()).save(tmp_path / "x.jpg")
        self.refused(tmp_path, "holds images but no class folders", model)

    def test_other_files_without_class_folders(self, tmp_path: Path, model: nn.Module) -> None:
        (tmp_path / "notes.txt").write_text("x")
        self.refused(tmp_path, "has no class folders", model)

    def test_class_folders_without_images(self, tmp_path: Path, model: nn.Module) -> None:
        for name in ("ant", "bee"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "x.heic").write_bytes(b"")
        self.refused(tmp_path, "has 2 class folders but no image .left aside: 2 images of kinds that are not read here", model)

    @pytest.mark.parametrize("counts", [{"ant": 2, "bee": 2}, {"ant": 1, "bee": 1, "cat": 1, "dog": 1}])
    def test_another_number_of_classes(self, tmp_path: Path, model: nn.Module, counts: dict) -> None:
        folder = make_folder(tmp_path / "d", counts)
        with pytest.raises(
            DataError, match=f"has {len(counts)} classes but test_vit has 3; pass --num-classes {len(counts)} with weights trained for it"
        ):
            load_data(folder, model)

    def test_labels_that_are_not_used_may_be_others(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", {"ant": 2, "bee": 2})
        assert len(load_data(folder, model, labelled=False)) == 4
        assert len(load_data("fashion-mnist:calibration", model, images=6, labelled=False)) == 6

    def test_one_class_folder_without_images_is_still_a_class(self, tmp_path: Path, model: nn.Module) -> None:
        folder = make_folder(tmp_path / "d", {"ant": 2, "bee": 0, "cat": 2})
        data = load_data(folder, model, order="sorted")
        assert next(data.batches(9)).labels.tolist() == [0, 0, 2, 2]

    @pytest.mark.parametrize("channels", [2, 4])
    def test_a_model_for_other_channels(self, tmp_path: Path, channels: int) -> None:
        model = tiny_vit(in_chans=channels, num_classes=3)
        with pytest.raises(DataError, match=f"takes {channels} channels; images have 1 or 3: use a model for grey or colour images"):
            load_data(make_folder(tmp_path / "d", COUNTS), model)

    def test_data_errors_are_toast_errors(self) -> None:
        assert issubclass(DataError, ToastError)
        assert issubclass(DataError, ValueError)


def test_the_digest_changes_with_names_and_sizes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", COUNTS)
    first = open_source(folder).digest
    assert open_source(folder).digest == first
    moved = make_folder(tmp_path / "other_place", COUNTS)
    assert open_source(moved).digest == first
    (moved / "ant" / "000.png").rename(moved / "ant" / "renamed.png")
    assert open_source(moved).digest != first
    Image.fromarray(pixels(5, (40, 40))).save(folder / "ant" / "000.png")
    assert open_source(folder).digest != first


def test_a_plain_timm_model_without_a_configuration_has_a_transform_too(tmp_path: Path) -> None:
    model = tiny_vit(num_classes=3)
    assert get_info(model).weights == "as given"
    assert images_of(make_folder(tmp_path / "d", COUNTS), model).shape == (12, 3, 32, 32)
