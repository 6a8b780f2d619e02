"""What a setup says about a loaded model: its preprocessing, and the names and order of its classes."""

from contextlib import suppress
from dataclasses import replace

from toast_core.data.class_maps import names_by_output, read_class_map
from toast_core.data.classes import match_classes
from toast_core.data.sources import Source, open_source
from toast_core.errors import DataError
from toast_core.models.info import ModelInfo
from toast_core.setup import Setup


def source_of_names(info: ModelInfo, setup: Setup) -> Source | None:
    """Return the images to measure on where they alone can name the model's classes; None where they need not, or cannot be read."""
    if not info.shape.num_classes or info.classes is not None or setup.class_map is not None or setup.data is None:
        return None
    with suppress(DataError):  # said where labels are needed; a redundancy analysis has no use for them
        return open_source(setup.data, labels=setup.labels)
    return None


def described(info: ModelInfo, setup: Setup, source: Source | None) -> ModelInfo:
    """Return the info of a loaded model with what the setup chose over the weights' own, so that files written of it carry that.

    Class names are those of a class map, else of the weights, else of the images to measure on unless their order is a guess: a name in
    a file is matched without a word, so that a guess would become a fact there. What was guessed is said by the images' own notes.

    Args:
        source: see `source_of_names`.

    Raises:
        DataError: the class map cannot be read.
    """
    outputs, classes = info.shape.num_classes, info.classes
    if outputs and setup.class_map is not None:
        classes = names_by_output(read_class_map(setup.class_map), outputs)
    elif source is not None:
        with suppress(DataError):
            matched = match_classes(source, info, setup.reading)
            classes = None if matched.guessed else matched.classes
    preprocessing, order = setup.preprocessing.over(info.preprocessing), setup.class_order or info.class_order
    return replace(info, preprocessing=preprocessing, class_order=order, classes=classes)
