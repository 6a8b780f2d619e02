"""What a model's info may be."""

from dataclasses import replace

import pytest

from tests.support.families import shared_model
from toast_core.models.info import get_info


def test_every_output_has_a_name_or_none_has() -> None:
    info = get_info(shared_model("plain"))
    assert replace(info, classes=tuple("abcdefg")).classes == tuple("abcdefg")
    with pytest.raises(ValueError, match="10 class names for 7 outputs of VisionTransformer; one is needed for each"):
        replace(info, classes=tuple("abcdefghij"))
