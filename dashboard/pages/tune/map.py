"""The sensitivity map that the engine draws by itself: how far it is, and the page drawn anew as more of it comes."""

import streamlit as st

from dashboard import wording
from dashboard.evidence.sketch import DamageMap
from dashboard.session import state
from toast_core.engine.protocol import SketchCard

_POLL_S = 1.0
_REDRAW_IMAGES = 16  # the whole page is drawn anew, with the processor that sketches


def follow_map(damage: DamageMap | None, card: SketchCard | None) -> None:
    """Say how far the map is, or why it was given up; `damage` and `card` are what the page shows and knows of it."""
    if card is not None and card.error:
        st.warning(f"The sensitivity map was given up: {wording.plain(card.error)}")
    is_coming = card.is_running if card else state.engine_client().setup.is_sketched and not (damage and damage.finished)
    # begun once the schedule in hand is measured
    are_refits_coming = state.wants_refits() and not (damage and damage.compensated and damage.finished) and not (card and card.error)
    if is_coming or are_refits_coming:
        _follow(card.done if card and (card.compensated or card.is_running or not state.wants_refits()) else 0)


def is_due(card: SketchCard, shown: int) -> bool:
    """Whether the page is to be drawn anew: for the first images, then for every few, for the last, and once nothing more comes."""
    return not card.is_running or (card.done > shown and (not shown or card.done >= min(shown + _REDRAW_IMAGES, card.images)))


@st.fragment(run_every=_POLL_S)
def _follow(shown: int) -> None:
    """Progress of the map; the page runs again once there is more to show than the images that it has `shown`."""
    card = state.map_card()
    if card is None or (state.wants_refits() and not card.compensated and not card.is_running):
        return
    if is_due(card, shown):
        st.rerun()
    of = f" of {wording.plain(card.name)}" if card.done < card.images else ""
    st.progress(card.done / card.images, text=card.words + of)
