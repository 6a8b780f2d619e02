"""A person's weights, read whatever form they come in.

place     which file: a path, a folder with its config.json, or a model of the hub
kinds     what kind of file it is, by its content; those that are not read are named
tensors   its tensors, shards included; nothing a file says is run
choice    which of them are the model's: container, prefix, averaged or not
numbers   whether they are weights; then float32
names     timm's names for them, whatever library's they have
config    what config.json says, claims what a model must meet of that, outline which of timm's names have these shapes,
          nearest which come closest
read      all of it: `read_checkpoint`
request   the model and the weights that --model and --weights name together
"""

from toast_core.models.checkpoint.claims import check_claims
from toast_core.models.checkpoint.outline import described, fitting
from toast_core.models.checkpoint.place import is_place
from toast_core.models.checkpoint.read import Checkpoint, read_checkpoint, refuse_unnamed
from toast_core.models.checkpoint.request import DEMO_WEIGHTS, NO_FILE, asked_for

__all__ = [
    "DEMO_WEIGHTS",
    "NO_FILE",
    "Checkpoint",
    "asked_for",
    "check_claims",
    "described",
    "fitting",
    "is_place",
    "read_checkpoint",
    "refuse_unnamed",
]
