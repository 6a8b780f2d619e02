"""Recovery on the Runs page: what to fine-tune with, how each epoch went, and the model that it left. Imports no torch."""

import pandas as pd
import streamlit as st

from analysis_cache.errors import StoreError
from dashboard import wording
from dashboard.charts.recovery import chosen_epoch, recovery_figure
from dashboard.components.figure import show_figure, show_table
from dashboard.components.model_file import show_download, written_file
from dashboard.evidence.find import own_rows
from dashboard.navigation import page
from dashboard.pages.runs.form import Form
from dashboard.session import state
from toast_core.engine.protocol import Description, Job
from toast_core.studies.recovery.recipe import Recipe

_RECIPE = Recipe()
_SHORT = 8
_TEST_IMAGES = 1000
_TEACHERS = {"labels": "Labels", "distill": "Baseline's answers", "distill_blocks": "Baseline's block outputs"}
_TEACHER_HELP = (
    "Labels: the images' own classes; leave them out where a folder's classes are not the model's.  \nBaseline's answers: its logits, "
    "which need no labels.  \nBaseline's block outputs: what every block passes on, too."
)
_COLUMNS = {
    "epoch": "Epoch", "images": "Images seen", "training_loss": "Training loss", "validation_loss": "Validation loss",
    "validation_top1": "Validation top-1 (%)", "validation_agreement": "Agrees with the baseline (%)",
}


def choose_recovery(engine: Description, run: dict) -> dict | None:
    """The recovery of the schedule in hand that the fields describe; None while something is missing, which is said."""
    schedule, place = state.schedule(), state.engine_client().setup.train or (engine.calibration and engine.calibration.name)
    if place is None:
        st.info("Recovery needs training images, which are never the test images: start the dashboard with --train FOLDER.")
        return None
    if schedule.is_baseline:
        st.info("The schedule in hand prunes nothing, so there is nothing to recover. Choose ratios on the Tune page, then come back.")
        st.page_link(page("tune"), label="Tune")
        return None
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        images = st.number_input(
            "Training images", 1, None, None, placeholder="all", key="recovery-images", width=200,
            help="A class-balanced subset; a tenth of it is held out, and the epoch that does best there is kept.",
        )
        epochs = st.number_input("Epochs", 1, None, _RECIPE.epochs, key="recovery-epochs", width=140)
        batch_size = st.number_input("Images a step", 1, None, _RECIPE.batch_size, key="recovery-batch", width=160)
        lr = st.number_input(
            "Peak learning rate", 1e-7, 1.0, _RECIPE.lr, 1e-4, "%.1e", key="recovery-lr", width=200,
            help="Reached after half an epoch, then along a cosine to a hundredth.",
        )
        most = engine.data.images
        tests = st.number_input(
            f"Measured on, of {most:,} images", 1, most, min(most, _TEST_IMAGES), key="recovery-tests", width=220,
            help="Images of the dashboard, which recovery never learns from: in the end the model that is written is evaluated on them.",
        )
    taught = st.pills(
        "Learns", list(_TEACHERS), selection_mode="multi", default=[name for name in _TEACHERS if getattr(_RECIPE, name)],
        format_func=_TEACHERS.__getitem__, key="recovery-taught", help=_TEACHER_HELP,
    )
    start = "selection" if schedule.compensation.is_none else "compensation"
    st.caption(
        f"Fine-tunes what schedule `{schedule.digest()[:_SHORT]}` leaves, from {start} as chosen on the Tune page, on "
        f"{wording.plain(place)}. Everything else is as `toast recover` does it."
    )
    if not taught:
        st.info("Choose at least one thing to learn from to see what the run costs.")
        return None
    recipe = {"epochs": epochs, "batch_size": batch_size, "lr": lr} | {name: name in taught for name in _TEACHERS}
    run |= {"schedule": schedule.to_dict(), "images": images, "recipe": recipe}
    return run | {"test_images": None if tests == most else tests}


def show_recovery(job: Job) -> None:
    """Behind a switch: the epochs of a run, as far as it is, and the model once it is done."""
    number = job.number
    if not st.toggle("Epochs", value=job.state == "running", key=f"job-epochs-{number}"):
        return
    try:
        rows = own_rows(state.engine_client().setup, job.analysis)
        if rows is None:
            st.caption("The figures of this run are not in this dashboard's store.")
            return
        history = sorted((row for row in rows if row["part"] == "epoch"), key=lambda row: row["epoch"])
        if not history:
            st.caption("No epoch has ended yet.")
            return
        figure, best = recovery_figure(history), chosen_epoch(history)
        table = pd.DataFrame([{label: row[field] for field, label in _COLUMNS.items()} for row in history])
    except (StoreError, KeyError, TypeError, ValueError) as error:
        st.error(f"The stored epochs of this run cannot be read ({error}); run it again.")
        return
    name = f"{job.model}-{job.analysis}"
    alt = f"Losses and validation accuracy of {len(history) - 1} epochs; the lowest validation loss is epoch {best}'s"
    show_figure(figure, f"job-recovery-{number}", f"{name}-epochs", alt)
    with st.expander("As a table"):
        show_table(table, f"job-recovery-table-{number}", f"{name}-epochs")
    parts = {row["part"]: row for row in rows}
    if "test" in parts:
        _show_test(parts["test"])
    if "report" in parts:
        _show_model(parts["report"], name, number)


def _show_test(row: dict) -> None:
    """What the file does on the dashboard's images; the rows can come out of a store that someone else filled."""
    try:
        before, after, delta = (wording.read_estimate(row[name]) for name in ("baseline_top1", "top1", "delta_top1"))
        text = (
            f"{wording.BADGES['measured']} On {row['images']:,} images that it did not learn from: top-1 **{wording.accuracy(after)}** "
            f"(95 %: {wording.accuracy_interval(after)}), baseline {wording.accuracy(before)}; {wording.points(delta)} (95 %: "
            f"{wording.points_interval(delta)}; {wording.verdict(delta)})"
        )
    except (KeyError, TypeError, ValueError) as error:
        st.error(f"The stored evaluation of this run cannot be read ({error}); run it again.")
        return
    st.markdown(text)


def _show_model(report: dict, name: str, number: int) -> None:
    path = written_file(report["key"])
    if not path.is_file():
        st.warning("The model of this run is not on this machine any more. Start the same run again to write it.")
        return
    show_download(path, f"{name}-recovered.safetensors", f"job-model-{number}")


FORM = Form(
    "recovery", "Recovery", "fine-tune what that schedule leaves of the model, and write it into a file.", 4, choose_recovery,
    images="training images", unit="epoch", needs_schedule=True, details=show_recovery,
)
