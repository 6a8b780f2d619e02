"""The desk in this process, on a tiny model: every switch of a page on a schedule that prunes nothing, turns, and what is refused."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from streamlit.testing.v1 import AppTest

from dashboard.session import state
from tests.support.families import tiny_vit
from tests.support.folders import make_folder
from toast_core.engine.desk import Desk
from toast_core.engine.protocol import Description, Measurement, Predicted, Progress, Superseded
from toast_core.errors import DataError, ScheduleError
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.compensation import ATTENTION, CALIBRATIONS, FFN, FULL, Compensation
from toast_core.schedule.schedule import SELECTIONS, Schedule
from toast_core.setup import Setup

BARE = Schedule.uniform(3, selection="calibrated")
PRUNED = Schedule.uniform(3, 0.5, 0.5, 0.3, 0.6, selection="calibrated")
SWITCHES = [
    *(Schedule.uniform(3, selection=selection, multiple_of=multiple) for selection in SELECTIONS for multiple in (1, 4, 8, 16)),
    *(replace(BARE, compensation=Compensation(*words)) for words in zip(FFN, (*ATTENTION, "project"), CALIBRATIONS, strict=True)),
    replace(BARE, compensation=FULL), replace(BARE, compensation=FULL, multiple_of=8),
]


def _in_words(schedule: Schedule) -> str:
    return "-".join(map(str, (schedule.selection, schedule.multiple_of, *vars(schedule.compensation).values())))


def tiny(num_classes: int, img_size: int = 28) -> torch.nn.Module:
    """A tiny model in place of a demo's, by name."""
    return tiny_vit(in_chans=1, img_size=img_size, patch_size=7, num_classes=num_classes)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """The tiny model with random weights, eleven images and twelve to calibrate on."""
    root = tmp_path_factory.mktemp("desk")
    data, calibration = make_folder(root / "val", {"bag": 6, "coat": 5}), make_folder(root / "fit", {"any": 12})
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEMO_BUILDERS, "demo_tiny", tiny)
        yield Setup(
            "demo_tiny", "random", 2, data=str(data), calibration=str(calibration), images=11, batch_size=4, device="cpu",
            store=str(root / "evidence.sqlite"),
        )


@pytest.fixture(scope="module")
def desk(setup: Setup) -> Desk:
    """A desk that has loaded it."""
    desk = Desk(setup)
    desk.load()
    assert desk.describe().is_ready, desk.describe().error
    return desk


def measured(desk: Desk, session: str, schedule: Schedule, images: int | None = None) -> Measurement:
    """The last figures of a measurement, which nothing but a prediction and progress may precede; less what was predicted."""
    messages = list(desk.measure(session, schedule, images))
    assert all(isinstance(message, Measurement | Predicted | Progress) for message in messages)
    return replace(messages[-1], predicted=None)


def figures(desk: Desk, session: str, schedule: Schedule) -> Iterator[Measurement | Progress | Superseded]:
    """What comes after the prediction, as it comes, less what was predicted."""
    for message in desk.measure(session, schedule, None):
        if not isinstance(message, Predicted):
            yield replace(message, predicted=None) if isinstance(message, Measurement) else message


class TestBaseline:
    """Where nothing is dropped, a switch changes nothing, and asks for nothing that is not there."""

    @pytest.mark.parametrize("schedule", SWITCHES, ids=_in_words)
    def test_a_switch_changes_no_figure(self, desk: Desk, schedule: Schedule) -> None:
        found = measured(desk, "switches", schedule)
        assert found.is_done and found.images_done == 11
        assert found.scheduled == found.baseline and found.change.value == 0
        assert found.change.ci95[0] == -found.change.ci95[1] < 0

    @pytest.mark.parametrize("switch", [{"compensation": FULL}, {"multiple_of": 4}], ids=str)
    def test_it_is_the_baseline_again_after_an_edit_and_back(self, desk: Desk, switch: dict) -> None:
        schedule, bare = replace(PRUNED, **switch), replace(BARE, **switch)
        before, edited, after = (measured(desk, "back", one) for one in (bare, schedule, bare))
        assert before == after and after.scheduled == after.baseline != edited.scheduled

    def test_the_switch_on_the_tune_page(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = DeskEngine(desk)
        monkeypatch.setattr(state, "engine_client", lambda: engine)
        at = AppTest.from_function(_tune, default_timeout=180).run()
        assert at.session_state["history"].present.compensation == FULL and engine.measured[-1].compensation == FULL
        at.toggle(key="compensated").set_value(False).run()
        assert not at.exception and not at.error
        assert at.session_state["history"].present.compensation.is_none and engine.measured[-1].compensation.is_none
        assert any(", 0.0 points against the baseline's" in caption.value for caption in at.caption)
        assert any("this is the baseline" in caption.value for caption in at.caption)


class DeskEngine:
    """A desk of this process in place of the engine's client."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.setup, self.measured = desk, desk.setup, []

    def describe(self) -> Description:
        """The desk's."""
        return self.desk.describe()

    def measure(self, session: str, schedule: Schedule, images: int | None = None) -> Iterator[Progress | Measurement | Superseded | None]:
        """The desk's, after the word that it is asked."""
        self.measured.append(schedule)
        yield None
        yield from self.desk.measure(session, schedule, images)


def _tune() -> None:
    from dashboard.pages.tune import page as tune
    from dashboard.session import state

    state.open_session(state.model_shape())
    tune.render()


class TestTurns:
    """Sessions, and requests of one session."""

    def test_figures_come_batch_by_batch_on_whole_batches(self, desk: Desk) -> None:
        counts = [message.images_done for message in figures(desk, "batches", PRUNED)]
        assert counts == [4, 8, 11] and measured(desk, "batches", PRUNED, 5).images_total == 8

    def test_a_newer_request_ends_the_older_one(self, desk: Desk) -> None:
        older = figures(desk, "eager", PRUNED)
        assert next(older).images_done == 4
        newer = measured(desk, "eager", BARE)
        assert list(older) == [Superseded()] and newer == measured(desk, "alone", BARE)

    def test_the_same_request_joins_in_and_both_are_told_all(self, desk: Desk) -> None:
        older = figures(desk, "joined", PRUNED)
        assert next(older).images_done == 4
        newer = figures(desk, "joined", replace(PRUNED))
        both = list(zip(older, newer, strict=False))
        assert [(one.images_done, other.images_done) for one, other in both] == [(8, 4), (11, 8)]
        assert next(newer) == both[-1][0] == measured(desk, "alone", PRUNED)

    def test_a_request_of_more_images_does_not_join(self, desk: Desk) -> None:
        older = figures(desk, "more", PRUNED)
        next(older)
        assert measured(desk, "more", PRUNED, 4).images_total == 4 and list(older) == [Superseded()]

    def test_a_newer_request_ends_a_compensation_between_its_blocks(self, desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
        told = desk._report

        def overtaken(what: str, done: int, total: int) -> None:
            desk._enter("overtaken", (PRUNED, None))
            told(what, done, total)

        monkeypatch.setattr(desk._model.workbench, "report", overtaken)
        assert list(figures(desk, "overtaken", replace(PRUNED, seed=3, compensation=FULL))) == [Superseded()]
        monkeypatch.undo()
        assert measured(desk, "overtaken", replace(PRUNED, seed=3, compensation=FULL)).is_done

    def test_two_sessions_in_turns_get_what_each_gets_alone(self, desk: Desk) -> None:
        alone = measured(desk, "one", PRUNED), measured(desk, "two", replace(PRUNED, compensation=FULL))
        streams = figures(desk, "three", PRUNED), figures(desk, "four", replace(PRUNED, compensation=FULL))
        *_, ends = zip(*streams, strict=True)
        assert ends == alone


class TestRefusals:
    """What cannot be measured is said, and the desk lives on."""

    def test_another_length(self, desk: Desk) -> None:
        with pytest.raises(ScheduleError, match="the schedule has 2 blocks but demo_tiny has 3"):
            next(desk.measure("wrong", Schedule.uniform(2), None))
        assert measured(desk, "wrong", PRUNED).is_done

    def test_a_model_that_does_not_load(self, setup: Setup, capsys: pytest.CaptureFixture) -> None:
        desk = Desk(replace(setup, weights="missing.safetensors"))
        assert desk.describe() == Description("starting", progress="Starting the engine")
        desk.load()
        found = desk.describe()
        assert found.state == "failed" and "missing.safetensors does not exist" in found.error and found.error in capsys.readouterr().err
        with pytest.raises(DataError, match=r"the engine did not load: .*missing\.safetensors does not exist"):
            next(desk.measure("a", BARE, None))
        with pytest.raises(DataError, match="the engine has no images loaded; wait until it is ready"):
            desk.pictures((0,))

    def test_a_desk_without_images_describes_the_model_and_measures_nothing(self, setup: Setup) -> None:
        desk = Desk(replace(setup, data=None, calibration=None))
        desk.load()
        found = desk.describe()
        assert found.is_ready and found.data is None and found.calibration is None and found.model.name == "demo_tiny"
        with pytest.raises(DataError, match="no images to measure demo_tiny on; start the dashboard with --data DATA"):
            next(desk.measure("a", BARE, None))

    def test_calibrated_selection_without_calibration_images(self, setup: Setup) -> None:
        desk = Desk(replace(setup, calibration=None))
        desk.load()
        with pytest.raises(DataError, match="selection 'calibrated' needs calibration images"):
            list(desk.measure("a", PRUNED, None))
        assert measured(desk, "a", replace(BARE, compensation=FULL)).is_done, "a baseline needs none"
