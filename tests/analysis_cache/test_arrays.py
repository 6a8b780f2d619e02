"""Arrays as bytes: exact, compact, and safe to read from strangers."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis_cache.arrays import DTYPES, MAGIC, MAX_RAW_BYTES, pack_arrays, unpack_arrays
from analysis_cache.canonical import canonical_json
from analysis_cache.errors import StoreError

SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=9)
ARRAYS = st.dictionaries(
    st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True),
    st.sampled_from(DTYPES).flatmap(lambda name: hnp.arrays(np.dtype(name), SHAPES)),
    max_size=4,
)


def packed(header: object, raw: bytes) -> bytes:
    """The format by hand, for headers that `pack_arrays` would not write."""
    text = canonical_json(header, "header").encode()
    return MAGIC + struct.pack("<I", len(text)) + text + zlib.compress(raw)


@given(ARRAYS)
def test_arrays_come_back_exactly(arrays: dict[str, np.ndarray]) -> None:
    again = unpack_arrays(pack_arrays(arrays))
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype and again[name].shape == array.shape
        assert again[name].tobytes() == np.ascontiguousarray(array).tobytes()


@given(ARRAYS, st.data())
def test_damaged_bytes_are_an_error_or_the_same_size_of_arrays(arrays: dict[str, np.ndarray], data: st.DataObject) -> None:
    good = bytearray(pack_arrays(arrays))
    place = data.draw(st.integers(0, len(good) - 1))
    good[place] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(good), bytes(good[:place])):
        try:
            unpack_arrays(bad)
        except StoreError as error:
            assert "\n" not in str(error)


def test_byte_order_and_strides_do_not_show() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[:, ::2]
    again = unpack_arrays(pack_arrays({"a": array}))["a"]
    assert again.dtype == np.float32 and np.array_equal(again, array)
    assert pack_arrays({"a": array}) == pack_arrays({"a": array.astype(np.float32)})
    again[0, 0] = 5  # not a view of the stored bytes


def test_ten_thousand_outcomes_take_a_bit_and_two_bytes_each() -> None:
    random = np.random.default_rng(0)
    assert len(pack_arrays({"correct": random.random(10_000) < 0.5})) < 1_400
    assert len(pack_arrays({"loss": random.random(10_000).astype(np.float16)})) < 20_200


@pytest.mark.parametrize("arrays", [
    {"A": np.zeros(1)}, {"a": np.zeros(1, complex)}, {"a": np.array([None])}, {"a": np.array(["x"])}, {"a": np.zeros((1,) * 5)},
    {f"a{number}": np.zeros(1) for number in range(65)}, {"a": np.zeros(MAX_RAW_BYTES // 8 + 1)},
])
def test_what_is_not_kept_is_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(StoreError):
        pack_arrays(arrays)


@pytest.mark.parametrize("data", [
    b"", b"TSA1", b"PK\x03\x04", MAGIC + struct.pack("<I", 2**31) + b"[]",
    packed([["a", "float32", [2]]], b"\0" * 7), packed([["a", "float32", [2]]], b"\0" * 9), packed([["a", "float32", [-1]]], b""),
    packed([["a", "float64", [2**62, 2**62]]], b""), packed([["a", "object", [1]]], b"\0" * 8),
    packed([["a", "float32", [True]]], b"\0" * 4),
    packed([["a", "bool", [1]], ["a", "bool", [1]]], b"\0\0"), packed([["../a", "bool", [1]]], b"\0"), packed({"a": 1}, b""),
    packed([["a", ["bool"], [1]]], b"\0"), packed([], b"") + b"more", MAGIC + struct.pack("<I", 2) + b"[]" + b"no zlib",
])
def test_bytes_of_strangers_are_refused(data: bytes) -> None:
    with pytest.raises(StoreError):
        unpack_arrays(data)


def test_a_bomb_is_not_inflated() -> None:
    bomb = packed([["a", "uint8", [1000]]], b"\0" * (1 << 26))
    tracemalloc.start()
    with pytest.raises(StoreError, match="1000 bytes"):
        unpack_arrays(bomb)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
