"""Which code this is: the release, and what tells one state of the code from another. Imports no torch.

A release says too little about a figure: between two of them the code changes many times. What measured is therefore named as

    0.2.0+g1a2b3c4d5e               a checkout, at this commit
    0.2.0+g1a2b3c4d5e.s0f9e8d7c6b   a checkout with changes that are in no commit: s and a digest of the sources
    0.2.0+s0f9e8d7c6b               installed, or a checkout without git
"""

import hashlib
import os
import subprocess
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("toast_core", "analysis_cache")  # what makes and stores figures
_DIGITS = 10
_GIT_SECONDS = 5.0


@cache
def code_version() -> str:
    """The version of the code that this process runs, as it was when first asked for."""
    return version_of(Path(__file__).resolve().parents[1])


def version_of(root: Path) -> str:
    """Return the version of the packages in a folder: of a checkout, or of site-packages."""
    project = root / "pyproject.toml"
    if not project.is_file():
        try:
            release = version("toast-studio")
        except PackageNotFoundError:
            release = "unknown"
        return f"{release}+s{sources_digest(root)}"
    # not the installed metadata, which an editable installation keeps from the day it was made
    release = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    commit, is_changed = _commit_of(root)
    if not commit:
        return f"{release}+s{sources_digest(root)}"
    return f"{release}+g{commit}" + (f".s{sources_digest(root)}" if is_changed else "")


def sources_digest(root: Path) -> str:
    """Return ten digits of the sha256 over the names and contents of the packages' Python and JSON files."""
    digest = hashlib.sha256()
    files = (path for name in PACKAGES for path in (root / name).rglob("*") if path.suffix in (".py", ".json"))
    for path in sorted(files):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:_DIGITS]


def _commit_of(root: Path) -> tuple[str, bool]:
    """The commit checked out at `root` and whether the packages differ from it; an empty commit where git cannot say."""
    if not (root / ".git").exists():  # a repository further up is somebody else's
        return "", False
    # another repository may be named by git's variables inside a hook; a lock would disturb git commands running at the same time
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | {"GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch", "--", *PACKAGES]
    try:
        told = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=_GIT_SECONDS, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "", False
    lines = told.splitlines()
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), "(initial)")
    return ("" if commit == "(initial)" else commit[:_DIGITS]), any(not line.startswith("#") for line in lines)
