"""The embedded Fashion-MNIST sets and the idx files that hold them."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from toast_core.data.idx import read_idx, write_idx
from toast_core.data.load import load_data
from toast_core.data.sources import EMBEDDED, open_source
from toast_core.data.transform import transform_for
from toast_core.errors import DataError
from toast_core.loading import load_model
from toast_core.setup import DEMO_CLASSES

DIGESTS = {
    "fashion-mnist": "9a494dc49efeb996f4076c469b31cd058152067b1594ba6ab85dd739fce3775e",
    "fashion-mnist:calibration": "357474cde17883f85a7f98ed7ecc83a56cfc42b12556d096edd381bedc4118d9",
}


@pytest.mark.parametrize(("name", "count"), [("fashion-mnist", 10_000), ("fashion-mnist:calibration", 5_000)])
def test_counts_and_balance(name: str, count: int) -> None:
    source = open_source(name)
    assert len(source) == count
    assert source.arrays.shape == (count, 28, 28)
    assert source.arrays.dtype == np.uint8
    assert source.labels.dtype == np.int64
    assert np.bincount(source.labels).tolist() == [count // 10] * 10
    assert source.classes == DEMO_CLASSES
    assert len(DEMO_CLASSES) == 10
    assert source.name == name


def test_calibration_and_test_images_share_nothing() -> None:
    test, calibration = ({hashlib.sha256(image.tobytes()).digest() for image in open_source(name).arrays} for name in EMBEDDED)
    assert len(test) > 9_900
    assert len(calibration) > 4_900
    assert not test & calibration


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_digest_names_the_content(name: str) -> None:
    assert open_source(name).digest == DIGESTS[name]


@pytest.mark.parametrize("model", ["demo_vit", "demo_swin"])
def test_the_fast_path_is_timms_transform(model: str) -> None:
    transform = transform_for(load_model(model, weights="none"))
    arrays = open_source("fashion-mnist").arrays[:64]
    assert transform.fits(arrays)
    slow = torch.stack([transform(Image.fromarray(array)) for array in arrays])
    fast = transform.normalize(arrays)
    assert fast.shape == (64, 1, 28, 28)
    assert fast.dtype == torch.float32
    assert (fast - slow).abs().max() < 1e-6
    assert abs(float(transform.normalize(open_source("fashion-mnist").arrays).mean())) < 0.05


def test_normalising_leaves_the_source_alone() -> None:
    source = open_source("fashion-mnist")
    before = source.arrays[:8].copy()
    transform_for(load_model("demo_vit", weights="none")).normalize(source.arrays[:8]).zero_()
    assert np.array_equal(source.arrays[:8], before)


@pytest.mark.parametrize(
    ("name", "options", "shape"), [("demo_vit", {"img_size": 56}, (1, 56, 56)), ("test_vit", {"num_classes": 10}, (3, 160, 160))]
)
def test_other_inputs_go_through_timms_transform(name: str, options: dict, shape: tuple[int, ...]) -> None:
    model = load_model(name, weights="none", **options)
    data = load_data("fashion-mnist", model, images=20)
    batch = next(data.batches(20))
    assert batch.images.shape == (20, *shape)
    assert batch.images.isfinite().all()
    expected = transform_for(model)(Image.fromarray(open_source("fashion-mnist").arrays[batch.index[3]]))
    assert torch.equal(batch.images[3], expected)


class TestIdx:
    """The file format."""

    @given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 255))
    def test_round_trip(self, shape: list[int], first: int) -> None:
        import tempfile

        array = ((np.arange(np.prod(shape)) * 7 + first) % 256).astype(np.uint8).reshape(shape)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.idx.gz"
            write_idx(path, array)
            assert np.array_equal(read_idx(path), array)
            assert [item.name for item in Path(folder).iterdir()] == ["a.idx.gz"]

    def test_the_same_array_makes_the_same_bytes(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_idx(tmp_path / name, np.arange(10, dtype=np.uint8))
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"not gzip", r"cannot read .*a.idx.gz as a gzipped idx file \(.*\); restore it from the repository"),
            (b"", "idx"),
            (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcde")[:-12], "cannot read .* as a gzipped idx file"),
            (gzip.compress(b""), "does not begin with the idx header of unsigned bytes"),
            (gzip.compress(b"\0\0\x0d\x01\0\0\0\x01abcd"), "does not begin with the idx header of unsigned bytes"),
            (gzip.compress(b"\0\0\x08\x01\0\0\0\x05abcd"), "holds 4 bytes where its header .* asks for 5; restore it"),
            (gzip.compress(b"\0\0\x08\x01\0\0\0\x02abcd"), "holds 4 bytes where its header .* asks for 2"),
            (gzip.compress(b"\0\0\x08\x03\0\0\0\x02"), "idx|header"),
        ],
        ids=["text", "zero", "cut", "empty", "floats", "short", "long", "header_cut"],
    )
    def test_damaged_files(self, tmp_path: Path, data: bytes, message: str) -> None:
        (tmp_path / "a.idx.gz").write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_idx(tmp_path / "a.idx.gz")

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"cannot read .*none"):
            read_idx(tmp_path / "none")
