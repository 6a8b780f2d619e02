"""`toast analyze`: measurements that go into the evidence store."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toast_core.cli.help import RUN
from toast_core.cli.lists import ratios_of, words_of
from toast_core.cli.opened import note_rest, open_workbench
from toast_core.cli.options import Json, Place, Wanted, in_panels, takes_executor, takes_schedule, takes_setup
from toast_core.cli.output import Bar, print_json, print_table, told_of
from toast_core.errors import ScheduleError
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.composition.result import CompositionRow
from toast_core.studies.composition.verdict import judge
from toast_core.studies.sensitivity.cells import DEFAULT_RATIOS, SITE_GROUPS
from toast_core.studies.sketch.calibration import MEASURED
from toast_core.studies.sketch.result import DRAWS
from toast_core.studies.tasks.registry import task_of_row

if TYPE_CHECKING:
    from analysis_cache.analysis import Analysis
    from analysis_cache.store import EvidenceStore
    from toast_core.studies.sensitivity.sweep import Rule
    from toast_core.studies.subject import Subject
    from toast_core.workbench import Workbench

METRICS = ("redundancy", "sensitivity", "composition", "sketch")
_DEFAULT_METRICS = "redundancy,sensitivity"


@takes_setup("analyze", required=("data",))
@takes_schedule
@takes_executor
@in_panels({
    "Sensitivity": ("mode", "width", "tolerance"), "Sketch": ("draws", "measured", "trials", "compensation"),
    RUN: ("memory_gb", "dtype"),
})
def analyze(
    setup: Setup,
    wanted: Wanted,
    place: Place,
    metrics: Annotated[str, typer.Option(help=f"comma-separated: {', '.join(METRICS)}")] = _DEFAULT_METRICS,
    sites: Annotated[str, typer.Option(help="of sensitivity and sketch, comma-separated")] = ",".join(SITE_GROUPS),
    ratios: Annotated[str, typer.Option(help="of sensitivity and sketch, comma-separated")] = ",".join(map(str, DEFAULT_RATIOS)),
    mode: Annotated[str, typer.Option(help="exact: all images; adaptive: predict, and measure a cell until it is decided")] = "exact",
    width: Annotated[float, typer.Option(help="adaptive: half width of the interval that is narrow enough, in points")] = 2.0,
    tolerance: Annotated[float, typer.Option(help="adaptive: a cell is decided once it clearly loses more points than this or less")] = 2.0,
    draws: Annotated[int, typer.Option(help="sketch: random directions an image", min=1)] = DRAWS,
    measured: Annotated[int, typer.Option(help="sketch: cells of every site that are run, to calibrate the others", min=0)] = MEASURED,
    trials: Annotated[
        int | None, typer.Option(help="sketch: whole schedules that are run, to calibrate others; 6, or 0 with --compensation", min=0)
    ] = None,
    compensation: Annotated[bool, typer.Option("--compensation", help="sketch: of cells refitted on the calibration images")] = False,
    memory_gb: Annotated[float, typer.Option(help="memory budget of the process, in 1e9 bytes")] = 8.0,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16")] = "float32",
    as_json: Json = False,
) -> None:
    """Measure a baseline model's redundancy and sensitivity, or a schedule's dependence on the batch (composition).

    Every finished cell is kept, and a killed run goes on where it stopped. Composition evaluates --schedule or --preset in class
    order and shuffled, in batches of 1, 8, 64 and 256. Sensitivity takes --selection; without, it chooses channels per image. A sketch
    predicts the damage of the same cells from one forward and a few backward passes; a few cells and whole schedules are run to
    calibrate it. Labels are not used.
    """
    asked = words_of(metrics, METRICS, "metric")
    chosen = wanted.schedule()
    if ("composition" in asked) != (chosen is not None):
        raise ScheduleError(
            "--schedule and --preset are used by the composition metric alone; add composition to --metrics, or leave them out"
            if chosen
            else "the composition metric needs a schedule; pass --schedule FILE or --preset NAME (see toast presets)"
        )
    cells_of = (words_of(sites, SITE_GROUPS, "site"), ratios_of(ratios))
    found: dict[str, tuple[Analysis, list[dict]]] = {}
    with ExitStack() as opened:
        runner = opened.enter_context(place.open(setup.device))
        from analysis_cache.store import EvidenceStore
        from toast_core.studies.sensitivity.sweep import Rule

        rule = Rule(mode, width, tolerance)
        workbench = open_workbench(setup, runner).cast(dtype)
        evidence = opened.enter_context(EvidenceStore.open(setup.store))
        work = _Work(workbench, evidence, bool(set(asked) & {"sensitivity", "composition"}), memory_gb)
        if "redundancy" in asked:
            found["redundancy"] = work.redundancy()
        if "sensitivity" in asked:
            found["sensitivity"] = work.sensitivity(cells_of, rule, wanted.selection or "per_image")
        if "sketch" in asked:
            sizes = {"draws": draws, "measured": measured, "trials": trials}
            found["sketch"] = work.sketch(cells_of, wanted.selection, compensation=compensation, **sizes)
        if chosen is not None:
            found["composition"] = work.composition(chosen)
        data, notes = workbench.images(setup.images, labelled=work.labelled), workbench.notes()
    note_rest(workbench, notes)
    if as_json:
        ids = {metric: analysis.short_id for metric, (analysis, _) in found.items()}
        documents: dict[str, object] = {metric: rows for metric, (_, rows) in found.items()}
        if "composition" in found:
            documents["composition"] = _composition_document(found["composition"][1], data.source.guessed)
        print_json({"id": next(iter(ids.values())), "ids": ids, **documents, **told_of(data, notes)})
        return
    tables = {
        "redundancy": _redundancy_table, "sensitivity": _sensitivity_table, "composition": _composition_table, "sketch": _sketch_table,
    }
    for metric, (analysis, rows) in found.items():
        if metric == "composition":
            print(_composition_document(rows, data.source.guessed)["sentence"])
        print_table(f"{analysis.label}, analysis {analysis.short_id}", *tables[metric](rows))


@dataclass(eq=False)
class _Work:
    """The measurements of one workbench, each kept in the evidence store, with a progress bar."""

    workbench: "Workbench"
    evidence: "EvidenceStore"
    labelled: bool
    memory_gb: float

    def _subject(self, kind: str) -> "Subject":
        from toast_core.studies.subject import Subject

        setup, workbench = self.workbench.setup, self.workbench
        data = workbench.images(setup.images, labelled=self.labelled)
        found = Subject.of(workbench.model, data, setup.batch_size, kind, workbench.executor, workbench.weights_digest)
        return found.with_bank(workbench) if kind == "sensitivity" else found

    def redundancy(self) -> "tuple[Analysis, list[dict]]":
        """The analysis and its rows."""
        from toast_core.studies.redundancy.store import analyze_redundancy

        with Bar("redundancy") as advance:
            return analyze_redundancy(self._subject("redundancy"), self.evidence, self.memory_gb, advance, self.workbench.executor)

    def sensitivity(
        self, cells_of: tuple[tuple[str, ...], tuple[float, ...]], rule: "Rule", selection: str
    ) -> "tuple[Analysis, list[dict]]":
        """The analysis and its rows; the seed of its cells' token samples is the setup's."""
        from toast_core.studies.sensitivity.plans import selected_cells
        from toast_core.studies.sensitivity.store import SweepRequest, analyze_sensitivity

        cells, settings, statistics = selected_cells(self.workbench, *cells_of, selection, self.workbench.setup.batch_size)
        with Bar("sensitivity") as advance:
            sweep = SweepRequest(cells, rule, statistics, settings)
            return analyze_sensitivity(
                self._subject("sensitivity"), self.evidence, sweep, advance, self.memory_gb, self.workbench.executor
            )

    def sketch(
        self, cells_of: tuple[tuple[str, ...], tuple[float, ...]], selection: str | None, **fields: Any
    ) -> "tuple[Analysis, list[dict]]":
        """The analysis and its rows; the seed of its directions is that of the images. `fields` are those of a `SketchRun`."""
        from toast_core.studies.sketch.job import SketchRun
        from toast_core.studies.sketch.store import analyze_sketch

        selection = selection or ("calibrated" if fields["compensation"] else "per_image")
        run = SketchRun(*cells_of, selection=selection, batch_size=self.workbench.setup.batch_size, **fields)
        with Bar("sketch") as advance:
            subject = self._subject("sketch")
            request = run.request(self.workbench, subject)
            analysis, found = analyze_sketch(subject, self.evidence, request, advance, self.memory_gb, self.workbench.executor)
        return analysis, found.rows()

    def composition(self, schedule: Schedule) -> "tuple[Analysis, list[dict]]":
        """The analysis and its rows."""
        from toast_core.studies.composition.store import analyze_composition

        statistics = self.workbench.statistics_for(schedule)
        with Bar("composition") as advance:
            return analyze_composition(
                self._subject("composition"), self.evidence, schedule, statistics, advance, self.workbench.executor,
                partial(self.workbench.plan, schedule),
            )


def _redundancy_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    columns = ["block", "site", "sparsity", "dead", "R2 held out at 0.5", "effective rank / C"]
    return columns, [
        [
            str(row["block"]),
            row["site"],
            f"{row['sparsity']['0.01rms']:.3f}",
            f"{row['dead']['0.01rms']:.3f}",
            f"{row['r2']['0.5']['held_out']:.3f}",
            f"{row['effective_rank']['singular_values']['relative']:.3f}",
        ]
        for row in rows
    ]


def _sensitivity_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    task = task_of_row(rows[0])
    predicts = any(row.get("predicted") for row in rows)
    return ["block", "site", "ratio", *task.worded(rows[0]), "images", *(["basis"] if predicts else [])], [
        [
            str(row["block"]), row["site"], f"{row['ratio']:g}", *task.worded(row).values(), str(row["images"]),
            *(["predicted" if row.get("predicted") else "measured"] if predicts else []),
        ]
        for row in rows
    ]


def _sketch_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    damage = task_of_row(rows[0]).damage
    key = damage.key
    heading = f"{damage.label} predicted{f', {damage.unit}' if damage.unit else ''}"
    return ["block", "site", "ratio", heading, "95 %", "images", "cells run"], [
        [
            str(row["block"]), row["site"], f"{row['ratio']:g}", damage.number(row[key]),
            " to ".join("-" if end is None else damage.number(end) for end in row[f"{key}95"]), str(row["images"]),
            str(row["calibrated_by"]),
        ]
        for row in rows
    ]


def _composition_document(rows: list[dict], guessed: bool) -> dict:
    """The verdict with its rows; what it says of accuracy is qualified where the order of classes is a guess."""
    verdict = judge([CompositionRow.from_dict(row) for row in rows])
    doubt = " Accuracy is of a guessed order of classes, see the notes: choose one with --class-order." if guessed else ""
    return {"sentence": verdict.sentence + doubt, "safe": verdict.safe, "rows": rows}


def _composition_table(rows: list[dict]) -> tuple[list[str], list[list[str]]]:
    overlaps = [site for site in ("fc1", "fc2") if any(row[f"jaccard_{site}"] is not None for row in rows)]
    columns = ["order", "batch", "shuffle", "sample", "top-1 % (95 %)", "difference (95 %)", "agree %"]
    return [*columns, *(f"{site} overlap" for site in overlaps)], [
        [
            "deployment" if row["deployment"] else row["order"],
            str(row["batch_size"]),
            str(row["seed"]) if row["order"] == "shuffled" else "",
            str(row["token_seed"]),
            f"{row['top1']:.2f} ({row['ci95'][0]:.2f} to {row['ci95'][1]:.2f})",
            f"{row['top1_delta']:+.2f} ({row['delta_ci95'][0]:+.2f} to {row['delta_ci95'][1]:+.2f})",
            f"{row['agreement']:.2f}",
            *(f"{row[f'jaccard_{site}']:.3f}" for site in overlaps),
        ]
        for row in rows
    ]
