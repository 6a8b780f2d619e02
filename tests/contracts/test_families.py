"""The family contract over ViTs, Swins and narrowed timm entry points."""

import pytest

from tests.contracts.family_contract import FamilyContract
from tests.support.families import ALL, ENTRY_POINTS, SWINS, VITS, Family, shared_model
from toast_core.models.adapters import FAMILIES


def over(families: tuple[Family, ...]) -> pytest.MarkDecorator:
    """Run a contract on each family, named in the test's id."""
    return pytest.mark.parametrize("family", families, ids=[family.name for family in families])


@over(VITS)
class TestVits(FamilyContract):
    """timm's VisionTransformer with one part changed at a time."""


@over(SWINS)
class TestSwins(FamilyContract):
    """timm's SwinTransformer on grids that fit its windows and on grids that do not."""


@over(ENTRY_POINTS)
class TestEntryPoints(FamilyContract):
    """Names a user would load, narrowed."""


def test_every_adapter_has_families() -> None:
    assert {type(shared_model(family.name)) for family in ALL} == {adapter.model_class for adapter in FAMILIES.values()}
