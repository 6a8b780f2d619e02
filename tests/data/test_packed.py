"""Images inside larger files: tar files as timm's reader has them, and data sets as Hugging Face's package saves them."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from timm.data.readers.reader_image_in_tar import ReaderImageInTar

from tests.support.pictures import grey, make_tar, png, put, save_to_disk
from toast_core.data.digest import images_digest
from toast_core.data.load import load_data
from toast_core.data.sources import open_source
from toast_core.errors import DataError
from toast_core.loading import load_model

MEMBERS = {f"val/{name}/{number}.png": png(grey(10 * place + number)) for place, name in enumerate(("ant", "bee")) for number in range(3)}


def inner_tar(members: dict[str, bytes]) -> bytes:
    """The bytes of a tar file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


NESTED = {
    f"{one}.tar": inner_tar({f"{one}_{number}.png": MEMBERS[f"val/{one}/{number}.png"] for number in range(3)}) for one in ("ant", "bee")
}
DOTTED = {f"./{name}": content for name, content in MEMBERS.items()}


class TestTar:
    """What timm's reader gives, in any order and from any thread."""

    @pytest.mark.parametrize("members", [MEMBERS, NESTED, DOTTED], ids=["plain", "nested", "dot"])
    def test_classes_and_pixels_are_timms(self, tmp_path: Path, members: dict[str, bytes]) -> None:
        path = make_tar(tmp_path / "d.tar", members)
        source, reader = open_source(path), ReaderImageInTar(str(path), cache_tarinfo=False)
        timms = {file.read(): reader.class_idx_to_name[target] for file, target in (reader[at] for at in range(len(reader)))}
        ours = {source.raw(at).read(): source.classes[source.labels[at]] for at in range(len(source))}
        assert ours == timms and source.classes == ("ant", "bee") and source.notes == ()
        assert np.array_equal(np.asarray(source.open(4)), grey(11)) and not list(tmp_path.glob("*pickle*"))

    def test_a_folder_of_one_tar_file_a_class(self, tmp_path: Path) -> None:
        for name, content in NESTED.items():
            (tmp_path / name).write_bytes(content)
        source = open_source(tmp_path)
        assert source.classes == ("ant", "bee") and source.labels.tolist() == [0, 0, 0, 1, 1, 1]

    def test_batches_are_those_of_the_folder(self, tmp_path: Path) -> None:
        for name, content in MEMBERS.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
        model = load_model("demo_vit", "random", 2)
        packed = load_data(make_tar(tmp_path / "d.tar", MEMBERS), model, order="sorted")
        folder = load_data(tmp_path / "val", model, order="sorted")
        one, other = (next(data.batches(6)) for data in (packed, folder))
        assert one.images.equal(other.images) and one.labels.equal(other.labels)
        assert images_digest(packed) == images_digest(folder)

    def test_what_is_left_aside_is_said(self, tmp_path: Path) -> None:
        more = {"val/readme.txt": b"x", "__MACOSX/val/ant/._0.png": b"x", "val/ant/.DS_Store": b"x", "val/ant/0.png": png(grey(50))}
        path = make_tar(tmp_path / "d.tar", MEMBERS)
        with tarfile.open(path, "a") as tar:
            for name, content in more.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
            link = tarfile.TarInfo("val/ant/link.png")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        source = open_source(path)
        assert len(source) == 6 and np.array_equal(np.asarray(source.open(0)), grey(50))
        assert sorted(note.split(" (")[0] for note in source.notes) == [
            "left aside: 1 earlier version of a file in the archive", "left aside: 1 file that is no image by its name",
            "left aside: 1 hidden file or folder", "left aside: 1 link inside the archive", "left aside: 1 thumbnail or system folder",
        ]

    @pytest.mark.parametrize(("members", "message"), [
        ({"1.png": b"", "1.cls": b"0"}, r"image 1.png of .* lies in no folder, .*shards of WebDataset"),
        ({"train/ant/1.png": b"", "val/ant/1.png": b""}, "the folders of images in .* lie at several places, in train and val"),
        ({"train/1.png": b"", "val/2.png": b""}, "holds train, val: parts of a data set, not classes"),
        ({"ant/1.png": b"", "ant/more/2.png": b""}, "the folders of images in .* lie at several places"),
        ({"a/readme.txt": b"x"}, "holds no image"),
    ])
    def test_what_has_no_classes_is_refused_with_labels_alone(self, tmp_path: Path, members: dict[str, bytes], message: str) -> None:
        path = make_tar(tmp_path / "d.tar", members)
        with pytest.raises(DataError, match=message):
            open_source(path)
        if not message.startswith("holds"):
            assert not open_source(path, labelled=False).has_classes

    def test_a_compressed_or_cut_one_is_refused(self, tmp_path: Path) -> None:
        whole = make_tar(tmp_path / "whole.tar", MEMBERS).read_bytes()
        (tmp_path / "packed.tar").write_bytes(gzip.compress(whole))
        (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(DataError, match=r"packed.tar cannot be read .*: run gunzip on it first"):
            open_source(tmp_path / "packed.tar")
        with pytest.raises(DataError, match=r"cut.tar cannot be read as a tar file .*; copy it again"):
            open_source(tmp_path / "cut.tar")

    @pytest.mark.parametrize(("change", "says"), [
        (lambda whole, end: whole[:end], "has no end mark behind byte {end:,}, so that images may be missing; copy it again"),
        (lambda whole, end: whole[:end] + b"x" * 600, "is damaged behind byte {end:,}, so that images may be missing; copy it again"),
        (lambda whole, end: whole + inner_tar({"val/ant/9.png": png(grey(9))}), "goes on behind its end mark, as joined tar files do"),
        (lambda whole, end: whole + b"\0" * (1 << 20), "zeros, as a copy that was not finished does; compare it with the original"),
    ], ids=["cut", "damaged", "joined", "zeros"])
    @pytest.mark.parametrize("inside", [False, True])
    def test_an_end_that_is_none_is_said(self, tmp_path: Path, change: Callable[[bytes, int], bytes], says: str, inside: bool) -> None:
        whole = inner_tar({name.rpartition("/")[2]: content for name, content in MEMBERS.items()} if inside else MEMBERS)
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            tar.getmembers()
            end = tar.offset
        path = tmp_path / "d.tar"
        content = change(whole, end)
        path.write_bytes(inner_tar({"ant.tar": content}) if inside else content)
        (note,) = open_source(path).notes
        assert note.startswith(f"{path}:ant.tar " if inside else f"{path} ") and says.format(end=end) in note

    def test_a_file_that_shrinks_later_gives_a_reason(self, tmp_path: Path) -> None:
        path = make_tar(tmp_path / "d.tar", MEMBERS)
        data = load_data(path, load_model("demo_vit", "random", 2))
        path.write_bytes(path.read_bytes()[:1000])
        assert not list(data.batches(6)) and len(data.skipped) == 6
        assert data.skipped[0].startswith(f"{path}:val/")
        assert set(data.reasons) <= {"it is empty", "it is cut off after 488 bytes; copy it again"}


class TestSavedDataset:
    """What Dataset.save_to_disk writes, read where it lies."""

    IMAGES = tuple(png(grey(seed)) for seed in range(9))

    def test_rows_are_images_of_named_classes(self, tmp_path: Path) -> None:
        folder = save_to_disk(tmp_path / "d", self.IMAGES, [2, 0, 1] * 3, ["zebra", "ant", "bee"])
        for data in (folder, f"hfds-disk:{folder}"):
            source = open_source(data)
            assert source.classes == ("zebra", "ant", "bee") and source.numbered and source.labels.tolist() == [2, 0, 1] * 3
            assert all(np.array_equal(np.asarray(source.open(at)), grey(at)) for at in range(9))
        assert source.label_name(8) == f"{folder}/data-00001-of-00002.arrow:row 8"

    def test_plain_numbers_are_outputs(self, tmp_path: Path) -> None:
        source = open_source(save_to_disk(tmp_path / "d", self.IMAGES[:3], [0, 3, 1], None))
        assert source.classes == ("0", "1", "2", "3") and source.labels.tolist() == [0, 3, 1]

    def test_rows_without_bytes_are_said(self, tmp_path: Path) -> None:
        source = open_source(save_to_disk(tmp_path / "d", [self.IMAGES[0], None, self.IMAGES[2]], [0, 1, 1], ["a", "b"]))
        assert source.labels.tolist() == [0, 1] and source.notes[0] == "left aside: 1 row without an image (row 1)"
        assert np.array_equal(np.asarray(source.open(1)), grey(2))

    @pytest.mark.parametrize(("labels", "names", "message"), [
        ([-1, -1], ["a"], "has rows without a class, as test sets have"), (["x", "y"], None, "holds no class numbers; cast it with"),
    ])
    def test_labels_that_are_none_are_refused_and_not_needed(self, tmp_path: Path, labels: list, names: list | None, message: str) -> None:
        folder = save_to_disk(tmp_path / "d", self.IMAGES[:2], labels, names)
        with pytest.raises(DataError, match=message):
            open_source(folder)
        assert len(open_source(folder, labelled=False)) == 2

    def test_several_parts_a_cache_and_damage_are_refused(self, tmp_path: Path) -> None:
        folder = save_to_disk(tmp_path / "d" / "train", self.IMAGES[:2], [0, 1], ["a", "b"])
        (folder.parent / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        with pytest.raises(DataError, match=r"holds the parts train, test of a data set; give .*d/test or .*d/train"):
            open_source(folder.parent)
        with pytest.raises(DataError, match=r"holds no state.json and dataset_info.json; give a folder that Dataset.save_to_disk wrote"):
            open_source(f"hfds-disk:{put(tmp_path / 'x', ['a/1.png'])}")
        arrow = folder / "data-00000-of-00002.arrow"
        arrow.write_bytes(arrow.read_bytes()[:200])
        with pytest.raises(DataError, match=r"data-00000-of-00002.arrow cannot be read as a data set's images"):
            open_source(folder)

    def test_it_is_what_the_package_writes_and_reads(self, tmp_path: Path) -> None:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"img": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        rows = {"img": [{"bytes": content, "path": None} for content in self.IMAGES], "label": [0, 1, 1] * 3}
        saved = datasets.Dataset.from_dict(rows, features).shuffle(seed=1)
        saved.save_to_disk(tmp_path / "d", num_shards=2)
        source = open_source(tmp_path / "d")
        assert source.labels.tolist() == saved["label"]
        assert all(np.array_equal(np.asarray(source.open(at)), np.asarray(saved[at]["img"])) for at in range(9))

    @pytest.mark.parametrize(("labels", "message"), [
        ([True, False], "holds no class numbers; cast it with"),
        ([0, 10**11], r"has the class 100000000000, and outputs are numbered from 0 to 99,999; name them with"),
    ])
    def test_numbers_that_are_no_classes_are_refused(self, tmp_path: Path, labels: list, message: str) -> None:
        with pytest.raises(DataError, match=message):
            open_source(save_to_disk(tmp_path / "d", self.IMAGES[:2], labels, None))

    @pytest.mark.parametrize(("file", "content", "message"), [
        ("state.json", {"_data_files": "x"}, "_data_files of .*state.json is no list"),
        ("state.json", {"_data_files": None}, "_data_files of .*state.json is no list"),
        ("state.json", {"_data_files": [{"x": 1}]}, "state.json names no Arrow file"), ("state.json", {}, "names no Arrow file"),
        ("state.json", {"_data_files": [{"filename": "dataset_info.json"}]}, "cannot be read as a data set's images"),
        ("dataset_dict.json", {"splits": 5}, "splits of .*dataset_dict.json is no list"),
        ("dataset_info.json", {"features": {"image": {"_type": "Image"}, "kind": {}}}, r"call it label with dataset.rename_column"),
        ("dataset_info.json", {"features": {"image": {}, "label": {}}}, r"make one with dataset.cast_column\(NAME, datasets.Image\(\)\)"),
    ], ids=str)
    def test_odd_descriptions_are_refused(self, tmp_path: Path, file: str, content: dict, message: str) -> None:
        folder = save_to_disk(tmp_path / "d", self.IMAGES[:2], [0, 1], None)
        (folder / file).write_text(json.dumps(content))
        with pytest.raises(DataError, match=message):
            open_source(folder)

    def test_columns_of_bytes_alone_are_refused(self, tmp_path: Path) -> None:
        folder = save_to_disk(tmp_path / "d", self.IMAGES[:2], [0, 1], None)
        (folder / "dataset_info.json").write_text('{"features": {"label": {"_type": "Image"}}}')
        with pytest.raises(DataError, match=r"cannot be read as a data set's images \(images are stored as int64 and not as bytes"):
            open_source(folder, labelled=False)

    def test_a_batch_without_any_bytes_is_read_past(self, tmp_path: Path) -> None:
        source = open_source(save_to_disk(tmp_path / "d", [None, *self.IMAGES[:3]], [0, 1, 0, 1], ["a", "b"], rows=1))
        assert len(source) == 3 and all(np.array_equal(np.asarray(source.open(at)), grey(at)) for at in range(3))
        with pytest.raises(DataError, match="holds paths of images and not the images"):
            open_source(save_to_disk(tmp_path / "paths", [None, None], [0, 1], ["a", "b"]))
        with pytest.raises(DataError, match="empty has no rows"):
            open_source(save_to_disk(tmp_path / "empty", [], [], ["a", "b"]))

    def test_a_folder_of_other_files_is_named_by_them(self, tmp_path: Path) -> None:
        put(tmp_path, ["README.md", "train-0.parquet"])
        with pytest.raises(DataError, match=r"holds no image but train-0.parquet, a table of a data set; write a folder with Dataset"):
            open_source(tmp_path)
