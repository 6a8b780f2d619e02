"""Entries of other packages: found, named without being imported, and refused in one line where something is wrong with them."""

import sys
from pathlib import Path

import pytest

from tests.support.plugins import installed
from toast_core.errors import ExportError, ModelError, ScheduleError
from toast_core.registry import Registry

GROUP = "toast_studio.tests"
OWN = {"text": "json:dumps", "folder": "pathlib:Path.home"}


def registry(make: object = lambda found: found) -> Registry:
    """Two entries of ours, in an order that is not the alphabet's."""
    return Registry(GROUP, "thing", OWN, ScheduleError, make)


def add(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, **points: str) -> None:
    """Install a package that adds these things."""
    monkeypatch.syspath_prepend(installed(folder / package, package, {GROUP: points}))


class TestOurs:
    def test_names_come_in_our_order(self) -> None:
        assert list(registry()) == ["text", "folder"] and len(registry()) == 2

    def test_an_entry_is_what_its_text_names(self) -> None:
        import json

        assert registry()["text"] is json.dumps
        assert registry()["folder"]() == Path.home()

    def test_an_unknown_name_lists_the_choices(self) -> None:
        with pytest.raises(ScheduleError, match=r"^unknown thing 'x'; choose from text, folder$"):
            registry()["x"]

    def test_what_it_stands_for_may_be_made_of_it_once(self) -> None:
        made = []
        things = registry(lambda found: made.append(found) or "made")
        assert (things["text"], things["text"]) == ("made", "made") and len(made) == 1


class TestOthers:
    def test_they_stand_behind_ours_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path, monkeypatch, "later", zebra="json:loads", ant="json:load")
        things = registry()
        assert list(things) == ["text", "folder", "ant", "zebra"]
        assert "ant" in things and "bee" not in things and things["zebra"]("1") == 1

    def test_names_are_known_without_an_import(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path, monkeypatch, "lazy", heavy="antigravity_of_nobody:x")
        assert "heavy" in list(registry()) and "heavy" in registry()

    def test_other_groups_are_not_ours(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(installed(tmp_path, "elsewhere", {"others": {"ant": "json:load"}}))
        assert list(registry()) == list(OWN)

    def test_the_same_package_seen_twice_is_no_clash(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for folder in ("site", "again"):
            monkeypatch.syspath_prepend(installed(tmp_path / folder, "one", {GROUP: {"ant": "json:loads"}}))
        assert registry()["ant"]("1") == 1


class TestRefusals:
    def test_a_name_of_two_packages_names_both(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path, monkeypatch, "first", ant="json:load")
        add(tmp_path, monkeypatch, "second", ant="json:loads")
        with pytest.raises(ScheduleError) as caught:
            registry()["ant"]
        assert str(caught.value) == "thing 'ant' is added twice, by first (json:load) and second (json:loads); uninstall one of them"

    def test_a_name_of_ours_is_not_taken_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path, monkeypatch, "bold", text="json:load")
        things = registry()
        assert list(things) == list(OWN)
        with pytest.raises(ScheduleError, match=r"added twice, by toast-studio \(json:dumps\) and bold \(json:load\); uninstall one"):
            things["text"]

    @pytest.mark.parametrize(
        ("target", "reason"),
        [
            ("nobody_has_this:x", "ModuleNotFoundError: No module named 'nobody_has_this'"),
            ("json:nothing", "AttributeError: module 'json' has no attribute 'nothing'"),
            ("broken_plugin:x", "RuntimeError: first line"),
        ],
    )
    def test_one_that_cannot_be_loaded_names_package_and_entry_point(
        self, target: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules/broken_plugin.py").write_text("raise RuntimeError('first line\\nsecond line')")
        monkeypatch.syspath_prepend(tmp_path / "modules")
        add(tmp_path, monkeypatch, "toast-odd", ant=target)
        with pytest.raises(ScheduleError) as caught:
            registry()["ant"]
        assert str(caught.value) == (
            f"thing 'ant' cannot be loaded from toast-odd ({target}), entry point of {GROUP}: {reason}; repair or uninstall toast-odd"
        )
        assert "broken_plugin" not in sys.modules

    def test_one_that_cannot_be_loaded_does_not_break_the_others(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add(tmp_path, monkeypatch, "toast-odd", ant="nobody_has_this:x", bee="json:loads")
        entries, failures = registry().working()
        assert list(entries) == ["text", "folder", "bee"]
        assert len(failures) == 1 and failures[0].startswith("thing 'ant' cannot be loaded from toast-odd (nobody_has_this:x)")

    @pytest.mark.parametrize("error", [ExportError, ModelError])
    def test_errors_are_of_the_registrys_kind(self, error: type[Exception]) -> None:
        with pytest.raises(error, match="unknown thing 'x'"):
            Registry(GROUP, "thing", {}, error)["x"]
