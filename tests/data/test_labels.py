"""Tables of labels for flat folders: which column is which, what fits nothing, and what is too unclear to be taken."""

from pathlib import Path

import pytest

from tests.support.pictures import put, rename_to_bytes
from toast_core.data.load import load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError
from toast_core.loading import load_model
from toast_core.preprocessing import Reading

FOUR = ("a1.png", "a2.png", "b1.jpg", "sub/b2.webp")
RIGHT = {"a1.png": "ant", "a2.png": "ant", "b1.jpg": "bee", "sub/b2.webp": "bee"}


def labelled(root: Path, text: str | bytes, names: tuple[str, ...] = FOUR) -> object:
    """The set of a folder of these images with this table."""
    put(root / "d", names)
    (root / "labels.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return open_source(root / "d", labels=root / "labels.csv")


def classes_of(source: object, root: Path) -> dict[str, str]:
    """The class of each image by its relative name."""
    names = [file.relative_to(root / "d").as_posix() for file in source.files]
    return {name: source.classes[label] for name, label in zip(names, source.labels, strict=True)}


ROWS = [("a1.png", "ant"), ("a2.png", "ant"), ("b1.jpg", "bee"), ("sub/b2.webp", "bee")]


def table(delimiter: str = ",", head: str = "", rows: list[tuple[str, ...]] | None = None, end: str = "\n") -> str:
    return end.join([*([head] if head else []), *(delimiter.join(row) for row in rows or ROWS), ""])


class TestForms:
    """The same four images and two classes, in every form that people write."""

    @pytest.mark.parametrize("text", [
        table(), table(";"), table("\t"), table(end="\r\n"), table(" "), table(head="filename,label"), table(head="Image_Name,Class"),
        table(head="label,file", rows=[(b, a) for a, b in ROWS]), table(head="id,breed"), table(head="image;diagnosis", delimiter=";"),
        b"\xef\xbb\xbf" + table(head="filename,label").encode(), table(head="filename,label").encode("utf-16"),
        table(rows=[(f'"{a}"', f'"{b}"') for a, b in ROWS]),
        table(head="ImageId,PredictionString", rows=[(a, f"{b} 1 2 3 4") for a, b in ROWS]),
        table(rows=[(a.partition(".")[0], b) for a, b in ROWS]), table(rows=[(a.rpartition("/")[2], b) for a, b in ROWS]),
        table(rows=[(a.replace("/", "\\"), b) for a, b in ROWS]),
        table(rows=[(f"/elsewhere/val/{a.rpartition('/')[2]}", b) for a, b in ROWS]),
        table(rows=[(a, b, "0", "1.5") for a, b in ROWS]), table(head="split,filename,label", rows=[("val", a, b) for a, b in ROWS]),
        table(head="path,filename,label", rows=[(f"x/{a}", a, b) for a, b in ROWS]), table(head="Bild,Klasse"), table(rows=ROWS[::-1]),
        "\n" + table(rows=[(f" {a} ", f" {b} ") for a, b in ROWS]),
    ], ids=str)
    def test_it_is_read(self, tmp_path: Path, text: str | bytes) -> None:
        source = labelled(tmp_path, text)
        assert classes_of(source, tmp_path) == RIGHT and source.classes == ("ant", "bee") and not source.numbered
        assert any(note.startswith("classes of 4 images are those of column") for note in source.notes)

    def test_numbers_are_outputs_and_sorted_by_value(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "file,label\na1.png,10\na2.png,2\nb1.jpg,0\nb2.webp,2.0\n")
        assert source.numbered and source.classes == tuple(map(str, range(11)))
        assert classes_of(source, tmp_path) == {"a1.png": "10", "a2.png": "2", "b1.jpg": "0", "sub/b2.webp": "2"}

    def test_images_that_are_called_as_labels_are_do_not_confuse_it(self, tmp_path: Path) -> None:
        names = tuple(f"{number}.png" for number in range(12))
        source = labelled(tmp_path, "".join(f"{number}.png,{number % 3}\n" for number in range(12)), names)
        assert classes_of(source, tmp_path) == {f"{number}.png": str(number % 3) for number in range(12)}

    def test_synsets_with_leading_zeros_are_names(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "a1.png,01\na2.png,02\nb1.jpg,01\nb2.webp,03\n")
        assert source.classes == ("01", "02", "03") and not source.numbered

    def test_digits_of_other_scripts_are_names(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "a1.png,1\na2.png,1\u0662\nb1.jpg,1\nb2.webp,\u0663\n")
        assert source.classes == ("1", "1\u0662", "\u0663") and not source.numbered

    def test_names_that_are_no_utf8_are_found(self, tmp_path: Path) -> None:
        put(tmp_path / "d", FOUR[1:])
        rename_to_bytes(put(tmp_path / "d", ["x.png"]) / "x.png", b"caf\xe9.png")
        (tmp_path / "labels.csv").write_bytes(b"caf\xe9.png,\xe9t\xe9\n" + table(rows=ROWS[1:]).encode())
        source = open_source(tmp_path / "d", labels=tmp_path / "labels.csv")
        assert r"\xe9t\xe9" in source.classes and len(source) == 4

    def test_accents_as_macs_write_them_are_found(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "cafe\u0301.png,x\nb.png,y\n", ("caf\u00e9.png", "b.png"))
        assert classes_of(source, tmp_path) == {"caf\u00e9.png": "x", "b.png": "y"}

    def test_a_list_takes_labels_too(self, tmp_path: Path) -> None:
        put(tmp_path, ("a.png", "b.png"))
        (tmp_path / "list.txt").write_text("b.png\na.png\n")
        (tmp_path / "labels.csv").write_text("a.png,x\nb.png,y\n")
        source = open_source(tmp_path / "list.txt", labels=tmp_path / "labels.csv")
        assert [source.classes[label] for label in source.labels] == ["y", "x"]

    def test_it_goes_from_the_reading_to_the_batches(self, tmp_path: Path) -> None:
        labelled(tmp_path, table(head="filename,label"))
        reading = Reading(labels=str(tmp_path / "labels.csv"))
        data = load_data(tmp_path / "d", load_model("demo_vit", "random", 2), order="sorted", reading=reading)
        assert next(data.batches(4)).labels.tolist() == [0, 0, 1, 1]

    def test_the_digest_changes_with_a_label(self, tmp_path: Path) -> None:
        first = labelled(tmp_path, table())
        assert labelled(tmp_path, table(head="file,label")).digest == first.digest
        assert labelled(tmp_path, table().replace("b1.jpg,bee", "b1.jpg,ant")).digest != first.digest


class TestWhatDoesNotFit:
    """Counted and said, or refused."""

    def test_a_few_images_without_a_row_and_rows_without_an_image_are_said(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "file,label\na1.png,x\nb1.jpg,y\nb2.webp,\ngone.png,x\nother.png,y\n")
        assert classes_of(source, tmp_path) == {"a1.png": "x", "b1.jpg": "y"}
        assert source.notes == (
            "left aside: 1 image without a row in the table of labels (a2.png)", "left aside: 1 image whose row has no class (sub/b2.webp)",
            f"classes of 2 images are those of column 'label' of {tmp_path}/labels.csv, by column 'file'",
            f"2 of 5 rows of {tmp_path}/labels.csv name no image here (first gone.png)",
        )

    @pytest.mark.parametrize(("text", "message"), [
        ("file,label\na1.png,x\nz.png,y\n", r"classes for 1 of the 4 images of .*; it begins with 'z.png', .* image without one is a2"),
        ("file,label\nq.png,x\nz.png,y\n", r"no column of .* names images of .*: it begins with 'q.png', the images with a1.png"),
        ("a1.png,x\na1.png,y\na2.png,x\nb1.jpg,y\n", r"has two classes for 'a1.png', 'x' and 'y'; keep one"),
        ("file,label,class\na1.png,x,1\na2.png,y,2\n", r"several columns of .* may be the class \(label, class\); keep one"),
        ("image,MEL,NV\na1.png,1,0\na2.png,0,1\n", r"several columns of .* may be the class \(MEL, NV\)"),
        ("file,image,label\na1.png,a2.png,x\nb1.jpg,b2.webp,y\n", r"several columns of .* may name the images \(file, image\)"),
        ("a1.png,x\na2.png\n", "row 2 of .* has 1 columns where the first has 2; mend it"),
        ("a1.png\na2.png\n", "has no two columns"), ("", "has no two columns"), ("file,label\n", "has a header and no rows"),
        ("a1.png,-1\na2.png,0\nb1.jpg,1\n", "has the class -1, and outputs are numbered from 0"),
        ("a1.png,0\na2.png,7000000\nb1.jpg,1\n", "has the class 7000000, and outputs are numbered from 0 to 99,999"),
        (f"a1.png,0\na2.png,{'9' * 5000}\nb1.jpg,1\n", r"has the class 9{20}\.\.\., and outputs are numbered from 0 to 99,999"),
        (b"PK\x03\x04\0\0", "is no text file"), (b"\xff\xfea", "cannot be read"),
    ])
    def test_it_is_refused(self, tmp_path: Path, text: str | bytes, message: str) -> None:
        with pytest.raises(DataError, match=message):
            labelled(tmp_path, text)

    def test_a_name_of_several_images_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"names 'x.png', which several images of .* are called; write paths in it"):
            labelled(tmp_path, "x.png,1\ny.png,0\n", ("a/x.png", "b/x.png", "y.png"))

    @pytest.mark.parametrize("data", ["fashion-mnist", "x.tar"])
    def test_what_has_labels_takes_no_others(self, tmp_path: Path, data: str) -> None:
        (tmp_path / "l.csv").write_text("a.png,1\n")
        with pytest.raises(DataError, match="has its own labels; leave out --labels"):
            open_source(data, labels=tmp_path / "l.csv")

    def test_a_missing_table_or_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none.csv cannot be read \(No such file or directory\); give a CSV file"):
            open_source(put(tmp_path / "d", FOUR), labels=tmp_path / "none.csv")
        with pytest.raises(DataError, match="gone is not there"):
            open_source(tmp_path / "gone", labels=tmp_path / "none.csv")


class TestPlaces:
    """Rows name images by paths from other places: as much of the end as both have decides, and where that is the name alone it is said."""

    NAMES = ("1.png", "a/1.png", "b/1.png", "b/c/2.png")

    def found(self, root: Path, cells: tuple[str, ...]) -> object:
        return labelled(root, "".join(f"{cell},{'wxyz'[number]}\n" for number, cell in enumerate(cells)), self.NAMES)

    @pytest.mark.parametrize("before", ["{root}/d/", "d/", "/somewhere/else/d/", "C:\\photos\\d\\"])
    @pytest.mark.parametrize("ending", [True, False])
    def test_the_longest_end_decides(self, tmp_path: Path, before: str, ending: bool) -> None:
        put(tmp_path / "d", self.NAMES)
        cells = tuple(before.format(root=tmp_path) + (name if ending else name.removesuffix(".png")) for name in self.NAMES)
        foreign = "where" in before or "photos" in before  # there 1.png may be any of three
        if foreign:
            cells = cells[1:]
        source = self.found(tmp_path, cells)
        assert classes_of(source, tmp_path) == dict(zip(self.NAMES[foreign:], "wxyz", strict=False))
        assert not any("file name alone" in note for note in source.notes)

    def test_a_link_to_the_folder_is_the_folder(self, tmp_path: Path) -> None:
        put(tmp_path / "d", self.NAMES)
        (tmp_path / "link").symlink_to(tmp_path / "d")
        (tmp_path / "l.csv").write_text("".join(f"{tmp_path}/d/{name},{label}\n" for name, label in zip(self.NAMES, "wxyz", strict=True)))
        assert open_source(tmp_path / "link", labels=tmp_path / "l.csv").labels.tolist() == [0, 1, 2, 3]

    def test_the_name_alone_is_said_where_folders_differ(self, tmp_path: Path) -> None:
        source = labelled(tmp_path, "train/a1.png,x\ntrain/a2.png,y\n/elsewhere/d/b1.jpg,x\n")
        assert source.notes[-1] == (
            f"2 of 3 rows of {tmp_path}/labels.csv are matched by file name alone, their folders differ (first train/a1.png, "
            f"taken for a1.png of {tmp_path}/d)"
        )
