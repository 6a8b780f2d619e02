"""What `python -m benchmarks.gpu` measured on an accelerator, for the Overview. Nothing is shown where it has not run. Imports no torch."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import streamlit as st

from dashboard import wording
from dashboard.components.figure import show_table

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "gpu.json"


@dataclass(frozen=True)
class Accelerator:
    """Speed on one device: a line for each preset, dtype and batch size; `where` names device, versions and date."""

    where: str
    speed: pd.DataFrame


def read_accelerator(path: Path) -> Accelerator | None:
    """The measurements of a file; None where there is none, or none of speed.

    Raises:
        ValueError: the file is not what the benchmark writes.
    """
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
        rows = [row for row in written["rows"] if row["part"] == "speed"]
        lines = [_line(row) for row in rows]
        newest = max((row["date"][:10] for row in rows), default="")
        where = f"{written['processor']}, torch {written['torch']}, timm {written['timm']}, {newest}"
        return Accelerator(where, pd.DataFrame(lines)) if rows else None
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} cannot be read ({type(error).__name__}: {error}); run python -m benchmarks.gpu again") from error


def _line(row: dict) -> dict:
    measured = row["outcome"] == "measured"
    return {
        "Preset": row["preset"], "Precision": row["dtype"], "Batch": row["batch_size"], "Compiled": "yes" if row["compiled"] else "no",
        "Multiple of": row["multiple_of"],
        "MAC ratio": round(row["mac_ratio"], 2) if measured else None,
        "Times as fast": round(row["speedup_median"], 2) if measured else None,
        "Share of the MAC ratio, %": round(100 * row["fraction_of_mac_ratio"]) if measured else None,
        "Outcome": row["outcome"],
    }


def show_accelerator(path: Path) -> None:
    """Show the measurements in a frame of their own, or one line where the file is damaged."""
    try:
        found = read_accelerator(path)
    except ValueError as error:
        st.warning(str(error))
        return
    if found is None:
        return
    with st.container(border=True):
        st.subheader("On an accelerator", anchor=False)
        st.markdown(
            f"The published schedules' compact models against timm's, in interleaved pairs {wording.BADGES['measured']}  \n"
            f"{wording.plain(found.where)}; random weights, which do not matter for speed."
        )
        show_table(found.speed, "overview-accelerator", "accelerator")
