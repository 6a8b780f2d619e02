"""docs/bring_your_own.md lists what tests write and read: tests/models/checkpoint/test_forms.py and tests/data/test_layouts.py."""

import pytest

from tests.docs.pages import DOCS, text_of
from tests.support.brought import images_table, weights_table


@pytest.mark.parametrize(("name", "table"), [("weights", weights_table()), ("images", images_table())])
def test_the_page_has_the_table(name: str, table: str) -> None:
    inside = text_of(DOCS / "bring_your_own.md").partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->")[0]
    assert inside == f"{table}\n", f"put this between the marks of {name}:\n{table}"
