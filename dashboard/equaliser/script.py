"""The equaliser's page part as Streamlit mounts it: one inline module, joined from the sections in js/.

A component takes one module, and an inline one asks the network for nothing. So the sections stand as modules of their own, which import
each other by name and load in any browser as they are, and are joined here. No bundler is needed: imports point to earlier sections only,
and every name means one thing in all of them.
"""

import re
from pathlib import Path

SECTIONS = ("limits", "counts", "words", "colours", "live", "messages", "totals", "paint", "edits", "hands", "build", "equaliser")
_HERE = Path(__file__).parent
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./\w+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?!default )", re.MULTILINE)


def section(name: str) -> str:
    """One section as it is written, an ES module."""
    return (_HERE / "js" / f"{name}.js").read_text(encoding="utf-8")


def script() -> str:
    """The sections in the order of `SECTIONS`, as one module that imports nothing and exports the component function alone."""
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", section(name))) for name in SECTIONS)


def file_text(name: str) -> str:
    """A file beside this one: the style sheets, and the script that says where the figures stand."""
    return (_HERE / name).read_text(encoding="utf-8")
