"""The model in one line of figures: what it costs, and what it scores."""

from collections.abc import Mapping

import streamlit as st

from dashboard import wording
from dashboard.evidence.candidates import Evaluation
from dashboard.evidence.latency import StoredLatency
from dashboard.evidence.starting_points import BASELINE
from dashboard.session import state
from toast_core.cost.macs import Cost
from toast_core.cost.shapes import ModelShape
from toast_core.studies.evaluation.result import Estimate

_POLL_S = 2.0


def show_model(shape: ModelShape, cost: Cost, evaluations: Mapping[str, Evaluation], latency: StoredLatency) -> None:
    """Cost and score of the baseline; what is not measured yet follows by itself."""
    widths, heads = (sorted({getattr(block, name) for block in shape.blocks}) for name in ("width", "heads"))
    st.subheader(f"Model: {wording.plain(shape.name)}", anchor=False)
    macs, params, time, score = st.columns(4)
    macs.metric(f"GMACs per image {wording.BADGES['computed']}", wording.gmacs(cost.macs))
    macs.caption(f"{len(shape.blocks)} blocks, width {_listed(widths)}, {_listed(heads)} heads")
    params.metric(f"Parameters {wording.BADGES['computed']}", wording.parameters(cost.params))
    params.caption(f"input {shape.image_size} px, {f'{shape.num_classes} classes' if shape.num_classes else 'no classifier'}")
    with time:
        _show_latency(latency)
    with score:
        _show_score(evaluations.get(BASELINE))
    engine = state.engine_state()
    if engine.model is not None:
        st.caption(f"Weights: {wording.plain(engine.model.weights)}")


def _listed(values: list[int]) -> str:
    return ", ".join(map(str, values))


def _show_latency(latency: StoredLatency) -> None:
    table = latency.table
    badge = wording.BADGES["measured"]
    if table is not None:
        st.metric(f"On this machine {badge}", f"{table.baseline_ms:.3g} ms")
        st.caption(f"one image, {table.dtype}, {table.threads} thread{'s' if table.threads > 1 else ''}, {table.processor}")
        return
    st.metric("On this machine", "\N{EN DASH}")
    st.caption(latency.missing)


def _show_score(known: Evaluation | None) -> None:
    figure = state.headline()
    if known is not None:
        _score(known.headline, f"{known.images:,} images")
    elif state.engine_state().is_ready and state.engine_state().data is None:
        st.metric(figure.title, "\N{EN DASH}")
        st.caption("no images were given: start the dashboard with --data FOLDER")
    else:
        _await_score()


@st.fragment(run_every=_POLL_S)
def _await_score() -> None:
    """What the engine measures when it is ready; asked for until it is there."""
    figure, engine = state.headline(), state.engine_client().describe()
    if engine.baseline is None or engine.data is None:
        st.metric(figure.title, "\N{EN DASH}")
        st.caption("being measured")
    else:
        _score(engine.baseline.headline, f"{engine.data.measured:,} images")


def _score(found: Estimate, images: str) -> None:
    figure = state.headline()
    st.metric(f"{figure.title} {wording.BADGES['measured']}", wording.accuracy(found, figure))
    st.caption(f"95 %: {wording.accuracy_interval(found, figure)}; {images}")
