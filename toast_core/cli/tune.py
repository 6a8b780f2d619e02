"""`toast tune`: the schedule that meets a budget with the least damage, found on calibration images."""

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from toast_core.cli.bench import latency_table, measured_latency, print_latency
from toast_core.cli.help import IMAGES
from toast_core.cli.lists import ratios_of, words_of
from toast_core.cli.opened import note_rest, open_workbench
from toast_core.cli.options import Json, Place, in_panels, takes_executor, takes_setup
from toast_core.cli.output import Bar, print_json, print_table
from toast_core.errors import ScheduleError
from toast_core.files import check_can_write, write_text
from toast_core.intervals import Estimate
from toast_core.schedule.compensation import ATTENTION, CALIBRATIONS, FFN, Compensation
from toast_core.schedule.sites import SITES
from toast_core.setup import Setup
from toast_core.studies.tasks.base import Figure
from toast_core.studies.tasks.registry import task_in, task_of
from toast_core.studies.tuning.request import DEFAULT_IMAGES, DEFAULT_RATIOS, DEFAULT_SITES

if TYPE_CHECKING:
    from toast_core.workbench import Workbench

Edits = dict[str, list[dict]]


@takes_setup(
    "tune", required=("calibration",), defaults={"calibration_images": DEFAULT_IMAGES},
    said={
        "calibration": "unlabelled images, cut in three: to fit, measure and judge on; never test images",
        "seed": "of the images drawn, of random weights and of the schedule; default: 0",
    },
)
@takes_executor
@in_panels({
    "Budget": ("reduction", "gmacs", "params", "latency_ms", "max_drop", "latency_batch_size"),
    "What is pruned": ("sites", "ratios", "lock", "within", "multiple_of"), "Compensation": ("ffn", "attention", "fitting"),
    IMAGES: ("evaluate",),
})
def tune(
    output: Annotated[Path, typer.Option("--output", "-o", help="schedule JSON to write, its compensation inside")],
    setup: Setup,
    place: Place,
    reduction: Annotated[float | None, typer.Option(help="budget: the fraction of the baseline's MACs to save, for example 0.4")] = None,
    gmacs: Annotated[float | None, typer.Option(help="budget: GMACs of one image")] = None,
    params: Annotated[float | None, typer.Option(help="budget: number of parameters, for example 4e5")] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="budget: milliseconds of a forward on this machine, from its latency table (toast bench --table)")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(help="instead of a budget: points of accuracy that may be lost; takes many calibration images")
    ] = None,
    latency_batch_size: Annotated[int, typer.Option(min=1, help="images of that forward")] = 1,
    lock: Annotated[list[str] | None, typer.Option(help="BLOCK.SITE=RATIO, repeatable: keep this ratio")] = None,
    within: Annotated[list[str] | None, typer.Option("--range", help="BLOCK.SITE=LOW:HIGH, repeatable: stay between these ratios")] = None,
    sites: Annotated[str, typer.Option(help="what may be pruned, comma-separated: qk, vo, fc1, fc2")] = ",".join(DEFAULT_SITES),
    ratios: Annotated[str, typer.Option(help="measured for every site, comma-separated; nothing beyond the largest is used")] = (
        ",".join(map(str, DEFAULT_RATIOS))
    ),
    multiple_of: Annotated[int, typer.Option(min=1, help="kept counts are multiples of this")] = 1,
    ffn: Annotated[str, typer.Option(help=f"compensation of fc2: {', '.join(FFN)}")] = "fold",
    attention: Annotated[str, typer.Option(help=f"compensation of qk and vo: {', '.join(ATTENTION)}")] = "project",
    fitting: Annotated[str, typer.Option(help=f"what blocks are fitted on: {', '.join(CALIBRATIONS)}")] = "error_correcting",
    front: Annotated[bool, typer.Option("--front", help="add schedules of other budgets, each measured on held-out images")] = False,
    evaluate: Annotated[
        int | None, typer.Option(min=1, help="then evaluate schedule and baseline on so many images of --data, kept for the dashboard")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the schedule that meets a MAC, parameter or latency budget with the least damage; labels are not needed.

    Sketches how far each site of each block can be pruned after compensation, solves for the budget, and lets held-out calibration
    images choose among the solution and those of two variants and four usual shapes that the prediction cannot tell from it.
    --max-drop looks for the cheapest schedule of which no more answers can change than that, by held-out images. What was
    measured is kept: another budget on the same images takes less. --executor ray sketches by workers; candidates are fitted and
    judged here, on the same kind of device.
    """
    from toast_core.budget.words import goal, read_locks, read_ranges

    check_can_write(output, ScheduleError)
    if front and max_drop is not None:
        raise ScheduleError("--front is of a budget's tuning; leave it out with --max-drop, or give a budget")
    locks, ranges = read_locks(tuple(lock or ())), read_ranges(tuple(within or ()))
    if evaluate and setup.data is None:
        raise ScheduleError("--evaluate needs labelled images; pass --data DATA")
    asked, measured = words_of(sites, SITES, "site"), tuple(sorted(ratios_of(ratios)))
    wants = Compensation(ffn, attention, fitting)
    with ExitStack() as opened:
        runner = opened.enter_context(place.open(setup.device))
        from analysis_cache.store import EvidenceStore
        from toast_core.studies.evaluation.pair import evaluate_pair
        from toast_core.studies.subject import Subject
        from toast_core.studies.tuning.drop import tune_within_drop
        from toast_core.studies.tuning.measure import tune as run
        from toast_core.studies.tuning.request import TuningRequest
        from toast_core.studies.tuning.store import TuningStore

        # here whatever runs the curves: candidates are fitted and judged in this process
        workbench = open_workbench(replace(setup, device=runner.device))
        model, table = workbench.model, partial(latency_table, workbench.model, latency_batch_size, setup.store)
        budget = goal(workbench.shape, max_drop, reduction, gmacs, params, latency_ms, table)
        data = workbench.calibration()
        request = TuningRequest(budget, asked, measured, locks, ranges, wants, multiple_of, setup.seed, setup.batch_size)
        evidence, advance = opened.enter_context(EvidenceStore.open(setup.store)), opened.enter_context(Bar("tuning"))
        stored = TuningStore(evidence, Subject.of(model, data, setup.batch_size, "tuning"))
        stages = ("curves", "candidates", *(["front"] if front else []))

        def told(what: str, done: int, total: int) -> None:
            advance(done + total * stages.index(what), len(stages) * total)

        if max_drop is None:
            tuned = run(model, data, request, front, told, stored, runner)
        else:
            tuned = tune_within_drop(model, data, request, max_drop, told, stored, runner)
        if evaluate:
            judged = evaluate_pair(workbench, evidence, tuned.schedule, (evaluate, setup.batch_size))
            tuned = replace(tuned, report=tuned.report | {"evaluated": _evaluated(workbench, evaluate, *judged)})
    write_text(output, tuned.schedule.to_json())
    report = tuned.report | {"output": str(output)} | measured_latency(workbench, tuned.schedule, budget.table)
    report["notes"] = [*workbench.notes(), *report["notes"]]
    note_rest(workbench, report["notes"])
    if as_json:
        print_json(report)
    else:
        _print_report(report, task_of(workbench.shape).damage)


def _evaluated(workbench: "Workbench", images: int, baseline: Estimate, found: Estimate) -> dict[str, Any]:
    figure = task_of(workbench.shape).figures[0]
    return {"images": images, f"baseline_{figure.key}": baseline.to_dict(), figure.key: found.to_dict()}


def _print_report(report: dict, damage: Figure) -> None:
    achieved, baseline = report["achieved"], report["baseline"]
    key, label = damage.key, damage.label
    answered = "agreement" in report["candidates"][0]
    rows = [_candidate_row(row, report["chosen"], damage, answered) for row in report["candidates"]]
    kept = ["agreement % (95 %)", f"to {key}, points (95 %)"] if answered else [f"to {key} (95 %)"]
    columns = ["candidate", "GMACs", f"{label} predicted", f"{label} held out", *kept]
    print_table(f"{report['model']}: candidates on {report['candidates'][0]['images']} held-out calibration images", columns, rows)
    print(report["decision"])
    print(
        f"wrote {report['output']}: {achieved['macs'] / 1e9:.4f} of {baseline['macs'] / 1e9:.4f} GMACs, "
        f"{achieved['params'] / 1e6:.3f} of {baseline['params'] / 1e6:.3f} M parameters, gap at most {100 * report['gap']:.2g} %"
    )
    if "evaluated" in report:
        figure, judged = task_in(report).figures[0], report["evaluated"]
        baseline, found = (Estimate.from_dict(judged[name]) for name in (f"baseline_{figure.key}", figure.key))
        print(f"on up to {judged['images']:,} images of --data: {figure.in_short(found)}; baseline {figure.in_short(baseline)}")
    if "max_drop" in report:
        for look in report["max_drop"]["looks"]:
            of = f"{look['changed']:.2f} % of the answers changed, at most {look['at_most']:.2f} %"
            print(f"tried  {100 * look['reduction']:.1f} % saved: {of}")
    for row in report.get("front", []):
        said = ""
        if "agreement" in row:
            low, high = row["agreement_ci95"]
            said = f", agreement {row['agreement']:.2f} ({low:.1f} to {high:.1f})"
        print(
            f"front  {row['macs'] / 1e9:.4f} GMACs  {row['params'] / 1e6:.3f} M parameters  "
            f"{label} {damage.number(row[f'predicted_{key}'])} predicted, {damage.number(row[key])} held out{said}"
        )
    if learned := report["audit"]["measured_over_predicted"]:
        print(
            f"measured {label} is {learned['ratio']:.2f} times the predicted one over {learned['schedules']} schedules; "
            f"the 95 % band learned from the others holds {report['audit']['covered']} of {report['audit']['asked']}"
        )
    print_latency(report)
    _print_edits(report["next_best_edits"], "ms" if report["budget"]["unit"] == "latency_ns" else "M", damage)
    wall, cpu = (sum(part[clock] for part in report["seconds"].values()) for clock in ("wall", "cpu"))
    print(f"{wall:.0f} s, {cpu:.0f} s of CPU")


def _candidate_row(row: dict, chosen: str, damage: Figure, answered: bool) -> list[str]:
    key = damage.key
    cells = [row["name"] + (" *" if row["name"] == chosen else ""), f"{row['macs'] / 1e9:.4f}", damage.number(row[f"predicted_{key}"])]
    if not row["images"]:
        return [*cells, "clearly worse as predicted", *([""] * (1 + answered))]
    if not answered:
        low, high = row[f"{key}_delta_ci95"]
        return [*cells, damage.number(row[key]), f"{damage.number(low, '+')} to {damage.number(high, '+')}"]
    (low, high), delta = row["agreement_ci95"], row["agreement_delta_ci95"]
    return [*cells, damage.number(row[key]), f"{row['agreement']:.2f} ({low:.1f} to {high:.1f})", f"{delta[0]:+.2f} to {delta[1]:+.2f}"]


def _print_edits(edits: Edits, unit: str, damage: Figure) -> None:
    for name, said in (("drop", "next to drop"), ("restore", "first to restore")):
        for edit in edits[name]:
            print(
                f"{said}: block {edit['block']} {edit['site']} {edit['before']:g} -> {edit['after']:g}, "
                f"{damage.label} {damage.number(edit['damage'], '+')}, {-edit['saved'] / 1e6:+.3f} {unit}"
            )
