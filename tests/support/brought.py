"""The tables of docs/bring_your_own.md, from the forms and layouts that tests write and read."""

from tests.support.checkpoints import FORMS
from tests.support.layouts import LABELLED, UNLABELLED

_HEAD = "| what you have | what reads it |\n|---|---|"

_PLACEHOLDERS = {**dict.fromkeys(("test_vit", "demo_swin", "vit_xsmall_patch16_clip_224"), "NAME"), "someone/vit": "OWNER/NAME"}


def weights_table() -> str:
    """A row a form of weights."""
    rows = [_row(form.title, form.options) for form in FORMS.values()]
    return "\n".join([_HEAD, *dict.fromkeys(rows)])


def images_table() -> str:
    """A row a layout of images."""
    return "\n".join([_HEAD, *(_row(layout.title, layout.options) for layout in (LABELLED | UNLABELLED).values())])


def _row(title: str, options: str) -> str:
    shown = options.replace("{place}", "PLACE").replace(" --img-size 32", "")
    for name, placeholder in _PLACEHOLDERS.items():
        shown = shown.replace(name, placeholder)
    return f"| {title} | `{shown}` |"
