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
    if is_coming:
        _follow(card.done if card else 0)


@st.fragment(run_every=_POLL_S)
def _follow(shown: int) -> None:
    """Progress of the map; the page runs again once there is more to show than the images that it has `shown`."""
    card = state.map_card()
    if card is None:
        return
    if not card.is_running or (card.done and not shown) or card.done >= shown + _REDRAW_IMAGES:
        st.rerun()
    of = f" of {wording.plain(card.name)}" if card.done < card.images else ""
    st.progress(card.done / card.images, text=card.words + of)
