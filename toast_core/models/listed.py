"""Whether timm registers a model's name, read from its files in milliseconds: importing timm takes seconds. Imports no torch."""

import re
from importlib.util import find_spec
from pathlib import Path

from toast_core.setup import DEMO_MODELS

TIMM_MODULES = ("timm.models.vision_transformer", "timm.models.deit", "timm.models.swin_transformer", "timm.models.eva")
"""The modules that our own adapters answer for; a test compares."""


def is_listed(name: str) -> bool:
    """Whether a name, with its weights tag where it has one, is surely one that can be asked for.

    False where it may be one all the same, of another package or registered in another way: `toast_core.models.names.check_name` knows.
    """
    base, _, tag = name.partition(".")
    if name in DEMO_MODELS:
        return True
    spec = find_spec("timm")
    if spec is None or spec.origin is None or not base.isidentifier():
        return False
    for module in TIMM_MODULES:
        file = Path(spec.origin).parent.joinpath(*module.split(".")[1:]).with_suffix(".py")
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        if re.search(rf"^@register_model\ndef {base}\(", text, re.MULTILINE):
            return not tag or re.search(rf"^ +(['\"]){re.escape(name)}\1:", text, re.MULTILINE) is not None
    return False
