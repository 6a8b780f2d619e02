"""Whether an analysis is of the dashboard's weights."""

from pathlib import Path

from dashboard.evidence.weights import weights_concern
from tests.support import evidence as stored
from toast_core.setup import Setup


def test_other_weights_are_named(tmp_path: Path):
    request = stored.sweep().request
    assert weights_concern(Setup().completed(), request) is None
    assert weights_concern(Setup().completed(), {**request, "weights_digest": "0" * 64}).startswith(
        "measured with other weights: sha256 00000000, this dashboard's "
    )
    assert weights_concern(Setup(weights="random").completed(), request) == "measured with stored weights, this dashboard runs random ones"
    assert weights_concern(Setup(weights=str(tmp_path / "missing.safetensors")).completed(), request) is None
