"""Which images, in which order, in which batches."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from toast_core.data.load import ORDERS, ImageData, arranged, balanced_subset, load_data
from toast_core.errors import DataError
from toast_core.loading import load_model


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """demo_vit without weights."""
    return load_model("demo_vit", weights="none")


def everything(data: ImageData, batch_size: int) -> tuple[torch.Tensor, list[int], list[int]]:
    """All images, labels and positions."""
    batches = list(data.batches(batch_size))
    return torch.cat([b.images for b in batches]), [int(x) for b in batches for x in b.labels], [int(x) for b in batches for x in b.index]


class TestBalancedSubset:
    """Even over the classes, as far as their sizes allow."""

    @given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(0, 2**16), st.data())
    def test_it_is_even_without_repeats(self, labels: list[int], seed: int, data: st.DataObject) -> None:
        labels = np.array(labels)
        count = data.draw(st.integers(1, len(labels)))
        chosen = balanced_subset(labels, count, np.random.default_rng(seed))
        assert len(chosen) == count
        assert chosen.tolist() == sorted(set(chosen.tolist()))
        sizes = {label: int((labels == label).sum()) for label in np.unique(labels)}
        taken = {label: int((labels[chosen] == label).sum()) for label in sizes}
        most = max(taken.values())
        assert all(taken[label] >= most - 1 or taken[label] == sizes[label] for label in sizes)

    @given(st.integers(1, 40), st.integers(0, 2**16))
    def test_classes_of_one_size_differ_by_one_at_most(self, count: int, seed: int) -> None:
        labels = np.arange(40) % 4
        taken = np.bincount(labels[balanced_subset(labels, count, np.random.default_rng(seed))], minlength=4)
        assert taken.max() - taken.min() <= 1

    def test_the_seed_decides(self) -> None:
        labels = np.arange(200) % 10
        first, second, other = (balanced_subset(labels, 35, np.random.default_rng(seed)).tolist() for seed in (1, 1, 2))
        assert first == second != other


class TestOrder:
    """Deterministic, and said in the data."""

    @pytest.mark.parametrize("images", [None, 1, 7, 250, 10_000, 20_000])
    @pytest.mark.parametrize("order", ORDERS)
    def test_the_number_of_images(self, model: nn.Module, order: str, images: int | None) -> None:
        data = load_data("fashion-mnist", model, images=images, order=order)
        assert len(data) == len(set(data.index.tolist())) == min(images or 10_000, 10_000)
        assert (data.order, data.seed) == (order, 0)
        counts = np.bincount(data.source.labels[data.index], minlength=10)
        assert counts.max() - counts.min() <= 1

    def test_sorted_is_by_class(self, model: nn.Module) -> None:
        labels = everything(load_data("fashion-mnist", model, images=200, order="sorted"), 64)[1]
        assert labels == sorted(labels)
        assert len(set(labels)) == 10

    def test_shuffled_mixes_classes_by_the_seed(self, model: nn.Module) -> None:
        first, second, other = (load_data("fashion-mnist", model, images=200, seed=seed) for seed in (3, 3, 4))
        assert first.index.tolist() == second.index.tolist() != other.index.tolist()
        labels = first.source.labels[first.index].tolist()
        assert labels != sorted(labels)
        assert len(set(labels[:50])) == 10

    def test_shuffling_is_not_the_files_order(self, model: nn.Module) -> None:
        whole, part, other = (
            load_data("fashion-mnist", model, images=count, seed=seed).index.tolist() for count, seed in ((None, 0), (200, 0), (None, 1))
        )
        for index in (whole, part):
            assert sum(first < second for first, second in pairwise(index)) < 0.6 * len(index)
        assert whole != other
        assert sorted(whole) == sorted(other) == list(range(10_000))

    def test_both_orders_hold_the_same_images(self, model: nn.Module) -> None:
        first, second = (load_data("fashion-mnist", model, images=300, order=order, seed=6) for order in ORDERS)
        assert sorted(first.index.tolist()) == sorted(second.index.tolist())

    def test_the_same_images_in_another_order(self, model: nn.Module) -> None:
        data = load_data("fashion-mnist", model, images=300, seed=6)
        before = data.index.tolist()
        wanted = (("sorted", 6), ("shuffled", 1), ("shuffled", 1), ("shuffled", 2))
        sorted_, shuffled, again, other = (arranged(data, order, seed) for order, seed in wanted)
        assert sorted_.index.tolist() == load_data("fashion-mnist", model, images=300, order="sorted", seed=6).index.tolist()
        assert sorted(before) == sorted(shuffled.index.tolist()) != shuffled.index.tolist()
        assert shuffled.index.tolist() == again.index.tolist() == arranged(sorted_, "shuffled", 1).index.tolist() != other.index.tolist()
        assert (sorted_.order, shuffled.order, other.seed) == ("sorted", "shuffled", 2)
        assert data.index.tolist() == before, "the data given were changed"

    def test_ambient_randomness_has_no_part(self, model: nn.Module) -> None:
        np.random.seed(1)
        first = load_data("fashion-mnist", model, images=50).index.tolist()
        np.random.seed(2)
        assert load_data("fashion-mnist", model, images=50).index.tolist() == first


class TestBatches:
    """The same images whatever their batches."""

    @pytest.mark.parametrize("size", [28, 32])  # 28: straight from the array; 32: through PIL and threads
    def test_iterating_twice_gives_the_same(self, size: int) -> None:
        data = load_data("fashion-mnist", load_model("demo_vit", weights="none", img_size=size), images=30)
        (images, labels, index), again, other = everything(data, 8), everything(data, 8), everything(data, 7)
        assert torch.equal(images, again[0])
        assert torch.equal(images, other[0])
        assert (labels, index) == again[1:] == other[1:]
        assert index == data.index.tolist()
        assert labels == data.source.labels[data.index].tolist()

    @pytest.mark.parametrize("size", [28, 32])
    def test_batches_are_full_but_the_last(self, size: int) -> None:
        data = load_data("fashion-mnist", load_model("demo_vit", weights="none", img_size=size), images=30)
        assert [len(batch.labels) for batch in data.batches(8)] == [8, 8, 8, 6]
        assert [len(batch.labels) for batch in data.batches(100)] == [30]

    def test_a_pass_may_be_left_early(self, model: nn.Module) -> None:
        data = load_data("fashion-mnist", load_model("demo_vit", weights="none", img_size=32), images=30)
        first = next(data.batches(4)).images
        assert torch.equal(next(data.batches(4)).images, first)

    @pytest.mark.parametrize("batch_size", [0, -1])
    def test_a_batch_size_below_one(self, model: nn.Module, batch_size: int) -> None:
        with pytest.raises(DataError, match=f"batch size is {batch_size}; write a whole number of at least 1"):
            next(load_data("fashion-mnist", model, images=3).batches(batch_size))


@pytest.mark.parametrize("order", ["random", "", "Sorted"])
def test_an_unknown_order(model: nn.Module, order: str) -> None:
    with pytest.raises(DataError, match=f"unknown order {order!r}; choose from shuffled, sorted"):
        load_data("fashion-mnist", model, order=order)


@pytest.mark.parametrize("images", [0, -5])
def test_a_number_of_images_below_one(model: nn.Module, images: int) -> None:
    with pytest.raises(DataError, match=f"images is {images}; write a whole number of at least 1, or leave it out for all 10000"):
        load_data("fashion-mnist", model, images=images)


def test_another_number_of_classes_of_the_embedded_set() -> None:
    model = load_model("demo_vit", weights="none", num_classes=7)
    with pytest.raises(DataError, match="fashion-mnist has 10 classes but demo_vit has 7; pass --num-classes 10"):
        load_data("fashion-mnist", model)
