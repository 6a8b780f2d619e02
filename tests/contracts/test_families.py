"""The family contract over ViTs, Swins and narrowed timm entry points."""

import pytest

from tests.contracts.family_contract import FamilyContract
from tests.support.families import ALL, ENTRY_POINTS, EVAS, SWINS, VITS, Family, shared_model
from tests.support.tiers import tier_of
from toast_core.models.adapters import FAMILIES


def over(families: tuple[Family, ...]) -> pytest.MarkDecorator:
    """Run a contract on each family, named in the test's id; those that others stand for with --all alone."""
    return pytest.mark.parametrize("family", [pytest.param(family, id=family.name, marks=tier_of(family.name)) for family in families])


@over(VITS)
class TestVits(FamilyContract):
    """timm's VisionTransformer with one part changed at a time."""


@over(SWINS)
class TestSwins(FamilyContract):
    """timm's SwinTransformer on grids that fit its windows and on grids that do not."""


@over(ENTRY_POINTS)
class TestEntryPoints(FamilyContract):
    """Names a user would load, narrowed."""


@over(EVAS)
class TestEvas(FamilyContract):
    """Rotary embeddings or none, plain, gated and normalised feed-forward networks, q, k and v fused, apart, and without a bias of k."""


def test_every_adapter_has_families() -> None:
    assert {type(shared_model(family.name)) for family in ALL} == {adapter.model_class for adapter in FAMILIES.values()}
