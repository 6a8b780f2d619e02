"""What names the code: the release, the commit, and the sources where no commit holds them."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from toast_core.version import code_version, sources_digest, version_of

ROOT = Path(__file__).parents[1]
SOURCE = "toast_core/pruning/planner.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A small checkout without git."""
    for name in (SOURCE, "analysis_cache/cell.py", "dashboard/app.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_text("VALUE = 1\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "toast-studio"\nversion = "3.2.1"\n')
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    """Run git there as somebody."""
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def committed(checkout: Path) -> Path:
    """The same with one commit."""
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "All")
    return checkout


def test_without_git_the_sources_tell(checkout: Path) -> None:
    assert version_of(checkout) == f"3.2.1+s{sources_digest(checkout)}"


@pytest.mark.parametrize("name", [SOURCE, "analysis_cache/cell.py", "toast_core/new.py", "toast_core/schedule.json"])
def test_it_changes_when_a_source_file_changes(checkout: Path, name: str) -> None:
    before = version_of(checkout)
    (checkout / name).write_text("VALUE = 2\n")
    assert version_of(checkout) != before


def test_it_changes_when_a_source_file_is_renamed(checkout: Path) -> None:
    before = version_of(checkout)
    (checkout / SOURCE).rename(checkout / "toast_core/pruning/planned.py")
    assert version_of(checkout) != before


@pytest.mark.parametrize("name", ["dashboard/app.py", "toast_core/x.pyc", "README.md"])
def test_it_does_not_change_with_what_makes_no_figure(checkout: Path, name: str) -> None:
    before = version_of(checkout)
    (checkout / name).write_text("VALUE = 2\n")
    assert version_of(checkout) == before


def test_a_clean_checkout_is_its_commit(committed: Path) -> None:
    assert version_of(committed) == f"3.2.1+g{git(committed, 'rev-parse', 'HEAD')[:10]}"
    (committed / "dashboard/app.py").write_text("VALUE = 2\n")
    assert ".s" not in version_of(committed)


def test_two_changes_that_are_in_no_commit_differ(committed: Path) -> None:
    seen = {version_of(committed)}
    for value in (2, 3):
        (committed / SOURCE).write_text(f"VALUE = {value}\n")
        seen.add(version_of(committed))
    (committed / SOURCE).write_text("VALUE = 1\n")
    (committed / "toast_core/new.py").write_text("")
    seen.add(version_of(committed))
    head = git(committed, "rev-parse", "HEAD")[:10]
    assert len(seen) == 4 and all(one.startswith(f"3.2.1+g{head}") for one in seen)


def test_a_repository_further_up_or_named_by_a_hook_is_not_this_one(
    committed: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = committed / "venv"
    for name in ("toast_core", "analysis_cache"):
        (inner / name).mkdir(parents=True)
    (inner / "pyproject.toml").write_text('[project]\nname = "toast-studio"\nversion = "1.0"\n')
    assert version_of(inner) == f"1.0+s{sources_digest(inner)}"
    monkeypatch.setenv("GIT_DIR", str(tmp_path_factory.mktemp("other")))
    assert version_of(committed).startswith("3.2.1+g")


@pytest.mark.parametrize("missing", ["git", "commit"])
def test_where_git_cannot_say_the_sources_do(checkout: Path, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    git(checkout, "init", "-q")
    if missing == "git":
        monkeypatch.setenv("PATH", "")
    assert version_of(checkout) == f"3.2.1+s{sources_digest(checkout)}"


def test_installed_without_a_project_file_the_metadata_gives_the_release(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "pyproject.toml").unlink()
    monkeypatch.setattr("toast_core.version.version", lambda name: {"toast-studio": "0.9"}[name])
    assert version_of(checkout) == f"0.9+s{sources_digest(checkout)}"


def test_this_program_names_itself_without_torch() -> None:
    code = "import sys; from toast_core.version import code_version; print(code_version()); sys.exit('torch' in sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert told.returncode == 0 and told.stdout.startswith(f"{release}+")


def test_a_process_keeps_the_name_that_it_began_with() -> None:
    assert code_version() is code_version()
