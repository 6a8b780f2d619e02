"""How an engine's memory is shared out: within the cap, all of it used by somebody, refused where nothing fits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.families import shared_model
from toast_core.engine.room import MAX_SESSIONS, Room, default_memory_gb, held_blocks, held_bytes
from toast_core.errors import DeviceError
from toast_core.machine import RUNTIME_BYTES, memory_bytes
from toast_core.models.info import get_info

SHAPE = get_info(shared_model("swin")).shape
STREAMS = [4 * block.tokens * block.width for block in SHAPE.blocks]


@given(
    spare=st.floats(0, 3e9), weights=st.integers(0, 10**9), image=st.integers(10**3, 10**6), images=st.integers(1, 5000),
    calibration=st.integers(0, 1000), batch_size=st.integers(1, 128),
)
def test_the_shares_are_within_the_cap(spare: float, weights: int, image: int, images: int, calibration: int, batch_size: int) -> None:
    least = 2 * batch_size * (image + max(STREAMS)) + calibration * (5 * max(STREAMS) + image)
    least += (calibration > 0) * 80 * max(block.hidden for block in SHAPE.blocks) ** 2
    cap = RUNTIME_BYTES + weights + least + spare + 1e8
    room = Room.within(cap / 1e9, SHAPE, weights, image, images, calibration, batch_size)
    inputs = room.images * image
    live = (room.sessions + 1) * room.images * (held_bytes(STREAMS, room.slots) if room.slots else 0)
    assert min(images, batch_size) <= room.images <= images
    assert 1 <= room.sessions <= MAX_SESSIONS and 0 <= room.slots <= len(STREAMS)
    assert RUNTIME_BYTES + weights + inputs + live + room.fits <= cap
    assert room.fits >= calibration * 5 * max(STREAMS)


def test_what_is_too_small_says_what_is_enough() -> None:
    with pytest.raises(DeviceError, match=r"a memory budget of 0.5 GB is too small to edit .*; give --memory-gb 0.9 or more"):
        Room.within(0.5, SHAPE, 10**6, 10**4, 1000, 512, 64)
    assert Room.within(0.9, SHAPE, 10**6, 10**4, 1000, 512, 64).images == 1000


def test_unless_said_it_is_a_quarter_of_the_machine_or_what_is_needed() -> None:
    assert default_memory_gb() == memory_bytes() / 4e9 > 0
    huge = int(memory_bytes())
    assert Room.within(None, SHAPE, huge, 10**4, 100, 100, 8).images == 100


def test_held_blocks_are_spread_from_the_first() -> None:
    assert [held_blocks(12, slots) for slots in (0, 1, 2, 5, 12)] == [[], [0], [0, 6], [0, 2, 4, 7, 9], list(range(12))]
