"""Drafts: the book, what closes and what descends, owners, and a killed writer."""

import asyncio
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from dashboard.components import jobs
from dashboard.engine.client import shipped_shape
from dashboard.evidence.savings import Saving
from dashboard.owner import OwnerCookie, is_owner, owner_of
from dashboard.pages.overview import savings
from dashboard.session import autosave, state
from dashboard.session.autosave import Hand
from dashboard.session.drafts import MAX_DRAFTS, DraftBook, DraftError
from dashboard.session.history import History
from tests.support.earlier import copy_files
from tests.support.engines import job
from toast_core.cost.macs import count_cost
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup

ME, YOU = "a" * 32, "b" * 32
VIT = shipped_shape("demo_vit")
SETUP = Setup().completed()
BASE = Schedule.uniform(12, selection="calibrated")


def fc2(ratio: float, block: int = 3) -> Schedule:
    """A schedule with one site pruned."""
    return BASE.with_ratio(block, "fc2", ratio)


@pytest.fixture
def book(tmp_path: Path) -> DraftBook:
    """An empty book."""
    return DraftBook(tmp_path / "drafts")


# ---------- the book


def test_a_draft_comes_back_with_its_undo_history(book):
    added = book.add(ME, "demo_vit", fc2(0.3), None, "Baseline", ((BASE, fc2(0.1)), (fc2(0.5),)))
    found = DraftBook(book.folder).drafts(ME, "demo_vit")[0]
    assert found == added and found.schedule == fc2(0.3) and found.name == "Draft 1" and found.origin == "Baseline"
    assert found.history() == ([BASE, fc2(0.1)], [fc2(0.5)])
    assert not book.drafts(ME, "demo_swin")


def test_owners_neither_see_nor_change_each_others_rows(book):
    mine = book.add(ME, "demo_vit", fc2(0.3), None, "Baseline")
    assert book.drafts(YOU, "demo_vit") == []
    assert book.grow(YOU, mine, fc2(0.9), ((), ())) is None and book.rename(YOU, mine.number, "taken") is None
    assert book.close(YOU, mine.number) is None
    book.remove(YOU, mine.number)
    book.keep_result(YOU, "subject", fc2(0.3), {"images": 1})
    assert book.drafts(ME, "demo_vit") == [mine] and book.results(ME, "subject") == {}


def test_a_change_from_an_old_revision_or_of_a_closed_draft_is_refused(book):
    read = book.add(ME, "demo_vit", fc2(0.1), None, "Baseline")
    grown = book.grow(ME, read, fc2(0.2), ((), ()))
    assert book.grow(ME, read, fc2(0.9), ((), ())) is None
    assert book.drafts(ME, "demo_vit")[0].schedule == fc2(0.2)
    book.close(ME, grown.number)
    assert book.grow(ME, grown, fc2(0.9), ((), ())) is None


def test_names_are_counted_on_and_bad_ones_refused(book):
    one = book.add(ME, "demo_vit", fc2(0.1), None, "Baseline")
    assert book.rename(ME, one.number, "  late fc2 ").name == "late fc2"
    assert [book.add(ME, "demo_vit", fc2(0.1 * step), None, "x").name for step in (2, 3)] == ["Draft 2", "Draft 3"]
    for bad in ("", "   ", "x" * 61, "two\nlines"):
        with pytest.raises(DraftError, match="write 1 to 60 printable characters"):
            book.rename(ME, one.number, bad)


def test_the_draft_left_alone_longest_is_forgotten(book):
    first = book.add(ME, "demo_vit", fc2(0.1), None, "Baseline")
    for _ in range(MAX_DRAFTS - 1):
        book.add(ME, "demo_vit", fc2(0.2), None, "Baseline")
    assert len(book.drafts(ME, "demo_vit")) == MAX_DRAFTS
    book.take(ME, first.number)
    book.add(ME, "demo_vit", fc2(0.3), None, "Baseline")
    numbers = [draft.number for draft in book.drafts(ME, "demo_vit")]
    assert len(numbers) == MAX_DRAFTS and first.number in numbers and first.number + 1 not in numbers


def test_results_are_by_subject_and_the_newest_counts(book):
    book.keep_result(ME, "these weights", fc2(0.1), {"images": 100})
    book.keep_result(ME, "these weights", fc2(0.1), {"images": 200})
    found = book.results(ME, "these weights")
    assert found[fc2(0.1).digest()].figures == {"images": 200} and found[fc2(0.1).digest()].schedule == fc2(0.1)
    assert book.results(ME, "other weights") == {}


def test_rows_of_a_newer_program_are_left_out_and_a_damaged_file_is_one_line(book):
    book.add(ME, "demo_vit", fc2(0.1), None, "Baseline")
    with sqlite3.connect(book.folder / "drafts.sqlite") as connection:
        connection.execute("UPDATE drafts SET schedule = replace(schedule, '\"version\": 1', '\"version\": 9')")
    assert book.drafts(ME, "demo_vit") == []
    for name in ("drafts.sqlite", "drafts.sqlite-wal", "drafts.sqlite-shm"):
        (book.folder / name).unlink(missing_ok=True)
    (book.folder / "drafts.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(DraftError, match=r"move drafts\.sqlite away to begin anew") as caught:
        book.drafts(ME, "demo_vit")
    assert "\n" not in str(caught.value)


def test_a_removed_draft_comes_back_and_stars_and_notes_stay(book):
    one, other = (book.add(ME, "demo_vit", fc2(step / 10), None, "Baseline") for step in (1, 2))
    assert book.mark(ME, one.number, True, "  best so far ").note == "best so far"
    book.remove(ME, one.number)
    assert [draft.number for draft in book.drafts(ME, "demo_vit")] == [other.number]
    assert book.remove(YOU, other.number) is None
    back = book.restore(ME, one.number)
    assert back in book.drafts(ME, "demo_vit") and (back.starred, back.note, back.schedule) == (True, "best so far", fc2(0.1))
    for bad in ("x" * 301, "two\nlines"):
        with pytest.raises(DraftError, match="write up to 300 printable characters"):
            book.mark(ME, one.number, True, bad)


def test_of_too_many_a_removed_one_is_forgotten_first_and_a_starred_one_last(book):
    starred, removed, plain, *_ = (book.add(ME, "demo_vit", fc2(0.1), None, "Baseline") for _ in range(MAX_DRAFTS))
    book.mark(ME, starred.number, True, "")
    book.remove(ME, removed.number)
    book.add(ME, "demo_vit", fc2(0.3), None, "Baseline")
    assert book.restore(ME, removed.number) is None
    book.add(ME, "demo_vit", fc2(0.4), None, "Baseline")
    left = {draft.number for draft in book.drafts(ME, "demo_vit")}
    assert starred.number in left and plain.number not in left


def test_a_book_of_an_earlier_program_gets_what_it_lacks(tmp_path):
    folder = copy_files(tmp_path / "earlier") / "drafts"
    with sqlite3.connect(folder / "drafts.sqlite") as connection:
        (who, model), *_ = connection.execute("SELECT owner, model FROM drafts").fetchall()
        assert "note" not in {row[1] for row in connection.execute("PRAGMA table_info(drafts)")}
    (first, *_) = DraftBook(folder).drafts(who, model)
    assert (first.starred, first.note) == (False, "")
    assert DraftBook(folder).mark(who, first.number, True, "still here").note == "still here"


_WRITER = """
import sys
from pathlib import Path
from dashboard.session.drafts import DraftBook
from toast_core.schedule.schedule import Schedule
book, base = DraftBook(Path(sys.argv[1])), Schedule.uniform(12)
draft = book.add(sys.argv[2], "demo_vit", base, None, "Baseline")
for step in range(1, 100_000):
    draft = book.grow(sys.argv[2], draft, base.with_ratio(0, "fc2", step % 900 / 1000), ((base,) * 20, ()))
    print(step, flush=True)
"""


def test_what_was_written_survives_kill_9_and_two_writers_at_once(book):
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(book.folder), who], stdout=subprocess.PIPE, text=True) for who in (ME, YOU)
    ]
    said = [[int(writer.stdout.readline()) for _ in range(20)][-1] for writer in writers]
    for writer in writers:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    for who, step, writer in zip((ME, YOU), said, writers, strict=True):
        rest = [int(line) for line in writer.stdout.read().split("\n")[:-1] if line]
        (draft,) = DraftBook(book.folder).drafts(who, "demo_vit")
        assert draft.revision >= max([step, *rest]) and draft.history()[0][0] == Schedule.uniform(12)


# ---------- a session


@pytest.fixture
def session(book: DraftBook, monkeypatch: pytest.MonkeyPatch) -> dict:
    """The state of a browser session of ME on that book; `edit` below is a run of it."""
    state: dict = {}
    monkeypatch.setattr(autosave, "owner", lambda: ME)
    monkeypatch.setattr(autosave, "book", lambda: book)
    monkeypatch.setattr("streamlit.session_state", state)
    autosave.resume(SETUP, VIT, BASE, linked=False)
    return state


def edit(*schedules: Schedule) -> None:
    """Runs that end with these schedules in hand."""
    for schedule in schedules:
        autosave.autosave(SETUP, VIT, History(schedule, (), ()))


def own(book: DraftBook) -> dict[str, Schedule]:
    """Schedules by name."""
    return {draft.name: draft.schedule for draft in book.drafts(ME, "demo_vit")}


def test_edits_in_one_go_are_one_draft_and_nothing_unedited_is_kept(session, book):
    edit(BASE)
    assert own(book) == {} and session["hand"] == Hand(None, "Baseline", BASE)
    edit(fc2(0.1), fc2(0.2), fc2(0.2), fc2(0.3))
    assert own(book) == {"Draft 1": fc2(0.3)} and book.drafts(ME, "demo_vit")[0].revision == 2


def test_an_edit_after_save_begins_a_descendant(session, book):
    edit(fc2(0.1))
    autosave.save("late")
    edit(fc2(0.2), fc2(0.3))
    child, parent = book.drafts(ME, "demo_vit")
    assert (parent.name, parent.schedule, parent.closed) == ("late", fc2(0.1), True)
    assert (child.parent, child.origin, child.schedule) == (parent.number, "late", fc2(0.3))


def test_what_is_fitted_or_imported_is_a_draft_of_its_own_and_overwrites_nothing(session, book):
    edit(fc2(0.1))
    autosave.begin("Fit, 40 % fewer MACs")
    edit(fc2(0.5), fc2(0.6))
    assert own(book) == {"Draft 1": fc2(0.1), "Fit, 40 % fewer MACs": fc2(0.5), "Draft 3": fc2(0.6)}
    assert session["hand"].draft.origin == "Fit, 40 % fewer MACs"
    autosave.begin("Fit, 40 % fewer MACs")
    edit(fc2(0.7))
    assert own(book)["Fit, 40 % fewer MACs (2)"] == fc2(0.7)
    autosave.begin("x" * 80 + "\n")
    edit(fc2(0.8))
    assert own(book)["x" * 54] == fc2(0.8)


def test_a_name_that_nothing_took_does_not_wait_for_the_next_edit(session, book):
    edit(fc2(0.1))
    autosave.begin("Import")
    edit(fc2(0.1), fc2(0.2))
    assert own(book) == {"Draft 1": fc2(0.1), "Draft 2": fc2(0.2)}


def test_what_a_run_is_about_stays_as_it_is(session, book):
    edit(fc2(0.1))
    autosave.freeze()
    edit(fc2(0.2))
    assert own(book) == {"Draft 1": fc2(0.1), "Draft 2": fc2(0.2)}
    autosave.freeze()
    assert session["hand"].draft.closed


@pytest.mark.parametrize("opened", ["a run's", "a tuned"])
def test_a_schedule_that_is_opened_elsewhere_overwrites_no_draft(session, book, monkeypatch, opened):
    edit(fc2(0.1))
    seen = []
    for module in (jobs, savings):
        monkeypatch.setattr(module.st, "switch_page", lambda *_, **__: None)
    monkeypatch.setattr(state, "schedule", lambda: fc2(0.1))
    for name in ("edit", "edit_within_limits"):
        monkeypatch.setattr(state, name, lambda schedule: seen.append((schedule, session["hand"].draft.closed)))
    if opened == "a run's":
        jobs._open_analysis(job(1, "done", {"kind": "apply", "schedule": fc2(0.5).to_dict()}, analysis="0" * 16))
    else:
        savings._open(Saving(40, fc2(0.5), count_cost(VIT, fc2(0.5))))
    assert seen == [(fc2(0.5), True)], "the draft in hand was left before"


def test_a_deleted_draft_comes_back_and_marks_are_seen_in_hand(session, book):
    edit(fc2(0.1))
    number = session["hand"].draft.number
    autosave.mark(number, "mine", True, "a note")
    assert session["hand"].draft.name == "mine" and session["hand"].draft.starred
    autosave.remove(number)
    assert own(book) == {}
    autosave.restore(number)
    assert own(book) == {"mine": fc2(0.1)}


def test_a_starting_point_closes_the_draft_and_names_the_next_ones_origin(session, book):
    edit(fc2(0.1), Schedule.uniform(12, 0.5, 0.5, 0.5, 0.5, selection="calibrated"))
    assert session["hand"].draft is None and session["hand"].origin == "Uniform 50 %" and book.drafts(ME, "demo_vit")[0].closed
    edit(Schedule.uniform(12, 0.5, 0.5, 0.5, 0.6, selection="calibrated"))
    assert [(draft.name, draft.origin, draft.parent) for draft in book.drafts(ME, "demo_vit")] == [
        ("Draft 2", "Uniform 50 %", None), ("Draft 1", "Baseline", None)
    ]


def test_coming_back_to_a_drafts_schedule_takes_it_in_hand_and_never_overwrites_it(session, book):
    edit(fc2(0.1))
    autosave.save("kept")
    edit(fc2(0.2), fc2(0.1))
    assert session["hand"].draft.name == "kept"
    edit(fc2(0.4))
    assert own(book) == {"kept": fc2(0.1), "Draft 2": fc2(0.2), "Draft 3": fc2(0.4)}
    assert session["hand"].draft.origin == "kept"


def test_taking_a_draft_closes_both(session, book):
    edit(fc2(0.1), BASE, fc2(0.7))
    first = book.drafts(ME, "demo_vit")[1]
    autosave.take(first)
    edit(first.schedule, fc2(0.9))
    assert own(book) == {"Draft 1": fc2(0.1), "Draft 2": fc2(0.7), "Draft 3": fc2(0.9)} and session["hand"].draft.parent == first.number


def test_a_new_session_goes_on_with_the_draft_in_hand(session, book):
    autosave.autosave(SETUP, VIT, History(fc2(0.3), (BASE, fc2(0.1)), (fc2(0.5),)))
    session.clear()
    assert autosave.resume(SETUP, VIT, BASE, linked=False) == (fc2(0.3), [BASE, fc2(0.1)], [fc2(0.5)])
    edit(fc2(0.4))
    assert own(book) == {"Draft 1": fc2(0.4)}


def test_a_link_to_an_own_drafts_schedule_is_that_draft_and_another_one_begins_a_draft(session, book):
    edit(fc2(0.3))
    session.clear()
    assert autosave.resume(SETUP, VIT, fc2(0.3), linked=True)[0] == fc2(0.3) and session["hand"].draft.name == "Draft 1"
    session.clear()
    assert autosave.resume(SETUP, VIT, fc2(0.8), linked=True) == (fc2(0.8), (), ())
    edit(fc2(0.9))
    assert own(book) == {"Draft 1": fc2(0.3), "Draft 2": fc2(0.9)} and session["hand"].draft.origin == "a link"


def test_two_tabs_on_one_draft_lose_nothing(session, book):
    edit(fc2(0.1))
    other_tab = session["hand"]
    edit(fc2(0.2))
    session["hand"] = other_tab
    edit(fc2(0.9))
    assert own(book) == {"Draft 1": fc2(0.2), "Draft 2": fc2(0.9)} and session["hand"].draft.origin == "Draft 1"


def test_removing_the_draft_in_hand_leaves_its_schedule(session, book):
    edit(fc2(0.1))
    autosave.remove(session["hand"].draft.number)
    edit(fc2(0.1))
    assert own(book) == {}
    edit(fc2(0.2))
    assert own(book) == {"Draft 2": fc2(0.2)} and session["hand"].draft.parent is None


def test_a_book_that_cannot_be_written_leaves_a_notice_and_the_session_goes_on(session, monkeypatch):
    def refuse() -> DraftBook:
        raise DraftError("the drafts cannot be used; move drafts.sqlite away to begin anew")

    monkeypatch.setattr(autosave, "book", refuse)
    edit(fc2(0.1))
    assert session["notice"].startswith("the drafts cannot be used") and session["hand"].draft is None


def test_without_an_owner_nothing_is_kept(session, book, monkeypatch):
    monkeypatch.setattr(autosave, "owner", lambda: None)
    edit(fc2(0.1))
    assert own(book) == {} and autosave.drafts(VIT) == []


# ---------- the cookie


def answer(headers: list[tuple[bytes, bytes]], kind: str = "http") -> list[bytes]:
    """The cookies that an answer to a request with these headers sets."""
    sent = []

    async def pages(scope: dict, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]})

    async def send(event: dict) -> None:
        sent.append(event)

    asyncio.run(OwnerCookie(pages)({"type": kind, "headers": headers}, None, send))
    return [value for name, value in sent[0]["headers"] if name == b"set-cookie"]


def test_a_page_request_gets_a_random_id_that_scripts_cannot_read():
    page = [(b"accept", b"text/html,*/*")]
    first, second = answer(page)[0].decode(), answer(page)[0].decode()
    assert first != second and "; HttpOnly; SameSite=Lax" in first and "Max-Age=31536000" in first
    assert is_owner(first.removeprefix("toast_owner=").partition(";")[0])


def test_a_known_browser_keeps_its_id_and_other_requests_set_none():
    cookie = (b"cookie", f"other=1; toast_owner={ME}".encode())
    assert answer([(b"accept", b"text/html"), cookie])[0].decode().startswith(f"toast_owner={ME};")
    assert answer([(b"accept", b"*/*"), cookie]) == [] and answer([(b"accept", b"text/html")], "websocket") == []


@pytest.mark.parametrize("cookie", [b"", b"toast_owner=", b"toast_owner=../../etc", b"toast_owner=" + b"A" * 32, b"\xff=;;;"])
def test_what_is_no_id_is_replaced(cookie):
    assert owner_of({b"cookie": cookie}) is None


def test_drafts_of_an_earlier_version_are_read(tmp_path):
    book = DraftBook(copy_files(tmp_path / "earlier") / "drafts")
    second, first = book.drafts("an owner", "demo_tiny")
    assert (first.name, first.origin, first.parent) == ("Draft 1", "Uniform 50 %", None)
    assert (second.name, second.origin, second.parent) == ("Draft 2", "Draft 1", first.number)
    assert first.schedule == Schedule.uniform(2, qk=0.5, fc2=0.25, selection="calibrated")
    assert second.schedule == Schedule.uniform(2, vo=0.5)
    assert first.history() == ([Schedule.uniform(2)], []) and second.history() == ([], [])
    (measured,) = book.results("an owner", "a subject").values()
    assert measured.schedule == first.schedule and measured.figures["top1"]["value"] == 81.25
    assert book.grow("an owner", second, first.schedule, ((second.schedule,), ())).schedule == first.schedule
