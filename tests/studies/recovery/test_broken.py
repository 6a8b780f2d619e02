"""Training images that cannot be read: found before training, left out, named with the reason, and too many refused."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.folders import make_folder
from tests.support.pictures import LFS_POINTER, TURNED, grey, save
from tests.support.recoveries import same_weights
from toast_core.data.load import ImageData, load_data
from toast_core.errors import DataError
from toast_core.models.build import load_baseline
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.recovery.images import TrainingImages, looked_at, shared_images
from toast_core.studies.recovery.loop import Recovered, RecoveryStart, recover
from toast_core.studies.recovery.processes import World
from toast_core.studies.recovery.recipe import Recipe

RECIPE = Recipe(epochs=1, batch_size=4, lr=1e-4, labels=True, validation_share=0.2, patience=0)  # by itself it follows the images asked for


def damaged(root: Path) -> Path:
    """30 pictures of two classes, four of them broken in four ways: cut off, empty, a pointer, damaged in the middle."""
    folder = make_folder(root, {"a": 15, "b": 15})
    whole = (folder / "a" / "001.png").read_bytes()
    (folder / "a" / "001.png").write_bytes(whole[: len(whole) // 2])
    (folder / "a" / "002.png").write_bytes(b"")
    (folder / "b" / "003.png").write_bytes(LFS_POINTER)
    (folder / "b" / "004.png").write_bytes(whole[: len(whole) // 2] + b"\xff\0\xff" + whole[len(whole) // 2 + 3 :])
    return folder


def data_of(folder: Path) -> ImageData:
    """The pictures as input of a small colour model."""
    return load_data(folder, load_baseline("vit_tiny_patch16_224", "random", 2, 32))


def recovered(data: ImageData) -> Recovered:
    """One epoch of training on them."""
    model = load_baseline("vit_tiny_patch16_224", "random", 2, 32)
    schedule = Schedule.uniform(12, fc2=0.9)
    return recover(model, RecoveryStart(schedule, lambda: make_plan(model, schedule)), data, RECIPE)


def test_they_are_left_out_and_said_with_their_reasons(tmp_path: Path) -> None:
    data = looked_at(data_of(damaged(tmp_path / "d")))
    assert len(data) == 26 and looked_at(data) is data
    left_out = {Path(name).relative_to(tmp_path / "d").as_posix(): reason for name, reason in data.left_out}
    assert left_out == {
        "a/001.png": left_out["a/001.png"], "a/002.png": "it is empty",
        "b/003.png": "it is a Git LFS pointer, not the image; run git lfs pull", "b/004.png": left_out["b/004.png"],
    }
    assert "copy it again" in left_out["a/001.png"] and "copy it again" in left_out["b/004.png"]
    assert f"left out 1 of 30 images, {tmp_path}/d/a/002.png: it is empty" in data.notes()


def test_training_on_what_is_left_is_training_without_them(tmp_path: Path) -> None:
    dirty = data_of(damaged(tmp_path / "d"))
    found = recovered(dirty)
    assert found.report["left_out"]["images"] == 4 and len(found.report["left_out"]["files"]) == 4
    assert found.report["training_images"] + found.report["validation_images"] == 26
    assert same_weights(found.model, recovered(looked_at(dirty)).model)
    whole = make_folder(tmp_path / "clean", {"a": 15, "b": 15})
    for name in ("a/001.png", "a/002.png", "b/003.png", "b/004.png"):
        (whole / name).unlink()
    clean = recovered(data_of(whole))
    assert clean.report["left_out"] == {"images": 0, "files": []}
    assert clean.report["training_images"] == found.report["training_images"]


def test_more_than_a_quarter_is_refused_with_the_first(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"a": 6, "b": 6})
    for number in range(4):
        (folder / "a" / f"00{number}.png").write_bytes(LFS_POINTER)
    with pytest.raises(DataError, match=r"^4 of 12 training images cannot be read, more than a quarter; first .*000.png: it is a Git"):
        looked_at(data_of(folder))


def test_a_whole_set_stays_as_it_is(tmp_path: Path) -> None:
    data = data_of(make_folder(tmp_path / "d", {"a": 3, "b": 3}))
    found = looked_at(data)
    assert np.array_equal(found.index, data.index) and found.left_out == () and found.notes() == []


def test_photographs_on_their_side_are_counted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"a": 3, "b": 3})
    save(folder / "a" / "x.jpg", grey(1), TURNED)
    assert looked_at(data_of(folder)).notes()[-1].startswith("1 of 7 images carries an EXIF rotation that is not applied")


def test_processes_look_at_a_share_each_and_leave_out_the_same(tmp_path: Path) -> None:
    data, told = data_of(damaged(tmp_path / "d")), []

    class Telling(World):
        def sums(self, values: list[float]) -> list[float]:
            told.append(np.array(values))
            return values

    for rank in range(2):
        looked_at(data, Telling(rank, 2))
    assert (told[0] * told[1] == 0).all()

    class Sharing(World):
        def sums(self, values: list[float]) -> list[float]:
            return list(told[0] + told[1])

    alone = looked_at(data)
    for rank in range(2):
        found = looked_at(data, Sharing(rank, 2))
        assert np.array_equal(found.index, alone.index) and found.left_out == alone.left_out


@pytest.mark.parametrize("workers", [0, 2])
def test_one_that_breaks_later_is_one_line_from_any_worker(tmp_path: Path, workers: int) -> None:
    folder = make_folder(tmp_path / "d", {"a": 2, "b": 2})
    images = TrainingImages(data_of(folder), True, True, 0, workers=workers)
    (folder / "b" / "000.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        list(images.batches([np.arange(4)], 0))
    assert str(caught.value) == (
        f"training image {folder}/b/000.png cannot be read: it is empty; it was whole when training began, so mend it and start the same "
        "command again"
    )


def test_images_in_common_are_counted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "d", {"train/a": 2, "val/a": 3, "val/b": 1})
    whole, part, again = (load_data(at, load_baseline("vit_tiny_patch16_224", "random", 2, 32), labelled=False).source
                          for at in (folder, folder / "val", folder / "val"))
    assert shared_images(whole, part) == 4 and shared_images(part, again) == 4
    (tmp_path / "x").mkdir()
    other = data_of(make_folder(tmp_path / "x" / "d", {"a": 2, "b": 1})).source
    assert shared_images(whole, other) == 0
