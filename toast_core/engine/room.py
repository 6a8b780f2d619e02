"""How the engine's memory is shared out: one cap, and what of it each thing may hold. Imports no torch."""

import math
from dataclasses import dataclass

from toast_core.cost.shapes import ModelShape
from toast_core.errors import DeviceError
from toast_core.machine import RUNTIME_BYTES, memory_bytes

MAX_SESSIONS = 4
_MACHINE_SHARE = 4  # a quarter of the machine
_FLOAT = 4
_WORKING = 0.25  # of what the model leaves: batches on their way through the blocks, sums and matrices of a fit
_IMAGES = 0.25  # of it at most: images as inputs
_STREAMS = 5  # of all calibration images, that a fit holds at once, one of them on its way past a block
_MATRICES = 10  # of the hidden layer's width squared, in float64, while a block is fitted


def default_memory_gb() -> float:
    """A quarter of this machine's memory, in 1e9 bytes."""
    return memory_bytes() / _MACHINE_SHARE / 1e9


@dataclass(frozen=True)
class Room:
    """What an engine may hold, in bytes, and what follows.

    images    how many images are measured on
    sessions  how many sessions hold block inputs of their own
    slots     of how many blocks, spread over the depth, an image's input is held; others are run again from the one before
    fits      bytes of fits and their streams
    sketch    1e9 bytes of a process that sketches beside them
    """

    images: int
    sessions: int
    slots: int
    fits: int
    sketch: float

    @classmethod
    def within(
        cls, memory_gb: float | None, shape: ModelShape, weights: int, image: int, images: int, calibration: int, batch_size: int
    ) -> "Room":
        """Share out `memory_gb` (1e9 bytes, the process as a whole; None: a quarter of the machine, or more where no less is enough).

        Args:
            weights: bytes of the model.
            image: bytes of one image as input.
            images: how many are to be measured on; fewer are taken where they would fill a quarter of what the model leaves.
            calibration: how many are to be fitted on; 0 for none.
            batch_size: images of one forward; at least so many are taken.

        Raises:
            DeviceError: the model with one batch, or its fits, needs more; the message says how much.
        """
        streams = [_FLOAT * block.tokens * block.width for block in shape.blocks]
        matrices = _MATRICES * 8 * max(block.hidden for block in shape.blocks) ** 2 if calibration else 0
        least = 2 * batch_size * (image + max(streams)) + calibration * (_STREAMS * max(streams) + image) + matrices
        needed = math.ceil((least + RUNTIME_BYTES + weights) / 1e8) / 10
        memory_gb = max(default_memory_gb(), needed) if memory_gb is None else memory_gb
        room = memory_gb * 1e9 - RUNTIME_BYTES - weights - matrices
        if memory_gb < needed:
            raise DeviceError(f"a memory budget of {memory_gb:g} GB is too small to edit {shape.name}; give --memory-gb {needed:g} or more")
        images = min(images, max(batch_size, int(room * _IMAGES) // image))
        left = room - images * image
        fits = max(calibration * (_STREAMS * max(streams) + image), int(left * (1 - _WORKING) / 2)) if calibration else 0
        live = left * (1 - _WORKING) - fits
        whole = images * sum(streams)
        if live >= 2 * whole:
            sessions, slots = min(MAX_SESSIONS, int(live // whole) - 1), len(streams)
        else:
            sessions = 1
            slots = next((count for count in range(len(streams), 0, -1) if 2 * images * held_bytes(streams, count) <= live), 0)
        return cls(images, sessions, slots, fits, (room * _WORKING + weights + RUNTIME_BYTES) / 1e9)


def held_blocks(blocks: int, slots: int) -> list[int]:
    """Which blocks' inputs are held where there is room for `slots` of them: the first, and others at equal distances."""
    return sorted({blocks * number // slots for number in range(slots)})


def held_bytes(streams: list[int], slots: int) -> int:
    """Bytes of one image's held inputs, by the bytes of each block's."""
    return sum(streams[index] for index in held_blocks(len(streams), slots))
