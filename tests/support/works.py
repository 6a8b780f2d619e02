"""Work for executors: some that counts, some that fails, and models that kill the process they run in."""

import copy
import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from toast_core.errors import DataError


@dataclass
class Squares:
    """Squares numbers. What it refuses and what kills it are told when it is made."""

    refuses: int | None = None
    breaks_at: int | None = None
    kills_at: int | None = None
    pause_s: float = 0.0
    device: str = "as made"
    prepared: list[int] = field(default_factory=list)

    def __call__(self, task: int) -> tuple[int, str, int]:
        """The square, the device that the work was moved to, and which process found it."""
        if task == self.refuses:
            raise DataError(f"{task} is refused")
        if task == self.breaks_at:
            raise ZeroDivisionError(f"{task} breaks")
        if task == self.kills_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(self.pause_s)
        return task * task, self.device, os.getpid()

    def move(self, device: str) -> None:
        """Remember where."""
        self.device = device


@dataclass
class KillOnce:
    """A forward hook that kills its process, unless it is the driver, at the given call of whoever comes first."""

    marker: Path
    at: int
    driver: int = field(default_factory=os.getpid)
    calls: int = 0

    def __call__(self, *_: object) -> None:
        """Count, and kill."""
        self.calls += 1
        if os.getpid() != self.driver and self.calls == self.at and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def lethal(model: nn.Module, marker: Path, at: int) -> nn.Module:
    """A copy whose last block's norm kills one worker at its `at`-th call."""
    changed = copy.deepcopy(model)
    changed.blocks[-1].norm1.register_forward_pre_hook(KillOnce(marker, at))
    return changed
