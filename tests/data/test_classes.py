"""Which output of a model a folder's class is, against timm's own numbering and against what people's files say."""

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data.readers.class_map import load_class_map
from timm.utils.misc import natural_key as timms_key

from tests.support.folders import make_folder
from tests.support.pictures import put, rename_to_bytes
from toast_core.data.class_maps import names_by_output, read_class_map
from toast_core.data.classes import match_classes, natural_key
from toast_core.data.sources import Source, open_source
from toast_core.errors import DataError, SetupError
from toast_core.loading import load_model
from toast_core.models.info import ModelInfo, get_info
from toast_core.preprocessing import Reading

NUMBERS = tuple(map(str, range(12)))


@pytest.fixture(scope="module")
def info() -> ModelInfo:
    return get_info(load_model("demo_vit", "random", num_classes=12))


def source_of(names: tuple[str, ...]) -> Source:
    """A set whose class folders have these names, one image each, in the alphabetical order of a listing."""
    return Source("photos", tuple(sorted(names)), np.arange(len(names)), "d" * 64)


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\0/"), min_size=1), min_size=1, unique=True))
def test_natural_is_timms_order(names: list[str]) -> None:
    assert [natural_key(name) for name in names] == [timms_key(name) for name in names]


def test_a_name_of_thousands_of_digits_has_a_place() -> None:
    assert sorted(["9" * 5000, "10", "9"], key=natural_key) == ["9", "10", "9" * 5000]


class TestOrder:
    """Folders without a map, for a model whose names nobody knows."""

    def test_alphabetical_is_said_where_timms_differs(self, info: ModelInfo) -> None:
        found = match_classes(source_of(NUMBERS), info, Reading())
        assert found.classes[2] == "10" and found.class_to_index["10"] == 2
        assert found.notes == (
            "class folders are numbered alphabetically, so output 2 is 10; timm's training numbers them naturally, where it is 2: "
            "pass --class-order natural if the model was trained so, or --class-order alphabetical to confirm",
        )

    @pytest.mark.parametrize("names", [tuple("abcdefghijkl"), tuple(f"{n:02}" for n in range(12))], ids=["letters", "zeros"])
    def test_nothing_is_said_where_the_orders_agree(self, info: ModelInfo, names: tuple[str, ...]) -> None:
        assert match_classes(source_of(names), info, Reading()).notes == ()

    @pytest.mark.parametrize(
        "names", [NUMBERS, ("Ab", "aa", *map(str, range(10))), tuple(f"class {n}" for n in range(12))], ids=["numbers", "case", "prefix"]
    )
    def test_natural_labels_are_timms(self, info: ModelInfo, names: tuple[str, ...]) -> None:
        source = source_of(names)
        found = match_classes(source, info, Reading(class_order="natural"))
        expected = {name: number for number, name in enumerate(sorted(names, key=timms_key))}
        assert found.class_to_index == expected and found.notes == ()
        assert [found.classes[label] for label in found.labels] == list(source.classes)

    def test_another_order_is_another_set_and_the_usual_one_is_not(self, info: ModelInfo) -> None:
        source = source_of(NUMBERS)
        assert match_classes(source, info, Reading(class_order="alphabetical")).digest == source.digest
        assert match_classes(source, info, Reading(class_order="natural")).digest != source.digest

    def test_a_file_says_its_order(self, info: ModelInfo) -> None:
        found = match_classes(source_of(NUMBERS), replace(info, class_order="natural"), Reading())
        assert found.classes == NUMBERS and found.notes == ()

    def test_a_set_that_numbers_its_classes_keeps_them(self, info: ModelInfo) -> None:
        source = replace(source_of(NUMBERS), classes=tuple(reversed(NUMBERS)), numbered=True)
        assert match_classes(source, info, Reading(class_order="natural")).classes == source.classes

    def test_a_table_of_numbers_may_lack_the_last_ones(self, info: ModelInfo) -> None:
        source = replace(source_of(NUMBERS[:10]), numbered=True)
        found = match_classes(source, info, Reading())
        assert len(found.classes) == 12 and found.labels.tolist() == list(range(10)) and found.digest == source.digest
        with pytest.raises(DataError, match="has 10 classes but demo_vit has 12"):
            match_classes(replace(source, classes=tuple("abcdefghij")), info, Reading())

    def test_numbers_of_a_table_are_outputs_whatever_a_file_calls_those(self, info: ModelInfo) -> None:
        source = replace(source_of(NUMBERS), classes=NUMBERS, numbered=True)
        found = match_classes(source, replace(info, classes=tuple(sorted(NUMBERS))), Reading())
        assert found.class_to_index == {name: int(name) for name in NUMBERS} and found.labels.tolist() == list(range(12))

    def test_numbers_from_1_are_asked_about(self, info: ModelInfo) -> None:
        source = replace(source_of(NUMBERS), classes=(*NUMBERS, "12"), labels=np.arange(1, 13), numbered=True)
        with pytest.raises(DataError, match=r"photos numbers its classes from 1 to 12 .* 0 to 11: numbered from 1\? outputs are numbered"):
            match_classes(source, info, Reading())
        few = replace(source, classes=NUMBERS[:4], labels=np.arange(1, 4))
        assert match_classes(few, info, Reading()).notes == (
            "no image of photos is of output 0: numbered from 1? outputs are numbered from 0",
        )

    def test_what_cannot_be_chosen(self) -> None:
        with pytest.raises(SetupError, match="class-order is 'numeric'; choose from alphabetical, natural"):
            Reading(class_order="numeric")
        with pytest.raises(SetupError, match="both --class-order and --class-map are given; keep one of them"):
            Reading(class_order="natural", class_map="map.txt")

    def test_a_class_folder_that_was_left_aside_is_named_in_the_refusal(self, tmp_path: Path, info: ModelInfo) -> None:
        make_folder(tmp_path / "d", {str(n): 1 for n in range(11)})
        (tmp_path / "d" / "11").symlink_to(tmp_path / "gone")
        with pytest.raises(DataError, match=r"but demo_vit has 12; left aside: 1 link to nothing \(11\); pass --num-classes"):
            match_classes(open_source(tmp_path / "d"), info, Reading())

    def test_fewer_classes_than_outputs_need_a_map(self, info: ModelInfo) -> None:
        with pytest.raises(DataError, match=r"photos has 11 classes but demo_vit has 12; pass --num-classes 11 .* or --class-map FILE"):
            match_classes(source_of(NUMBERS[:11]), info, Reading())


class TestNames:
    """Where both the model and the folder have names."""

    def test_names_decide_whatever_the_order(self, info: ModelInfo) -> None:
        known = tuple(f"Class-{n}" for n in range(12))
        found = match_classes(source_of(tuple(f"class_{n}" for n in range(12))), replace(info, classes=known), Reading())
        assert found.class_to_index == {f"class_{n}": n for n in range(12)}
        assert found.notes == ("the 12 classes of photos are matched by name to the 12 that demo_vit's weights name",)

    def test_some_of_many(self, info: ModelInfo) -> None:
        found = match_classes(source_of(("c7", "c2")), replace(info, classes=tuple(f"c{n}" for n in range(12))), Reading())
        assert found.labels.tolist() == [2, 7] and len(found.classes) == 12

    def test_an_order_that_was_chosen_goes_first_and_is_compared(self, info: ModelInfo) -> None:
        found = match_classes(source_of(NUMBERS), replace(info, classes=NUMBERS), Reading(class_order="alphabetical"))
        assert found.class_to_index["10"] == 2
        assert "class names do not belong together in 10 of 12 outputs (demo_vit's / the images': 2 / 10, 3 / 11, 4 / 2" in found.notes[0]

    def test_foreign_names_are_said(self, tmp_path: Path) -> None:
        folder = make_folder(tmp_path / "photos", {f"bird {n}": 1 for n in range(10)})
        found = match_classes(open_source(folder), get_info(load_model("demo_vit")), Reading())
        assert "class names do not belong together in 10 of 10 outputs" in found.notes[-1] and "T-shirt/top / bird 0" in found.notes[-1]

    def test_a_folder_that_is_numbered_has_no_names_to_compare(self, info: ModelInfo) -> None:
        known = tuple(f"class {n}" for n in range(12))
        assert match_classes(source_of(NUMBERS), replace(info, classes=known), Reading(class_order="natural")).notes == ()

    @pytest.mark.parametrize("names", [[f"{n:03}" for n in range(12)], [str(n) for n in range(1, 13)], [f"{n:02}" for n in range(1, 13)]])
    def test_numbers_from_0_or_1_with_zeros_or_none_are_no_names(self, info: ModelInfo, names: list[str]) -> None:
        known = tuple(f"bird {n}" for n in range(12))
        found = match_classes(source_of(tuple(names)), replace(info, classes=known), Reading(class_order="natural"))
        assert list(found.class_to_index) == sorted(names) and found.notes == ()

    def test_ambiguous_names_are_not_matched(self, info: ModelInfo) -> None:
        known = ("a b", "a_b", *map(str, range(10)))
        found = match_classes(source_of(("a-b", *"0123456789", "z")), replace(info, classes=known), Reading())
        assert found.class_to_index["a-b"] != 0 and "do not belong together" in found.notes[-1]


class TestClassMap:
    """timm's files, and those of other libraries."""

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("map.txt", "no\nyes\nmaybe\n"), ("map.txt", "\ufeffno\r\nyes\r\nmaybe"), ("map.json", '["no", "yes", "maybe"]'),
            ("map.json", '{"maybe": 2, "no": 0, "yes": 1}'), ("map.json", '{"0": "no", "1": "yes", "2": "maybe"}'),
            ("map.json", '{"0": ["no", "No."], "1": ["yes"], "2": ["maybe"]}'),
        ],
        ids=["text", "windows", "list", "by_name", "by_number", "keras"],
    )
    def test_forms(self, tmp_path: Path, name: str, text: str) -> None:
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        found = read_class_map(tmp_path / name)
        assert {key: found[key] for key in ("no", "yes", "maybe")} == {"no": 0, "yes": 1, "maybe": 2}

    @pytest.mark.parametrize(("text", "names"), [
        ("no\nyes\nmaybe", ("no", "yes", "maybe")), ('"no"\n"yes, really"\n"maybe"', ("no", "yes, really", "maybe")),
        ("no\t0\nyes\t1\nmaybe\t2", ("no", "yes", "maybe")), ("maybe,2\nno,0\nyes,1", ("no", "yes", "maybe")),
        ("class;index\nno;0\nyes;1\nmaybe;2", ("no", "yes", "maybe")), ("2\tmaybe\n0\tno\n1\tyes", ("no", "yes", "maybe")),
        ("0 no\n1 yes or no\n2 maybe", ("no", "yes or no", "maybe")), ("class 2\nclass 0\nclass 1", ("class 2", "class 0", "class 1")),
        ("n0144 a fish, a trout\nn0145 a bird", ("n0144", "n0145")), ("n0144\ta fish\nn0145\ta bird", ("n0144", "n0145")),
        ("caf\u00e9\ncafe\u0301s", ("caf\u00e9", "caf\u00e9s")), ('["no", "yes"]', ("no", "yes")), ('{"no": 1, "yes": 0}', ("yes", "no")),
        ("10\n9\n8", ("10", "9", "8")), ("[a]\nb", ("[a]", "b")), ("a dog\na cat", ("a dog", "a cat")),
    ])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    def test_lines_as_people_write_them(self, tmp_path: Path, text: str, names: tuple[str, ...], encoding: str) -> None:
        if encoding == "latin-1":
            text = unicodedata.normalize("NFC", text)
        (tmp_path / "map.txt").write_bytes(text.encode(encoding))
        found = read_class_map(tmp_path / "map.txt")
        assert [found[name] for name in names] == list(range(len(names)))
        if "\u00e9" not in text:
            assert names_by_output(found, len(names)) == names

    def test_bytes_and_accents_of_folders_are_found(self, tmp_path: Path, info: ModelInfo) -> None:
        put(tmp_path / "d", ["cafe\u0301/1.png", "x/1.png"])
        rename_to_bytes(tmp_path / "d" / "x", b"\xe9t\xe9")
        (tmp_path / "map.txt").write_bytes("a\ncaf\u00e9\n".encode() + b"\xe9t\xe9\n")
        found = match_classes(open_source(tmp_path / "d"), info, Reading(class_map=str(tmp_path / "map.txt")))
        assert sorted(found.labels.tolist()) == [1, 2]

    @pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
    def test_one_without_a_line_is_empty(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "map.txt").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"map\.txt is empty; write a name a line"):
            read_class_map(tmp_path / "map.txt")

    def test_one_that_numbers_from_1_is_refused(self, tmp_path: Path, info: ModelInfo) -> None:
        (tmp_path / "map.json").write_text(json.dumps({f"n{n}": n + 1 for n in range(12)}))
        with pytest.raises(DataError, match=r"numbers from 1 to 12; the model's outputs are 0 to 11: take 1 from each"):
            match_classes(source_of(("n1", "n3")), info, Reading(class_map=str(tmp_path / "map.json")))

    def test_a_comment_is_no_class(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("# my classes\na\nb\n")
        with pytest.raises(DataError, match="begins with the comment '# my classes', which would count as a class; take it out"):
            read_class_map(tmp_path / "map.txt")

    def test_text_is_read_as_timm_reads_it(self, tmp_path: Path) -> None:
        (tmp_path / "map.txt").write_text("b\n\na \nc", encoding="utf-8")
        assert read_class_map(tmp_path / "map.txt") == {name: n for name, n in load_class_map(str(tmp_path / "map.txt")).items() if name}

    def test_a_subset_of_a_larger_head(self, tmp_path: Path, info: ModelInfo) -> None:
        (tmp_path / "map.json").write_text(json.dumps([f"n{n}" for n in range(12)]))
        found = match_classes(source_of(("n11", "n3")), info, Reading(class_map=str(tmp_path / "map.json")))
        assert found.labels.tolist() == [11, 3] and found.classes[3] == "n3" and found.notes == ()

    def test_several_folders_of_one_output(self, tmp_path: Path, info: ModelInfo) -> None:
        (tmp_path / "map.json").write_text('{"cat": 0, "kitten": 0, "dog": 1}')
        found = match_classes(source_of(("cat", "kitten", "dog")), info, Reading(class_map=str(tmp_path / "map.json")))
        assert found.labels.tolist() == [0, 1, 0] and found.classes[:2] == ("cat", "dog")

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ('["a"]', "lacks 1 of the 2 classes of photos, first b; it begins with 'a': add them"),
            ('{"a": 0, "b": 12}', "numbers b as 12; the model's outputs are 0 to 11"),
            ('{"a": 0, "b": -1}', "numbers b as -1"),
            ('{"a": "x"}', "is no JSON of names and numbers"), ("5", "is no JSON of names and numbers"),
            ("[[1, 2]]", "is no JSON of names and numbers"), ("[" * 10**5, "is no JSON"),
            ('{"a": 0, "b": 1, "a": 0}', "has 'a' twice; keep one of them"),
            ('["a", "a"]', "has 'a' twice, as 0 and 1; keep one of them"), ("[]", "is empty; write a name a line"),
        ],
        ids=["lacks", "beyond", "below", "words", "number", "lists", "deep", "key twice", "twice", "empty"],
    )
    def test_what_does_not_fit(self, tmp_path: Path, info: ModelInfo, text: str, says: str) -> None:
        (tmp_path / "map.json").write_text(text)
        with pytest.raises(DataError, match=says):
            match_classes(source_of(("a", "b")), info, Reading(class_map=str(tmp_path / "map.json")))

    def test_no_such_file(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none\.txt cannot be read .*; give a class map: a text file with a name a line, or JSON"):
            read_class_map(tmp_path / "none.txt")
