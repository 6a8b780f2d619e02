"""The table of pages: ours, and those that other installed packages add."""

import subprocess
import sys
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.navigation import RENDERERS, NavigationError, Page, import_pages, metrics, pages
from dashboard.server.launch import launch
from dashboard.server.sharing import Sharing
from toast_core.setup import Setup

_RENDER = "import streamlit as st\n\ndef render():\n    st.title('Attention maps')\n    st.write('of another package')\n"


def install(folder: Path, package: str, **added: str) -> None:
    """Leave in a folder what an installed package leaves of its entry points."""
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = "".join(f"{name} = {module}\n" for name, module in added.items())
    (about / "entry_points.txt").write_text(f"[{RENDERERS.group}]\n{lines}")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python finds packages in."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def _navigation() -> None:
    import streamlit as st

    from dashboard.navigation import page

    st.navigation([page("attention_maps")]).run()


def test_ours_come_first_and_some_show_the_analyses_of_a_metric() -> None:
    assert list(pages()) == ["overview", "redundancy", "sensitivity", "tune", "compare", "deliver", "runs"]
    assert metrics() == {"redundancy": "Redundancy", "sensitivity": "Sensitivity"}


def test_another_package_adds_a_page_by_its_entry_point_and_nothing_is_imported_for_its_name(site: Path) -> None:
    install(site, "attention-pages", attention_maps="attention_pages.maps")
    assert pages()["attention_maps"] == Page("attention_maps", "Attention maps")
    assert list(pages())[-1] == "attention_maps" and "attention_pages" not in sys.modules
    (site / "attention_pages").mkdir()
    (site / "attention_pages" / "__init__.py").write_text("")
    (site / "attention_pages" / "maps.py").write_text(_RENDER)
    at = AppTest.from_function(_navigation, default_timeout=180).run()
    assert not at.exception
    assert [title.value for title in at.title] == ["Attention maps"] and at.markdown[-1].value == "of another package"


def test_one_that_cannot_be_imported_says_so_in_its_place_and_harms_no_other(site: Path) -> None:
    install(site, "attention-pages", attention_maps="nowhere.at_all")
    import_pages()
    assert "dashboard.pages.tune.page" in sys.modules
    at = AppTest.from_function(_navigation, default_timeout=180).run()
    assert not at.exception
    assert [error.value for error in at.error] == [
        "page 'attention_maps' cannot be loaded from attention-pages (nowhere.at_all), entry point of toast_studio.pages: "
        "ModuleNotFoundError: No module named 'nowhere'; repair or uninstall attention-pages"
    ]


@pytest.mark.parametrize(("packages", "named"), [
    ({"other-tune": "other.tune"}, "toast-studio (dashboard.pages.tune.page) and other-tune (other.tune)"),
    ({"one-map": "one.page", "other-map": "other.page"}, "one-map (one.page) and other-map (other.page)"),
])
def test_a_page_that_two_packages_add_is_an_error_that_names_both(site: Path, packages: dict[str, str], named: str) -> None:
    name = "tune" if len(packages) == 1 else "maps"
    for package, module in packages.items():
        install(site, package, **{name: module})
    with pytest.raises(NavigationError) as refused:
        pages()
    assert str(refused.value) == f"page {name!r} is added twice, by {named}; uninstall one of them"
    with pytest.raises(NavigationError):  # before an engine or a server is started
        launch(Setup(), Sharing())


def test_the_table_is_read_without_streamlit_or_torch() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['streamlit'] = None; from dashboard.navigation import pages; assert pages()"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
