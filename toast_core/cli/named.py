"""Whether what a setup names is there, as far as that can be said before anything is loaded: asked before a page's address is printed."""

from pathlib import Path

from toast_core.models.listed import is_listed
from toast_core.setup import SAVED_DATA, Setup

_NO_FILE = ("random", "none")
_PLACES = ("hf-hub:", "hf_hub:", "local-dir:")  # said by whoever goes there


def check_named(setup: Setup) -> None:
    """Raise what a command that loads the setup would raise of a name or a path; PyTorch is imported only where something is doubtful.

    Raises:
        ModelError: the model is unknown or not supported, or the weights are not there.
        DataError: images, or a file that says their classes, are not there.
    """
    _check_images(setup)
    if setup.weights not in (None, *_NO_FILE) and not setup.weights.startswith(_PLACES) and not Path(setup.weights).exists():
        from toast_core.models.checkpoint.place import find

        find(setup.weights)
    if setup.model is not None and not setup.model.startswith(_PLACES) and not is_listed(setup.model):
        from toast_core.models.names import check_name

        check_name(setup.model)


def _check_images(setup: Setup) -> None:
    from toast_core.data.sources import EMBEDDED, open_source

    for place in (setup.data, setup.calibration, setup.train):
        # a folder is read where it is needed: it may hold a million images
        if place is None or place in EMBEDDED or Path(place.removeprefix(SAVED_DATA)).is_dir() or _is_tar(place):
            continue
        open_source(place, labelled=place == setup.data and setup.labels is None)
    if setup.labels is not None and not Path(setup.labels).is_file() and setup.data is not None:
        open_source(setup.data, labels=setup.labels)
    if setup.class_map is not None:
        from toast_core.data.class_maps import read_class_map

        read_class_map(setup.class_map)


def _is_tar(place: str) -> bool:
    return place.lower().endswith(".tar") and Path(place).is_file()
