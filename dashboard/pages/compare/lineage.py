"""Drafts as a tree: what came from what, and what each step changed in accuracy and cost."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.components.draft_menu import take
from dashboard.evidence.candidates import Candidate, change_to
from dashboard.evidence.draft import Draft
from dashboard.navigation import page
from dashboard.session import autosave, state
from dashboard.session.drafts import MAX_NOTE, DraftError
from dashboard.session.whole import whole
from toast_core.schedule.schedule import Schedule
from toast_core.schedule.sites import SITES
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.tasks.base import Figure

_STEP = "\N{BOX DRAWINGS LIGHT UP AND RIGHT}\N{BOX DRAWINGS LIGHT HORIZONTAL} "
_NO_BREAK = "\N{NO-BREAK SPACE}"
_STAR, _NAME, _NOTE = "\N{BLACK STAR}", "Draft", "Note"
_EDITABLE = (_STAR, _NAME, _NOTE)


def show_lineage(known: Sequence[Candidate], file: str) -> None:
    """The tree as a table whose names, stars and notes can be edited, what is filtered of it, and buttons for one draft."""
    st.subheader("Drafts", anchor=False)
    if autosave.owner() is None:
        st.info("This browser refuses cookies, so no drafts are kept here. The address and the downloaded schedule keep one.")
        return
    _show_undo()
    own = [one for one in known if one.draft]
    if not own:
        st.info("No draft yet. Every edit on the Tune page is kept as one by itself, for this browser only.")
        return
    st.markdown(
        "Every edit is kept by itself, for this browser only; what was measured by a run, applied, exported, imported or fitted stays as "
        "it is, and edits branch from it. Names, stars and notes can be edited here. Differences are to what a draft began from."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.text_input("Filter", key="lineage-filter", placeholder="Name, note or origin", width=280)
        only = st.toggle("Starred only", key="lineage-starred")
    rows = {one.draft.number: _row(one, depth, known) for one, depth in in_tree_order(own) if _is_asked(one.draft, asked, only)}
    _show_rows(rows, {one.draft.number: one.draft for one in own}, file)
    by_number = {one.draft.number: one.draft for one in own if one.draft.number in rows}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Draft", list(by_number), format_func=lambda one: by_number[one].name, key="lineage-draft", width=280)
        st.button("Open", on_click=whole(_take), args=(by_number,), key="lineage-take", disabled=chosen is None)
        st.button("Delete", on_click=whole(_remove), args=(by_number,), key="lineage-remove", disabled=chosen is None)
    if error := st.session_state.pop("lineage-error", None):
        st.error(error)


def _is_asked(draft: Draft, text: str, only: bool) -> bool:
    found = text.casefold() in f"{draft.name} {draft.note} {draft.origin}".casefold()
    return found and (draft.starred or not only)


def _show_rows(rows: Mapping[int, dict], drafts: Mapping[int, Draft], file: str) -> None:
    """The table; another set of rows is another table, since its edits are told by their position."""
    frame = pd.DataFrame(list(rows.values()), columns=None if rows else [_STAR, _NAME])
    revision = hash(tuple((number, drafts[number].name, drafts[number].note, drafts[number].starred) for number in rows))
    key = f"lineage-{revision}"
    st.data_editor(
        frame, key=key, hide_index=True, on_change=whole(_edit), args=(key, [drafts[number] for number in rows]),
        disabled=[name for name in frame.columns if name not in _EDITABLE],
        column_config={_STAR: st.column_config.CheckboxColumn(width="small"), _NOTE: st.column_config.TextColumn(max_chars=MAX_NOTE)},
    )
    st.download_button(
        "Save as CSV", lambda: frame.to_csv(index=False).encode(), f"{file}-drafts.csv", "text/csv", key="lineage-csv", on_click="ignore"
    )


def _edit(key: str, listed: Sequence[Draft]) -> None:
    """Take over what was edited in the table; a name that is not allowed changes nothing and is said."""
    for row, cells in st.session_state[key]["edited_rows"].items():
        draft = listed[int(row)]
        name = str(cells.get(_NAME) or draft.name).strip(f" {_NO_BREAK}{_STEP}")
        try:
            autosave.mark(draft.number, name, bool(cells.get(_STAR, draft.starred)), str(cells.get(_NOTE, draft.note) or ""))
        except DraftError as error:
            st.session_state["lineage-error"] = str(error)


def _take(by_number: Mapping[int, Draft]) -> None:
    try:
        take(by_number[st.session_state["lineage-draft"]])
    except DraftError as error:
        st.session_state["lineage-error"] = str(error)
    else:
        st.switch_page(page("tune"))


def _remove(by_number: Mapping[int, Draft]) -> None:
    number = st.session_state["lineage-draft"]
    try:
        autosave.remove(number)
        st.session_state["lineage-removed"] = number, by_number[number].name
    except DraftError as error:
        st.session_state["lineage-error"] = str(error)


def _show_undo() -> None:
    """The draft deleted last can come back."""
    if removed := st.session_state.get("lineage-removed"):
        words, undo = st.columns([4, 1], vertical_alignment="center")
        words.markdown(f"{wording.plain(removed[1])} was deleted; drafts that descend from it stay.")
        undo.button("Undo", key="lineage-undo", on_click=whole(_restore), width="stretch")


def _restore() -> None:
    try:
        autosave.restore(st.session_state.pop("lineage-removed")[0])
    except DraftError as error:
        st.session_state["lineage-error"] = str(error)


def in_tree_order(own: Sequence[Candidate]) -> Iterator[tuple[Candidate, int]]:
    """Drafts with their depth, each before its descendants; those whose parent is gone begin a tree."""
    numbers = {one.draft.number for one in own}
    children: dict[int | None, list[Candidate]] = {}
    for one in sorted(own, key=lambda one: one.draft.number):
        children.setdefault(one.draft.parent if one.draft.parent in numbers else None, []).append(one)

    def below(parent: int | None, depth: int) -> Iterator[tuple[Candidate, int]]:
        for one in children.get(parent, []):
            yield one, depth
            yield from below(one.draft.number, depth + 1)

    return below(None, 0)


def _row(one: Candidate, depth: int, known: Sequence[Candidate]) -> dict[str, object]:
    draft, parent = one.draft, parent_of(one, known)
    step, figure = step_in_accuracy(one, parent) if parent else None, state.headline()
    changed = datetime.fromtimestamp(draft.changed, UTC).isoformat()
    return {
        _STAR: draft.starred, _NAME: _NO_BREAK * 3 * (depth - 1) + _STEP * (depth > 0) + draft.name, _NOTE: draft.note,
        "From": draft.origin,
        "Sites changed": sites_changed(one.schedule, parent.schedule) if parent else None, "GMACs": wording.gmacs(one.cost.macs),
        "Cost": wording.change(one.cost.macs, parent.cost.macs) if parent else "",
        figure.title: f"{wording.accuracy(one.headline, figure)} {one.badge}" if one.headline else "not known",
        f"{figure.title} difference": _in_words(step, figure),
        "Last opened": wording.age(changed), "State": _state(draft),
    }


def _state(draft: Draft) -> str:
    held = autosave.hand().draft
    if held and held.number == draft.number:
        return "open, stays as it is" if draft.closed else "open, changes with edits"
    return "kept"


def parent_of(one: Candidate, known: Sequence[Candidate]) -> Candidate | None:
    """What a draft began from, where that still is a candidate; a link leaves only its name."""
    if one.draft.parent is not None:
        return next((other for other in known if other.draft and other.draft.number == one.draft.parent), None)
    return next((other for other in known if not other.draft and other.name == one.draft.origin), None)


def step_in_accuracy(one: Candidate, parent: Candidate) -> Estimate | float | None:
    """The measured difference to the parent in points: paired where that is stored, a bare number where both were measured while
    editing on the same images, None otherwise."""
    try:
        paired = change_to(one, parent)
    except StoreError:
        return None
    if paired:
        return paired[0]
    if one.change and parent.change and one.images == parent.images:
        return one.change.value - parent.change.value
    return None


def _in_words(step: Estimate | float | None, figure: Figure) -> str:
    if step is None:
        return ""
    if isinstance(step, Estimate):
        return f"{wording.points(step, figure)} ({wording.points_interval(step, figure)})"
    return f"{wording.signed(step, figure.digits - 1)} {figure.change_unit}".rstrip() + ", no interval"


def sites_changed(schedule: Schedule, parent: Schedule) -> int:
    """How many sites of all blocks have another ratio."""
    return sum(a != b for site in SITES for a, b in zip(schedule.ratios(site), parent.ratios(site), strict=True))
