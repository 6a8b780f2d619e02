"""What a report says of any analysis, in words: model, data, date, version, baseline. From the store alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from analysis_cache.analysis import Analysis
from analysis_cache.cell import CellHead
from analysis_cache.replay import Replay
from toast_core.schedule.schedule import Schedule
from toast_core.version import code_version

SHOWN_DIGITS = 16
_SELECTIONS = {
    "calibrated": "fixed once, from calibration images", "per_image": "anew for every image", "per_batch": "anew for every batch",
}


@dataclass(frozen=True)
class Stored:
    """An analysis as its source has it: the request, and the cells that are measured."""

    replay: Replay
    analysis: Analysis

    @property
    def request(self) -> Mapping[str, Any]:
        """What was asked."""
        return self.analysis.request

    @property
    def metric(self) -> str:
        """What was measured."""
        return str(self.request.get("metric"))

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.request.get("model", "a model"))

    @property
    def heads(self) -> list[CellHead]:
        """The cells that are measured, in the analysis' order."""
        return self.replay.heads(self.analysis.id)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The cells of the metric as flat records."""
        return self.replay.rows(self.analysis.id)


def day(created_utc: str) -> str:
    """For example `31 January 2026`."""
    when = datetime.fromisoformat(created_utc)
    return f"{when.day} {when:%B %Y}"


def chosen_in_words(schedule: Schedule) -> str:
    """How channels are chosen, and whether weights make up for what is dropped."""
    compensation = "" if schedule.compensation.is_none else "; compensation on: the weights that stay are refitted on calibration images"
    return f"{_SELECTIONS[schedule.selection]}{compensation}"


def facts_of(stored: Stored, data: str = "", more: Sequence[tuple[str, str]] = ()) -> tuple[tuple[str, str], ...]:
    """Model, baseline, data, what is particular to the analysis, date and version; `data` is the image set's name where it is known."""
    request = stored.request
    weights = request.get("weights_file") or "as the model was loaded"
    digest, images = str(request.get("data_digest", "")), request.get("images")
    pairs = [("Model", stored.model)]
    if request.get("weights_digest"):
        known = str(request["weights_digest"])[:SHOWN_DIGITS]
        pairs.append(("Baseline", f"the same model with nothing dropped; weights {weights}, sha256 {known}"))
    if images is not None and digest:
        name = data or "image set"
        pairs.append(("Data", f"{name}, {int(images):,} images, sha256 {digest[:SHOWN_DIGITS]}"))
    pairs += more
    versions = list(dict.fromkeys(head.code_version for head in stored.heads if head.identity.kind == stored.metric))
    pairs.append(("Date", f"{day(stored.analysis.created_utc)}{'' if stored.analysis.finished_utc else ', not finished'}"))
    written = "" if versions == [code_version()] else f"; report written with {code_version()}"
    pairs.append(("ToaSt Studio", f"{', '.join(versions[:3]) or 'nothing measured yet'}{written}"))
    return (*pairs, ("Analysis", stored.analysis.short_id))
