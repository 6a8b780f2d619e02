"""Identities, their keys, and what makes a cell stale."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis_cache.analysis import Analysis, AnalysisRecord, find_id
from analysis_cache.errors import StoreError
from analysis_cache.key import KINDS, METRIC_VERSIONS, CellIdentity, digest_of_subset, stale_reason
from tests.support.cells import TIME, identity
from toast_core.errors import ToastError

LINES = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=30)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
COUNTS = st.integers(1, 2**40)
IDENTITIES = st.builds(
    CellIdentity, kind=st.sampled_from(KINDS), metric_version=COUNTS, model=LINES, weights_digest=LINES, data_digest=LINES, images=COUNTS,
    subset_digest=LINES, transform=LINES, schedule_digest=st.none() | LINES, selection=st.none() | LINES, order=LINES, batch_size=COUNTS,
    seed=st.integers(0, 2**40), dtype=LINES, device_kind=LINES, details=st.dictionaries(NAMES, SCALARS, max_size=5),
)


def test_the_key_of_a_cell_is_what_it_was_in_version_1() -> None:
    assert identity(7, metric_version=1).key == "e94adaf433b0d5000e9634cf99f128cb23a15e2e675c61c2883ca6624aed660e"


@given(IDENTITIES)
def test_an_identity_reads_back_from_its_text(cell: CellIdentity) -> None:
    again = CellIdentity.from_json(cell.to_json())
    assert again.to_json() == cell.to_json() and again.key == cell.key and hash(again) == hash(cell)


def test_the_order_of_details_does_not_matter_and_every_field_does() -> None:
    assert identity(details={"a": 1, "b": 2}).key == identity(details={"b": 2, "a": 1}).key
    other = {
        "kind": "redundancy", "metric_version": 99, "model": "x", "weights_digest": "x", "data_digest": "x", "images": 41,
        "subset_digest": "x", "transform": "x", "schedule_digest": None, "selection": None, "order": "sorted", "batch_size": 1,
        "seed": 1, "dtype": "bfloat16", "device_kind": "cuda", "details": {},
    }
    assert set(other) | {"identity"} == set(identity().to_dict())
    keys = {identity(**{name: value}).key for name, value in other.items()}
    assert len(keys | {identity().key}) == len(other) + 1


@pytest.mark.parametrize("changes", [
    {"kind": "guess"}, {"images": 0}, {"images": 4.0}, {"seed": -1}, {"batch_size": True}, {"model": ""}, {"model": "two\nlines"},
    {"details": {"Block": 1}}, {"details": {"block": np.int64(1)}}, {"details": {"ratio": float("nan")}}, {"details": {"block": [1]}},
    {"details": (("block", 1), ("block", 2))},
])
def test_what_is_no_identity_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(StoreError) as caught:
        identity(**changes)
    assert isinstance(caught.value, ToastError) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [
    "", "[]", "{}", '{"identity":1}', "\x00", identity().to_json() + " ", identity().to_json().replace('"seed":0', '"seed":0.0'),
    identity().to_json().replace('"seed":0', '"seed":0,"seed":0'), identity().to_json().replace('"identity":1', '"identity":2'),
])
def test_other_text_is_no_identity(text: str) -> None:
    with pytest.raises(StoreError):
        CellIdentity.from_json(text)


def test_stale_says_which_fields_differ() -> None:
    assert stale_reason(identity(), identity()) is None
    now = METRIC_VERSIONS["sensitivity"]
    assert stale_reason(identity(), {"metric_version": 99}) == f"metric version {now} -> 99"
    assert stale_reason(identity(), {"weights_digest": "ef" * 32}) == "weights changed: sha256 aaaaaaaa… -> efefefef…"
    assert stale_reason(identity(), identity(details={"block": 3}, dtype="bfloat16")) == (
        "dtype float32 -> bfloat16; block 0 -> 3, ratio 0.0 -> None, site fc1 -> None"
    )
    with pytest.raises(StoreError, match="unknown identity field 'weight'"):
        stale_reason(identity(), {"weight": 1})


def test_a_subset_is_which_images_in_which_order() -> None:
    assert digest_of_subset(range(5)) == digest_of_subset(np.arange(5, dtype=np.int32)) != digest_of_subset([4, 3, 2, 1, 0])


def test_an_analysis_is_named_by_its_request() -> None:
    keys = (identity(1).key, identity(0).key)
    analysis = Analysis({"model": "demo_vit", "sites": ["fc1"]}, "first", keys, TIME)
    assert analysis.id == Analysis({"sites": ["fc1"], "model": "demo_vit"}, "second", (), TIME).id
    assert len(analysis.id) == 64 and analysis.short_id == analysis.id[:16] and analysis.finished(TIME).finished_utc == TIME
    assert AnalysisRecord.of(analysis).analysis() == analysis


@pytest.mark.parametrize("changes", [
    {"request": []}, {"request": {"ratio": float("inf")}}, {"label": "a\x1b[31m"}, {"cell_keys": ("abc",)}, {"cell_keys": ("a" * 64,) * 2},
    {"created_utc": "yesterday"}, {"finished_utc": ""},
])
def test_what_is_no_analysis_is_refused(changes: dict[str, object]) -> None:
    values = {"request": {"a": 1}, "label": "x", "cell_keys": (), "created_utc": TIME, "finished_utc": None}
    with pytest.raises(StoreError):
        AnalysisRecord.of(Analysis(**(values | changes)))


def test_a_prefix_must_be_long_enough_known_and_unique() -> None:
    ids = ["abcd1" + "0" * 59, "abcd2" + "0" * 59]
    assert find_id("abcd1", ids, "here") == ids[0]
    for prefix, message in (("abc", "too short"), ("abcd", "fits 2 entries"), ("ffff", "there is no 'ffff' in here")):
        with pytest.raises(StoreError, match=message):
            find_id(prefix, ids, "here")


def test_the_canonical_text_is_plain_json() -> None:
    assert json.loads(identity().to_json())["details"] == {"block": 0, "ratio": 0.0, "site": "fc1"}
