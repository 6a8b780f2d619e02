"""Training images: nothing held out is learned from, and what happens to an image depends on seed, epoch and position alone."""

import random

import numpy as np
import pytest
import torch

from tests.support.folders import make_folder
from tests.support.greys import grey_data, grey_model
from toast_core.data.idx import write_idx
from toast_core.data.load import load_data
from toast_core.data.sources import open_source
from toast_core.data.transform import transform_for
from toast_core.errors import DataError
from toast_core.models.build import load_baseline
from toast_core.studies.recovery.images import TrainingImages, epoch_steps, moved, shift_pixels, split
from toast_core.studies.recovery.randomness import drawn_from, seed_of


def test_the_split_holds_out_whole_images_of_every_class_and_leaves_the_rest():
    data = grey_data(grey_model("vit"), 140)
    parts = split(data, 0.2, 8, 3)
    assert len(parts.validation) == 28 and sorted([*parts.train, *parts.validation]) == list(range(140))
    assert len(np.unique(data.source.labels[parts.validation])) == 7
    again, other = split(data, 0.2, 8, 3), split(data, 0.2, 8, 4)
    assert np.array_equal(parts.train, again.train) and not np.array_equal(parts.train, other.train)


def test_the_split_of_a_subset_stays_within_it():
    data = grey_data(grey_model("vit"), 140)
    data.index = data.index[:60]
    parts = split(data, 0.25, 8, 0)
    assert set(parts.train) | set(parts.validation) == set(data.index) and not set(parts.train) & set(parts.validation)


def test_an_epoch_sees_every_image_once_in_an_order_of_its_own():
    train = np.arange(100, 123)
    first, second = epoch_steps(train, 5, 0, 0), epoch_steps(train, 5, 0, 1)
    assert first.shape == (4, 5) and len(set(first.flat)) == 20 and set(first.flat) <= set(train)
    assert not np.array_equal(first, second) and np.array_equal(first, epoch_steps(train, 5, 0, 0))


def test_an_image_is_augmented_alike_in_any_batch():
    images = TrainingImages(grey_data(grey_model("vit"), 30), True, True, 0)
    (whole, labels), = images.batches([np.arange(30)], 2)
    parts = list(images.batches([np.arange(10, 30), np.arange(10)], 2))
    assert torch.equal(whole[10:], parts[0][0]) and torch.equal(labels[:10], parts[1][1])
    (other, _), = images.batches([np.arange(30)], 3)
    assert not torch.equal(whole, other)


def test_pictures_are_augmented_alike_by_any_number_of_workers(tmp_path):
    model = load_baseline("vit_tiny_patch16_224", "random", 2, 64)
    data = load_data(make_folder(tmp_path / "pictures", {"a": 4, "b": 4}), model)
    chunks = [np.array([0, 5, 2]), np.array([7, 1, 3])]
    random.seed(0)
    here = [inputs for inputs, _ in TrainingImages(data, True, True, 0, workers=0).batches(chunks, 1)]
    random.seed(1)
    there = [inputs for inputs, _ in TrainingImages(data, True, True, 0, workers=2).batches(chunks[::-1], 1)][::-1]
    plain = [inputs for inputs, _ in TrainingImages(data, True, False, 0, workers=0).batches(chunks, 1)]
    assert here[0].shape == (3, 3, 64, 64)
    for one, other, bare in zip(here, there, plain, strict=True):
        assert torch.equal(one, other) and not torch.equal(one, bare)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    model = load_baseline("vit_tiny_patch16_224", "random", 2, 64)
    folder = make_folder(tmp_path / "pictures", {"a": 2, "b": 2})
    (folder / "b" / "000.png").write_bytes(b"no picture")
    images = TrainingImages(load_data(folder, model), True, True, 0, workers=0)
    with pytest.raises(DataError, match=r"training image .*000\.png cannot be read: it is text, not an image; it was whole"):
        list(images.batches([np.arange(4)], 0))


def test_moving_mirrors_and_shifts_and_fills_with_black():
    transform = transform_for(grey_model("vit"))
    pixels = torch.arange(32.0).expand(1, 1, 32, 32) / 31  # brighter to the right
    still, away = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[0, shift_pixels(transform)]])
    no, yes = torch.tensor([False]), torch.tensor([True])
    assert torch.allclose(moved(pixels, no, still, transform), pixels, atol=1e-6)
    assert torch.allclose(moved(pixels, yes, still, transform), pixels.flip(-1), atol=1e-6)
    most = shift_pixels(transform)
    shifted = moved(pixels, no, away, transform)
    assert torch.allclose(shifted[..., most:], pixels[..., :-most], atol=1e-6)
    assert torch.allclose(shifted[..., :most], torch.tensor(-transform.mean[0] / transform.std[0]), atol=1e-6)


def test_small_and_grey_pictures_have_no_training_transform_of_timm():
    assert transform_for(grey_model("vit")).training is None
    assert transform_for(load_baseline("vit_tiny_patch16_224", "random", 2, 32)).training is None


def test_a_folder_of_the_original_files_is_the_training_set(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 28, 28), dtype=np.uint8)
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", pixels)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(6, dtype=np.uint8))
    source = open_source(tmp_path)
    assert np.array_equal(source.arrays, pixels) and list(source.labels) == list(range(6)) and len(source.classes) == 10


def test_draws_follow_from_the_seed_and_leave_the_ambient_generators():
    def draw(seed: int) -> tuple[float, float, float]:
        with drawn_from(seed, torch.device("cpu")):
            return random.random(), float(np.random.rand()), float(torch.rand(()))

    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert draw(1) == draw(1) and not set(draw(1)) & set(draw(2))
    after = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])
    assert seed_of(1, 2) != seed_of(2, 1) and 0 <= seed_of(0) < 2**63
