"""What a setup says about a loaded model: its preprocessing, and the names and order of its classes."""

from contextlib import suppress
from dataclasses import replace

from toast_core.data.class_maps import names_by_output, read_class_map
from toast_core.data.classes import match_classes
from toast_core.data.sources import open_source
from toast_core.errors import DataError
from toast_core.models.info import ModelInfo
from toast_core.setup import Setup


def described(info: ModelInfo, setup: Setup) -> ModelInfo:
    """Return the info of a loaded model with what the setup chose over the weights' own, so that files written of it carry that.

    Class names are those of a class map, else of the weights, else of the images to measure on unless their order is a guess: a name in
    a file is matched without a word, so that a guess would become a fact there. What was guessed is said by the images' own notes.

    Raises:
        DataError: the class map cannot be read.
    """
    outputs, classes = info.shape.num_classes, info.classes
    if outputs and setup.class_map is not None:
        classes = names_by_output(read_class_map(setup.class_map), outputs)
    elif outputs and classes is None and setup.data is not None:
        with suppress(DataError):  # said where labels are needed; a redundancy analysis has no use for them
            matched = match_classes(open_source(setup.data, labels=setup.labels), info, setup.reading)
            classes = None if matched.guessed else matched.classes
    preprocessing, order = setup.preprocessing.over(info.preprocessing), setup.class_order or info.class_order
    return replace(info, preprocessing=preprocessing, class_order=order, classes=classes)
