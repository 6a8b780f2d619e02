"""Who gets hurt: classes, confusions and the newly wrong images themselves, for one candidate against the baseline."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.damage import MOST_CLASSES, classes_figure, confusion_figure
from dashboard.components.figure import show_figure, show_table
from dashboard.engine.client import EngineError
from dashboard.evidence.candidates import Candidate
from dashboard.evidence.damage import Damage, damage_of
from dashboard.session import state, view

_PICTURES = 24
_ALL = "all"
_MEASURED = wording.BADGES["measured"]


def show_damage(candidate: Candidate, baseline: Candidate, names: Sequence[str], file: str) -> dict[str, str]:
    """Show the section and return what of it belongs into the address. `names` are the classes', `file` begins saved files' names."""
    st.subheader(f"Who gets hurt by {candidate.name}", anchor=False)
    if not state.task().answers:
        st.info("A model without a classifier answers no image, so none is newly wrong. The table above has how alike its features are.")
        return {}
    if candidate.schedule.is_baseline:
        st.info("The baseline hurts no one. Choose another candidate above.")
        return {}
    if not (candidate.evaluation and baseline.evaluation):
        lacking = [one.name for one in (baseline, candidate) if not one.evaluation]
        st.info(f"Not known image by image yet: {' and '.join(lacking)}. Press Measure above; the images appear here when it is done.")
        return {}
    try:
        found = damage_of(baseline.evaluation.outcomes(), candidate.evaluation.outcomes())
    except StoreError as error:
        st.error(str(error))
        return {}
    if found is None:
        st.info("The two evaluations have no image in common. Press Measure above: then both see all images.")
        return {}
    names = list(names) or [f"class {label}" for label in range(1 + max(one.label for one in found.classes))]
    st.markdown(f"{_in_words(found)} {_MEASURED}")
    left, right = st.columns(2)
    with left:
        st.markdown(f"**Top-1 by class, against the baseline**  \n{_clear_in_words(found)}")
        show_figure(
            classes_figure(found.classes, names), "compare-classes", f"{file}-classes", "Top-1 difference of every class with its interval"
        )
    with right:
        st.markdown("**What the newly wrong are taken for**  \nImages that the baseline had right, in numbers.")
        show_figure(
            confusion_figure(found, names), "compare-confusion", f"{file}-confusion",
            "Heat map of the true classes of newly wrong images and the classes they are taken for",
        )
    with st.expander("Classes as a table"):
        show_table(_class_table(found, names), "compare-classes-table", f"{file}-classes")
    with st.expander("Confusions as a table"):
        show_table(_confusion_table(found, names), "compare-confusion-table", f"{file}-confusion")
    return _show_pictures(found, names)


def _in_words(found: Damage) -> str:
    return (
        f"Of {found.images:,} images, **{found.newly_wrong:,} are newly wrong** and {found.newly_right:,} newly right: "
        f"{wording.points(found.change)} (95 %: {wording.points_interval(found.change)})."
    )


def _clear_in_words(found: Damage) -> str:
    clear = sum(one.is_clear for one in found.classes)
    few = f" The {MOST_CLASSES} worst are drawn." if len(found.classes) > MOST_CLASSES else ""
    return (
        f"{clear} of {len(found.classes)} classes change clearly: exact McNemar tests, corrected for their number (Holm, 5 %). "
        f"The bars are each class's own 95 % interval.{few}"
    )


def _class_table(found: Damage, names: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame([{
        "Class": names[one.label], "Images": one.images, "Newly wrong": one.newly_wrong, "Newly right": one.newly_right,
        "Difference (points)": round(one.change.value, 2), "95 % low": round(one.change.ci95[0], 2),
        "95 % high": round(one.change.ci95[1], 2), "p (Holm)": float(f"{one.p:.2g}"),
        "Reading": ("worse" if one.change.value < 0 else "better") if one.is_clear else "cannot tell apart",
    } for one in found.classes])


def _confusion_table(found: Damage, names: Sequence[str]) -> pd.DataFrame:
    rows = [{"True class": names[true], "Newly taken for": names[taken], "Images": count} for (true, taken), count in found.confusion]
    return pd.DataFrame(rows, columns=["True class", "Newly taken for", "Images"])


def _show_pictures(found: Damage, names: Sequence[str]) -> dict[str, str]:
    """The newly wrong images, the surest mistakes first, of all classes or one."""
    hurt = [str(one.label) for one in found.classes if one.newly_wrong]
    if not hurt:
        return {}
    words, choice = st.columns([3, 2], vertical_alignment="bottom")
    key = view.choice_key("compare", "class", [_ALL, *hurt], _ALL)
    chosen = choice.selectbox("Class", [_ALL, *hurt], key=key, format_func=lambda one: "All classes" if one == _ALL else names[int(one)])
    places = [place for place in range(len(found.wrong)) if chosen in (_ALL, str(found.label[place]))]
    words.markdown(f"**Newly wrong images**, the surest mistakes first: {min(_PICTURES, len(places))} of {len(places):,}")
    places = places[:_PICTURES]
    try:
        images = state.engine_client().pictures([int(found.wrong[place]) for place in places])
    except EngineError as error:
        st.caption(f"The pictures are not there: {error}")
        return {"class": chosen}
    with st.container(horizontal=True, gap="small"):
        for place, image in zip(places, images, strict=True):
            true, taken = names[found.label[place]], names[found.predicted[place]]
            with st.container(width=120):
                if image is None:
                    st.caption("cannot be read")
                else:
                    st.image(image, width=112)
                st.caption(f"{wording.plain(true)} \N{RIGHTWARDS ARROW} {wording.plain(taken)}")
    return {"class": chosen}
