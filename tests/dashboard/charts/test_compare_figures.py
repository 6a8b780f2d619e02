"""The figures of the Compare page: what is filled, hollow, on the front, clear, and inside the band."""

import math

import numpy as np

from dashboard.charts.audit import audit_figure
from dashboard.charts.damage import MOST_CLASSES, classes_figure, confusion_figure
from dashboard.charts.difference import difference_figure
from dashboard.charts.front import FrontPoint, front_figure, near_baseline
from dashboard.evidence.audit import Audit, Check
from dashboard.evidence.damage import damage_of
from toast_core.schedule.schedule import Schedule
from toast_core.studies.evaluation.result import Estimate

NAMES = [f"class {label}" for label in range(30)]


def point(name: str, kind: str, cost: float, top1: float, measured: bool = True, **values: bool) -> FrontPoint:
    """A point whose interval is 1 to each side."""
    return FrontPoint(name, kind, cost, Estimate(top1, (top1 - 1, top1 + 1)), measured, "basis", **values)


def outcomes(predicted: list[int], label: list[int]) -> dict[str, np.ndarray]:
    """Per-image arrays of the first images of a set."""
    return {"index": np.arange(len(label)), "label": np.array(label), "predicted": np.array(predicted)}


def test_measured_marks_are_filled_predicted_ones_hollow_and_the_front_is_a_staircase() -> None:
    base, draft = point("Baseline", "Baseline", 1.0, 90), point("mine", "Draft", 0.6, 88, is_reference=True)
    guess = point("guess", "Draft", 0.5, 89, measured=False)
    front, *marks = front_figure([base, draft, guess], [draft, base], "GMACs per image").data
    assert list(front.x) == [0.6, 1.0] and list(front.y) == [88, 90] and front.line.shape == "hv"
    by_name = {trace.name: trace for trace in marks}
    assert set(by_name) == {"Baseline, measured", "Drafts, measured", "Drafts, predicted"}
    filled, hollow = by_name["Drafts, measured"], by_name["Drafts, predicted"]
    assert filled.marker.symbol == "circle" and hollow.marker.symbol == "circle-open"
    assert filled.marker.size[0] > by_name["Baseline, measured"].marker.size[0]
    assert list(hollow.error_y.array) == [1] and list(hollow.text) == ["guess"] and list(filled.text) == ["mine"]
    assert hollow.customdata[0][1] == "GMACs per image"


def test_outliers_do_not_eat_the_scale() -> None:
    base, draft, far = point("Baseline", "Baseline", 1.0, 90), point("mine", "Draft", 0.6, 88), point("far", "Draft", 0.4, 12)
    assert near_baseline([base, draft]) is None and near_baseline([draft, far]) is None
    low, high = near_baseline([base, draft, far])
    assert 86 < low < 87 and 91 < high < 92, "both with their intervals, and a margin"
    figure = front_figure([base, draft, far], [], "GMACs", within=(low, high))
    assert tuple(figure.layout.yaxis.range) == (low, high) and front_figure([base], [], "GMACs").layout.yaxis.range is None


def test_without_accuracies_the_front_says_so() -> None:
    assert "No candidate has" in front_figure([], [], "GMACs").layout.annotations[0].text


def test_the_difference_has_signs_and_equal_sites_stay_empty() -> None:
    mine, other = Schedule.uniform(3, fc2=0.5), Schedule.uniform(3, fc2=0.5).with_ratio(1, "fc2", 0.9).with_ratio(0, "qk", 0.2)
    figure = difference_figure(mine, other, ("mine", "other"))
    (heat,) = figure.data
    assert [round(value, 6) if value else value for value in heat.z[3]] == [None, -0.4, None] and heat.z[0][0] == -0.2
    assert [note.text for note in figure.layout.annotations] == ["\N{MINUS SIGN}20", "\N{MINUS SIGN}40"]
    assert heat.text[3][1] == "mine: 0.5 dropped<br>other: 0.9 dropped"


def test_clear_classes_are_told_apart_and_only_the_worst_are_drawn() -> None:
    label = [one for one in range(30) for _ in range(40)]
    after = [one if one else 1 for one in label]  # class 0 is lost, nothing else changes
    found = damage_of(outcomes(label, label), outcomes(after, label))
    clear, same = classes_figure(found.classes, NAMES).data
    assert list(clear.y) == ["class 0"] and clear.name == "clear among all classes" and list(clear.x) == [-100.0]
    assert len(same.y) == MOST_CLASSES - 1 and same.marker.symbol == "circle-open"
    assert list(clear.customdata[0][2:]) == [40, 0, 40]
    (heat,) = confusion_figure(found, NAMES).data
    assert list(heat.y) == ["class 0", "class 1"] and [list(row) for row in heat.z] == [[None, 40], [None, None]]


def test_where_nothing_is_newly_wrong_the_confusion_says_so() -> None:
    found = damage_of(outcomes([0, 1], [0, 1]), outcomes([0, 1], [0, 1]))
    assert confusion_figure(found, NAMES).layout.annotations[0].text == "No image is newly wrong"
    assert classes_figure((), NAMES).layout.annotations[0].text == "No image was seen by both"


def test_the_audit_tells_inside_from_outside() -> None:
    def check(predicted: float, measured: float) -> Check:
        return Check(
            Schedule.uniform(2, fc2=0.5), Estimate(predicted, (predicted - 1, predicted + 1)),
            Estimate(measured, (measured - 2, measured + 2)), 1000, 2, 3.0,
        )

    found = Audit((check(-1.0, -1.5), check(-4.0, -9.0)), None)
    line, inside, outside = audit_figure(found).data
    assert list(line.x) == [-4.0, 0.0] and list(inside.y) == [-1.5] and list(outside.y) == [-9.0]
    assert list(outside.error_x.array) == [1.0] and list(outside.error_y.array) == [2.0] and outside.customdata[0][5] == 2
    assert (found.inside, found.coverage.value) == (1, 50.0) and math.isclose(found.checks[1].miss, -5.0)
    assert audit_figure(Audit((), None)).layout.annotations[0].text == "No predicted schedule is measured yet"
