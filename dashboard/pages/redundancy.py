"""Redundancy: how much of the feed-forward channels is zero, a linear function of the others, or in few directions (the paper's Fig. 4)."""

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.redundancy import channel_figure, reconstruction_figure, redundancy_figure, spectrum_figure
from dashboard.components.analysis_choice import choose_analysis, show_command
from dashboard.components.figure import show_figure, show_table
from dashboard.components.heading import show_heading
from dashboard.evidence.find import Evidence
from dashboard.session import view
from toast_core.studies.evaluation.result import Estimate
from toast_core.studies.redundancy.result import ABSOLUTE_THRESHOLDS, REDUNDANCY_SITES, RELATIVE_THRESHOLD, RedundancyRow, fraction_key

_SITE_LABELS = {"hidden": "Hidden units", "fc1_input": "fc1 input"}
_DEFAULT_MULTIPLE = 0.01
_DEFAULT_DROPPED = 0.5
_MEASURED = wording.BADGES["measured"]
_WHAT = (
    "What pruning can take for free: activations near zero, channels that the others already determine (R² near 1 on tokens that were not "
    "fitted), and channels that point in few directions (a low effective rank)."
)


def render() -> None:
    """Show one redundancy analysis: figures over the blocks, then the channels of one block."""
    show_heading("Redundancy")
    st.markdown(_WHAT)
    evidence = choose_analysis("redundancy")
    if evidence is None:
        return
    try:
        rows = [RedundancyRow.from_dict(row) for row in evidence.rows()]
    except StoreError as error:
        st.error(str(error))
        return
    if not rows:
        st.info("This analysis has no finished block yet: redundancy is stored when all blocks are measured.")
        st.button("Look again", key="look-again")
        return
    columns = st.columns(3)
    with columns[0]:
        site = _choose_site(rows)
    rows = sorted((row for row in rows if row.site == site), key=lambda row: row.block)
    with columns[1]:
        multiple = _choose_threshold(rows[0])
    with columns[2]:
        dropped = _choose_dropped(rows[0])
    _show_blocks(rows, site, multiple, dropped, evidence)
    row = _choose_block(rows)
    _show_channels(row, dropped, evidence)
    show_command(evidence)
    view.publish(
        analysis=evidence.short_id, site=site, block=str(row.block), threshold=_multiple_key(multiple), dropped=fraction_key(dropped)
    )


def _choose_site(rows: list[RedundancyRow]) -> str:
    there = [site for site in REDUNDANCY_SITES if any(row.site == site for row in rows)]
    key = view.choice_key("redundancy", "site", there, there[0])
    return st.segmented_control("Site", there, format_func=_SITE_LABELS.__getitem__, required=True, key=key)


def _choose_threshold(row: RedundancyRow) -> float:
    """The multiple of the RMS that counts as near zero, among those counted."""
    multiples = {_multiple_key(point[0]): point[0] for point in row.sparsity_curve}
    nearest = min(multiples, key=lambda key: abs(multiples[key] - _DEFAULT_MULTIPLE))
    key = view.choice_key("redundancy", "threshold", list(multiples), nearest)
    return multiples[st.select_slider("Near zero: at most", list(multiples), key=key, format_func=lambda text: f"{text} of the RMS")]


def _choose_dropped(row: RedundancyRow) -> float:
    """The fraction of channels that the rest rebuilds, among those measured."""
    fractions = {key: float(key) for key in sorted(row.r2, key=float)}
    nearest = min(fractions, key=lambda key: abs(fractions[key] - _DEFAULT_DROPPED))
    key = view.choice_key("redundancy", "dropped", list(fractions), nearest)
    chosen = st.select_slider("Rebuilt from the rest", list(fractions), key=key, format_func=lambda text: f"{float(text):.0%} dropped")
    return fractions[chosen]


def _multiple_key(multiple: float) -> str:
    return f"{multiple:.2g}"


def _show_blocks(rows: list[RedundancyRow], site: str, multiple: float, dropped: float, evidence: Evidence) -> None:
    with st.container(border=True):
        st.markdown(f"**Over the blocks** {_MEASURED}  \n{_in_words(rows, dropped)}")
        name = f"redundancy-{evidence.short_id}-{site}"
        show_figure(
            redundancy_figure(rows, multiple, dropped, site), "redundancy-blocks", name,
            "Three panels over the blocks: sparsity, linear reconstruction R², effective rank",
        )
        with st.expander("As a table"):
            show_table(pd.DataFrame([_table_row(row, dropped) for row in rows]), "redundancy-table", name)


def _in_words(rows: list[RedundancyRow], dropped: float) -> str:
    key = fraction_key(dropped)
    least, most = (choose(rows, key=lambda row: row.r2[key]["held_out"]) for choose in (min, max))
    gap = max(abs(row.r2[key]["held_out"] - row.convergence["r2"][key]["held_out"]) for row in rows)
    return (
        f"With {dropped:.0%} of the channels dropped, the rest explains them best in block {most.block} (held-out R² {_r2(most, key)}) and "
        f"worst in block {least.block} ({_r2(least, key)}). Measured on {rows[0].images:,} images, {rows[0].tokens:,} tokens; fitting the "
        f"other half of the images instead changes a block's R² by {gap:.2g} at most."
    )


def _r2(row: RedundancyRow, key: str) -> str:
    """Held-out R2 with the digits that both halves of the data agree on."""
    value, other = row.r2[key]["held_out"], row.convergence["r2"][key]["held_out"]
    return f"{value:.{_digits(value, other)}f}"


def _compared(value: float, other: float) -> str:
    return f"{value:.{_digits(value, other)}f}" if value else "0"


def _digits(value: float, other: float) -> int:
    """Decimals that a value has when half of the data says `other`."""
    return max(1, wording.decimals(Estimate(value, (value - abs(value - other), value + abs(value - other)))))


def _table_row(row: RedundancyRow, dropped: float) -> dict[str, object]:
    key, rank = fraction_key(dropped), row.effective_rank
    return {
        "Block": row.block, "Channels": row.channels, "Near zero at 0.01 RMS (%)": round(100 * row.sparsity[RELATIVE_THRESHOLD], 2),
        **{f"Near zero at {name} (%)": round(100 * row.sparsity[name], 2) for name in ABSOLUTE_THRESHOLDS},
        "Dead at 0.01 RMS (channels)": round(row.dead[RELATIVE_THRESHOLD] * row.channels),
        f"R² held out, {dropped:.0%} dropped": round(row.r2[key]["held_out"], 3),
        f"R² in sample, {dropped:.0%} dropped": round(row.r2[key]["in_sample"], 3),
        "Effective rank, singular values": round(rank["singular_values"]["absolute"], 1),
        "Effective rank, eigenvalues": round(rank["covariance_eigenvalues"]["absolute"], 1),
    }


def _choose_block(rows: list[RedundancyRow]) -> RedundancyRow:
    blocks = {str(row.block): row for row in rows}
    st.subheader("Channels of one block", anchor=False)
    key = view.choice_key("redundancy", "block", list(blocks), next(reversed(blocks)))
    return blocks[st.segmented_control("Block", list(blocks), required=True, key=key, wrap=True)]


def _show_channels(row: RedundancyRow, dropped: float, evidence: Evidence) -> None:
    name = f"{evidence.short_id}-{row.site}-block-{row.block}"
    where = f"{_SITE_LABELS[row.site]}, block {row.block}"
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown(f"**How {row.channels} channels spread** {_MEASURED}  \n{_dead_in_words(row)}")
        show_figure(channel_figure(row), "redundancy-channels", f"channels-{name}", f"Histograms of channels: {where}")
    with right.container(border=True, height="stretch"):
        st.markdown(f"**What the rest says about the dropped** {_MEASURED}  \nOnly the held-out curve tells what pruning would keep.")
        show_figure(
            reconstruction_figure(row, dropped), "redundancy-r2", f"reconstruction-{name}", f"R² over the fraction dropped: {where}"
        )
    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.markdown(f"**In how many directions they vary** {_MEASURED}")
        show_figure(spectrum_figure(row), "redundancy-spectrum", f"spectrum-{name}", f"Spectrum of the covariance: {where}")
    with right.container(border=True, height="stretch"):
        st.markdown(f"**Would half of the images say the same?** {_MEASURED}")
        st.caption(
            f"{row.images:,} images with {row.tokens:,} tokens, against {row.convergence['images']:,} images with "
            f"{row.convergence['tokens']:,} tokens. What moves little is converged."
        )
        show_table(_convergence(row, dropped), "redundancy-convergence", f"convergence-{name}")


def _dead_in_words(row: RedundancyRow) -> str:
    dead = {name: round(row.dead[name] * row.channels) for name in (RELATIVE_THRESHOLD, *ABSOLUTE_THRESHOLDS)}
    return (
        f"{dead[RELATIVE_THRESHOLD] or 'No'} dead {'channel' if dead[RELATIVE_THRESHOLD] == 1 else 'channels'} (mean activation at most "
        f"0.01 RMS); at most 0.01: {dead['1e-2']}, at most 0.001: {dead['1e-3']}."
    )


def _convergence(row: RedundancyRow, dropped: float) -> pd.DataFrame:
    key, half = fraction_key(dropped), row.convergence
    figures = {
        "Near zero at 0.01 RMS (%)": (100 * row.sparsity[RELATIVE_THRESHOLD], 100 * half["sparsity"][RELATIVE_THRESHOLD]),
        "Dead channels at 0.01 RMS (%)": (100 * row.dead[RELATIVE_THRESHOLD], 100 * half["dead"][RELATIVE_THRESHOLD]),
        f"R² held out, {dropped:.0%} dropped": (row.r2[key]["held_out"], half["r2"][key]["held_out"]),
        "Effective rank, singular values": tuple(part["effective_rank"]["singular_values"]["absolute"] for part in (vars(row), half)),
        "Effective rank, eigenvalues": tuple(part["effective_rank"]["covariance_eigenvalues"]["absolute"] for part in (vars(row), half)),
    }
    return pd.DataFrame([
        {"Figure": label, "All images": _compared(whole, part), "Half": _compared(part, whole)}
        for label, (whole, part) in figures.items()
    ])
