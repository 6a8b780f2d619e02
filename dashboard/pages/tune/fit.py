"""The desk's "Fit the rest": meet a budget around locks and ranges, at once from stored curves, then refined by measuring as a run."""

import streamlit as st

from dashboard import wording
from dashboard.components.jobs import OPEN, price_text, progress_text
from dashboard.engine.client import EngineError
from dashboard.evidence.budget_fit import UNITS, BudgetRequest, Fit, damage_curves, fit, tuning_run
from dashboard.session import state
from dashboard.session.tunings import take_tuning
from dashboard.session.whole import whole
from toast_core.cost.shapes import ModelShape
from toast_core.engine.protocol import Job
from toast_core.errors import ToastError
from toast_core.schedule.sites import SITES
from toast_core.studies.sketch.result import REFITTED_SITES

_POLL_S = 1.0
_HELP = (
    "Keeps locked bars and ranges, and gives every other bar the ratio that does the least predicted damage within the budget. Sites "
    "that are not chosen stay as they are."
)
_REFINE_HELP = "Measures compensated curves on calibration images, fits the likeliest schedules, and lets held-out images choose. A run."


def show_fit(shape: ModelShape) -> None:
    """The panel; taking a schedule in hand runs the page again."""
    st.markdown("**Fit the rest to a budget**")
    if not _calibrates():
        st.caption("The tuner fits calibrated schedules; start the dashboard with --calibration IMAGES to use it.")
        return
    _show_request(shape)
    left, right = st.columns(2)
    left.button("Fit the rest", type="primary", width="stretch", key="fit", help=_HELP, on_click=whole(_fit), args=(shape,))
    right.button("Refine by measuring", width="stretch", key="refine", help=_REFINE_HELP, on_click=whole(_offer), args=(shape,))
    if error := st.session_state.get("fit-error"):
        st.error(error)
    _show_offer()
    if st.session_state.get("tuning-job") is not None:
        _follow_job(shape)
    found: Fit | None = st.session_state.get("fitted")
    if found is not None and found.schedule == state.schedule():
        _show_found(found)


def _calibrates() -> bool:
    engine = state.engine_client().setup
    return state.default_selection(engine) == "calibrated"


def _show_request(shape: ModelShape) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = st.selectbox("Budget in", list(UNITS), format_func=UNITS.__getitem__, key="budget-unit", width=170)
        first = _first_proposal(shape, chosen)
        low, high, step, digits = (1.0, 95.0, 1.0, "%.0f") if chosen == "reduction" else (0.0, None, first / 30, "%.4g")
        st.number_input("Budget", low, high, first, step, format=digits, key=f"budget-{chosen}", width=150)
        st.pills("Sites that may change", SITES, selection_mode="multi", default=REFITTED_SITES, key="fit-sites")


def _request(shape: ModelShape) -> BudgetRequest:
    """What the boxes say now: a click may come with what was typed before it, when nothing has been drawn in between."""
    asked = st.session_state
    unit, sites = asked["budget-unit"], asked["fit-sites"]
    value = asked.get(f"budget-{unit}", _first_proposal(shape, unit))
    return BudgetRequest(unit, value, tuple(site for site in SITES if site in sites), not state.schedule().compensation.is_none)


def _first_proposal(shape: ModelShape, unit: str) -> float:
    """40 % fewer MACs, or 60 % of what the baseline needs."""
    return 40.0 if unit == "reduction" else 0.6 * _whole(shape, unit)


def _whole(shape: ModelShape, unit: str) -> float:
    from toast_core.cost.macs import count_cost

    cost = count_cost(shape)
    return cost.macs / 1e9 if unit == "gmacs" else cost.params / 1e6


def _fit(shape: ModelShape) -> None:
    """Solve and take the answer in hand, or leave one line that says why not."""
    st.session_state.pop("fit-error", None)
    st.session_state.pop("tuning-offer", None)
    request = _request(shape)
    try:
        if not request.sites:
            st.session_state["fit-error"] = "no site may change; choose at least one"
            return
        curves = damage_curves(state.engine_client().setup, shape.name, request.compensated)
        if not curves.rows:
            st.session_state["fit-error"] = curves.note
            return
        schedule = state.schedule()
        with st.spinner("Fitting"):
            found = fit(shape, schedule, tuning_run(shape, schedule, state.limits(), request), curves)
    except ToastError as error:
        st.session_state["fit-error"] = str(error)
        return
    st.session_state["fitted"] = found
    state.take(found.schedule, f"Fit, {request.said}")


def _offer(shape: ModelShape) -> None:
    """Ask what refining would cost."""
    st.session_state.pop("fit-error", None)
    request = _request(shape)
    try:
        if not request.sites:
            st.session_state["fit-error"] = "no site may change; choose at least one"
            return
        asked = tuning_run(shape, state.schedule(), state.limits(), request)
        with st.spinner("Looking at what is stored, and how fast this machine is"):
            st.session_state["tuning-offer"] = (asked, state.engine_client().quote(asked).quote)
    except ToastError as error:
        st.session_state["fit-error"] = str(error)


def _show_offer() -> None:
    if offer := st.session_state.get("tuning-offer"):
        asked, quote = offer
        st.markdown(price_text(quote, upper_bound=True))
        start, leave = st.columns(2)
        start.button("Start", width="stretch", key="tuning-start", on_click=whole(_submit), args=(asked,))
        leave.button("Leave it", width="stretch", key="tuning-leave", on_click=whole(st.session_state.pop), args=("tuning-offer",))


def _submit(asked: dict) -> None:
    st.session_state.pop("tuning-offer", None)
    try:
        st.session_state["tuning-job"] = state.submit(asked).number
    except EngineError as error:
        st.session_state["fit-error"] = str(error)


@st.fragment(run_every=_POLL_S)
def _follow_job(shape: ModelShape) -> None:
    """Progress of the run that this session started; its schedule is taken in hand once, when it is done."""
    number = st.session_state.get("tuning-job")
    try:
        job = next((one for one in state.engine_client().jobs() if one.number == number), None)
    except EngineError:
        st.caption("Waiting for the engine.")
        return
    if job is not None and job.state in OPEN:
        if job.state == "running":
            st.progress(job.done / job.total if job.total else 0.0, text=progress_text(job))
        else:
            st.caption(f"Run {number} is {job.state}; see Runs.")
        return
    whole(_end_job)(shape, job)
    st.rerun()


def _end_job(shape: ModelShape, job: Job | None) -> None:
    st.session_state["tuning-job"] = None
    if job is not None and job.state == "done":
        take_tuning(shape, job)
    elif job is not None:
        st.session_state["fit-error"] = f"run {job.number} is {job.state}. {job.message}".strip()


def _show_found(found: Fit) -> None:
    damage = state.task().damage
    unit, named = (" nats", "nats (KL)") if damage.unit else ("", f"({damage.label})")
    price = "" if found.price is None else f" A million MACs or parameters less would add {found.price:.2g}{unit}."
    least = f"at most {100 * found.gap:.1g} % from the least"
    st.markdown(f"{wording.BADGES['predicted']} damage {found.predicted:.2g} {named}, {least}.{price}")
    st.caption(f"From {found.curves}." + "".join(f" {wording.plain(note[:1].upper() + note[1:])}." for note in found.notes))
    with st.expander("Next-best edits"):
        for name, said in (("drop", "Drop more where it costs least"), ("restore", "Give back where it helps most")):
            st.caption(said)
            for number, edit in enumerate(found.edits[name][:3]):
                label = (
                    f"block {edit['block']} {edit['site']}: {100 * edit['before']:.0f} \N{RIGHTWARDS ARROW} {100 * edit['after']:.0f} %, "
                    f"{wording.signed(edit['damage'], 5)}{unit}, {wording.signed(-edit['saved'] / 1e6, 3)} M"
                )
                st.button(label, width="stretch", key=f"edit-{name}-{number}", on_click=whole(_apply_edit), args=(edit,))


def _apply_edit(edit: dict) -> None:
    state.edit_within_limits(state.schedule().with_ratio(edit["block"], edit["site"], edit["after"]))
