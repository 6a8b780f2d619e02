"""Packages that look installed: metadata in a folder that is put on sys.path."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "plugin"


def installed(folder: Path, package: str, groups: Mapping[str, Mapping[str, str]]) -> Path:
    """Write a package's metadata with these entry points by group and name; return the folder, which is to be on sys.path."""
    metadata = folder / f"{package.replace('-', '_')}-0.1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1.0\n")
    lines = [line for group, points in groups.items() for line in (f"[{group}]", *(f"{name} = {at}" for name, at in points.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def example_installed(folder: Path) -> tuple[Path, Path]:
    """The example package as its own pyproject.toml declares it; return the two folders that are to be on sys.path."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    return EXAMPLE, installed(folder, project["name"], project["entry-points"])
