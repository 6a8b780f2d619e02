"""What an engine says of the model and the images that it holds, as parts of its Description. Imports no torch."""

from dataclasses import dataclass

from toast_core.cost.shapes import ModelShape
from toast_core.engine.values import Values


@dataclass(frozen=True)
class ModelCard(Values):
    """The model that is measured; `weights` says in words where they come from."""

    name: str
    weights: str
    shape: ModelShape


@dataclass(frozen=True)
class DataCard(Values):
    """The image set: `images` it has, `measured` of which are held, in an order and batches that stay the same.

    transform  how an image becomes input
    notes      what was guessed or left aside, about model and images, a line each
    """

    name: str
    classes: tuple[str, ...]
    images: int
    digest: str
    measured: int
    batch_size: int
    order: str
    seed: int
    transform: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class SketchCard(Values):
    """The sketch that the engine makes by itself: on `images` images of `name`, `done` of them so far; `error` where it was given up.

    finished     whether it is calibrated by some cells, too, where that is asked for, and stored
    compensated  whether cells are refitted
    """

    name: str
    done: int
    images: int
    selection: str
    finished: bool = False
    error: str = ""
    compensated: bool = False

    @property
    def is_running(self) -> bool:
        """Whether more of it will come."""
        return not self.finished and not self.error

    @property
    def words(self) -> str:
        """How far it is, in a line."""
        how = " with compensation" if self.compensated else ""
        if self.finished or self.done < self.images:
            return f"Sketching sensitivity{how}: {self.done} of {self.images} images"
        return f"Sketching sensitivity{how}: running a few cells that calibrate the others"


@dataclass(frozen=True)
class CalibrationCard(Values):
    """The images that channels are chosen on and weights are refitted on."""

    name: str
    images: int
    digest: str


@dataclass(frozen=True)
class FormatCard(Values):
    """A kind of file that a pruned model can be exported to: its name, how its files end, and why it cannot be made here, if so."""

    name: str
    suffix: str
    missing: str = ""
