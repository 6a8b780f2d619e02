"""Everything from Python in a few lines: a model with its images, measured, compensated, tuned, exported, recovered and certified.

    studio = Studio("demo_vit", data="fashion-mnist", calibration="fashion-mnist:calibration")
    tuned = studio.tune(reduction=0.4)
    print(studio.evaluate(), studio.evaluate(tuned.schedule))
    studio.export(tuned.schedule, "vit.pt2", "torch_export")

It does what the commands of the same names do, by the same `Workbench`; results show themselves in a notebook.
"""

import html
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    import torch
    from torch import nn

    from toast_core.cost.macs import Cost
    from toast_core.export.write import ExportRecord
    from toast_core.studies.certificate.result import Certificate
    from toast_core.studies.evaluation.measure import Evaluation
    from toast_core.studies.recovery.loop import Recovered
    from toast_core.studies.tuning.measure import Tuned
    from toast_core.workbench import Workbench

_SHOWN_ROWS, _SHOWN_COLUMNS = 10, 12  # of a table in a notebook


@dataclass(frozen=True)
class Findings:
    """A stored analysis: its rows, what came out in a few words, and the command line that measures the same.

    kind     sensitivity, redundancy, composition, ...: a kind of run
    rows     a mapping a cell, as `toast analyze --json` prints them
    outcome  a few words
    command  a line of a shell, or two
    short_id its id in the evidence store, for `toast report` and `toast cache`
    """

    kind: str
    rows: tuple[Mapping, ...]
    outcome: str
    command: str
    short_id: str

    def frame(self) -> "pd.DataFrame":
        """The rows as a table."""
        import pandas as pd

        return pd.DataFrame(list(self.rows))

    def figures(self) -> "dict[str, go.Figure]":
        """The figures of `toast report`, by name: the counterparts of the paper's figures 4 and 5; none for kinds without one."""
        from dashboard.report.figures import report_figures

        return report_figures({self.kind: self.rows})

    def __repr__(self) -> str:
        return f"Findings({self.kind}: {self.outcome}, {len(self.rows)} rows, id {self.short_id})"

    def _repr_html_(self) -> str:
        """For a notebook: a line, and the first rows."""
        about = f"{self.outcome}, {len(self.rows)} rows, id {self.short_id}"
        said = f"<p><b>{html.escape(self.kind)}</b>: {html.escape(about)}</p>"
        return said + self.frame().head(_SHOWN_ROWS).to_html(index=False, float_format="%.4g", max_cols=_SHOWN_COLUMNS)


class Studio:
    """One model with its images. Loaded when first needed, then held; nothing that it does changes the loaded model."""

    def __init__(self, model: str | None = None, **named: Any) -> None:
        """Take a `Setup` in words: `model` and its other fields by name, such as data, calibration, images, device, store.

        Raises:
            SetupError: an unknown field, or one of another kind or out of range.
        """
        words = {name: fspath(value) if isinstance(value, PathLike) else value for name, value in named.items()}
        self.setup = Setup.from_dict({"model": model, **words})

    def __repr__(self) -> str:
        said = {name: value for name, value in self.setup.to_dict().items() if value != getattr(Setup, name, None)}
        return f"Studio({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    @cached_property
    def workbench(self) -> "Workbench":
        """The setup loaded.

        Raises:
            ModelError, DeviceError: it cannot be.
        """
        from toast_core.workbench import Workbench

        return Workbench.load(self.setup)

    @property
    def model(self) -> "nn.Module":
        """The baseline, in eval mode."""
        return self.workbench.model

    def cost(self, schedule: Schedule | None = None) -> "Cost":
        """MACs, parameters and activation memory of the baseline or of a schedule, from shapes alone."""
        from toast_core.cost.macs import count_cost

        return count_cost(self.workbench.shape, schedule)

    def prune(self, schedule: Schedule, execution: str = "compact") -> "nn.Module":
        """A new model that the schedule was put into effect on, its kept weights refitted where it asks for compensation.

        Raises:
            ScheduleError: it has another number of blocks than the model.
            DataError: it needs calibration images and none are named.
        """
        from toast_core.pruning.execution.apply import apply_plan

        plan = self.workbench.plan(schedule)
        for note in plan.notes:
            print(note, file=sys.stderr)
        return apply_plan(self.model, plan, execution)

    def evaluate(self, pruned: "Schedule | nn.Module | None" = None, execution: str = "compact") -> "Evaluation":
        """Accuracy and loss on the setup's images, of the baseline, of a schedule, or of a model such as `recover` returns.

        Without a classifier: how alike its features are to the baseline's, and k-NN accuracy beside labelled calibration images.

        Raises:
            DataError: no images are named.
        """
        from toast_core.studies.evaluation.measure import Beside, evaluate
        from toast_core.studies.subject import bank_of

        data = self.workbench.images(self.setup.images)
        if pruned is None:
            pruned = self.model
        model = self.prune(pruned, execution) if isinstance(pruned, Schedule) else pruned
        baseline = self.model if self.workbench.info.execution == "baseline" else None
        return evaluate(model, data, self.setup.batch_size, beside=Beside(baseline, bank_of(self.workbench, data)[0]))

    def tune(
        self, reduction: float | None = None, gmacs: float | None = None, params: float | None = None, images: int | None = None,
        max_drop: float | None = None, **request: Any,
    ) -> "Tuned":
        """The schedule that meets one budget with the least damage, compensated, found on the calibration images as `toast tune` does.

        What is measured goes into the evidence store, so that another budget takes less.

        Args:
            reduction, gmacs, params: the budget, one of them: the fraction of MACs to save, GMACs of an image, a number of parameters.
            max_drop: in their place: points of accuracy that may be lost, see `tune_within_drop`.
            images: how many calibration images are cut in three; None: as many as `toast tune` takes, whatever the setup says.
            request: further fields of a `TuningRequest`, such as sites, ratios, locks and compensation.

        Raises:
            ScheduleError: no budget, several, or one that cannot be met.
            DataError: no calibration images, or too few to cut in three.
        """
        from analysis_cache.store import EvidenceStore
        from toast_core.budget.words import goal
        from toast_core.studies.subject import Subject
        from toast_core.studies.tuning.drop import tune_within_drop
        from toast_core.studies.tuning.measure import tune
        from toast_core.studies.tuning.request import DEFAULT_IMAGES, TuningRequest
        from toast_core.studies.tuning.store import TuningStore
        from toast_core.workbench import Workbench

        budget = goal(self.workbench.shape, max_drop, reduction, gmacs, params, None)
        asked = TuningRequest(budget, **{"seed": self.setup.seed, "batch_size": self.setup.batch_size, **request})
        setup = replace(self.setup, calibration_images=images or DEFAULT_IMAGES)
        data = Workbench(self.model, setup).calibration(asked.seed)
        with EvidenceStore.open(self.setup.store) as store:
            stored = TuningStore(store, Subject.of(self.model, data, asked.batch_size, "tuning"))
            if max_drop is not None:
                return tune_within_drop(self.model, data, asked, max_drop, store=stored)
            return tune(self.model, data, asked, store=stored)

    def measure(self, kind: str, report: Callable[[int, int], None] = lambda done, total: None, **asked: Any) -> Findings:
        """Measure a kind of run into the evidence store, going on from what is there; `report` is told steps done and all steps.

        Args:
            kind: sensitivity, redundancy, composition, evaluation or another of `toast_core.studies.registry`.
            asked: the run's own fields; what is left out takes the run's default.

        Raises:
            JobError: an unknown kind or field, or a value out of range.
        """
        from analysis_cache.store import EvidenceStore
        from toast_core.studies.analyses import rows_of
        from toast_core.studies.registry import read_run

        run = read_run({"kind": kind, **asked})
        with EvidenceStore.open(self.setup.store) as store:
            analysis = run.measure(self.workbench, store, report)
            outcome = run.outcome(store, analysis)
            return Findings(kind, tuple(rows_of(store, analysis)), outcome, run.command(self.setup), analysis.short_id)

    @property
    def _sizes(self) -> dict[str, Any]:
        return {"images": self.setup.images, "batch_size": self.setup.batch_size}

    def sensitivity(self, **asked: Any) -> Findings:
        """What pruning one site of one block costs; `sites`, `ratios`, `mode`, `selection` as in a `SensitivityRun`."""
        return self.measure("sensitivity", **{**self._sizes, **asked})

    def redundancy(self, **asked: Any) -> Findings:
        """How redundant the feed-forward channels are: sparsity, R2 and effective rank of every block."""
        return self.measure("redundancy", **{**self._sizes, **asked})

    def export(self, schedule: Schedule, output: str | Path, form: str, compared: int = 32) -> "ExportRecord":
        """Write the compact model in a format of the registry, run the file again and keep it where it computes the same.

        Args:
            form: safetensors, torch_export, onnx, loader, or what another package adds.
            compared: how many calibration images it is compared on; random ones where none are named.

        Raises:
            ExportError: an unknown format, a place that cannot be written, or a file that computes something else.
        """
        from toast_core.export.write import check_export, export_model

        check_export(form, output)
        return export_model(self.prune(schedule).cpu(), form, output, self._images_to_compare(compared))

    def _images_to_compare(self, count: int) -> "torch.Tensor":
        import torch

        from toast_core.data.noise import random_images

        if self.setup.calibration is None:
            return random_images(self.model, count, self.setup.seed)
        data = self.workbench.calibration().part(0, count)
        batches = [batch.images for batch in data.batches(count)]
        if not batches:
            raise data.unread()
        return torch.cat(batches)

    def recover(self, schedule: Schedule, images: int | None = None, **recipe: Any) -> "Recovered":
        """Fine-tune what the schedule leaves on the setup's training images, else on its calibration images; as `toast recover` does.

        Args:
            images: a class-balanced subset of them; None: all.
            recipe: fields of a `Recipe`, such as epochs, lr and distill.

        Raises:
            DataError: no training images, test images, or too few.
        """
        from toast_core.studies.recovery.loop import RecoveryStart, recover
        from toast_core.studies.recovery.processes import World
        from toast_core.studies.recovery.recipe import Recipe

        how = Recipe(**recipe)
        data = self.workbench.training(images, how.seed, how.labels)
        start = RecoveryStart(schedule, lambda: self.workbench.plan(schedule, how.batch_size))
        return recover(self.model, start, data, how, world=World(device=next(self.model.parameters()).device))

    def certify(self, schedule: Schedule, exports: Sequence[str | Path] = ()) -> "Certificate":
        """Baseline, masked, compact and exported forms measured on the same images, with digests of all that went in.

        Raises:
            CertificateError: an export that is not there or belongs to another model.
        """
        from toast_core.studies.certificate.issue import issue

        return issue(self.workbench, schedule, tuple(map(Path, exports)))

    def with_setup(self, **named: Any) -> "Studio":
        """Another studio with these fields of the setup changed; the loaded model is not shared."""
        return Studio(**{**self.setup.to_dict(), **named})
