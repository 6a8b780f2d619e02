"""Pictures of a data set's images, as the dashboard asks for them."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from toast_core.data.pictures import MAX_PICTURES, pictures
from toast_core.data.sources import open_source
from toast_core.errors import DataError


def test_pictures_are_pixels_of_the_set_and_limited():
    source = open_source("fashion-mnist")
    packed = pictures(source, [5, 0])
    image = Image.open(io.BytesIO(base64.b64decode(packed[1])))
    assert image.size == (112, 112) and np.array_equal(np.asarray(image)[::4, ::4], source.arrays[0])
    with pytest.raises(DataError, match="49 pictures are too many at once; ask for at most 48"):
        pictures(source, [0] * (MAX_PICTURES + 1))
    with pytest.raises(DataError, match="has no image 10000; its 10000 images are numbered from 0"):
        pictures(source, [10_000])


def test_large_pictures_shrink_and_unreadable_ones_are_none(tmp_path):
    (tmp_path / "one").mkdir()
    Image.new("RGB", (640, 320)).save(tmp_path / "one" / "large.png")
    (tmp_path / "one" / "broken.png").write_bytes(b"no image")
    broken, large = pictures(open_source(tmp_path), [0, 1])
    assert broken is None and Image.open(io.BytesIO(base64.b64decode(large))).size == (112, 56)
