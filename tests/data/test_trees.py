"""Folders as people have them: what is read, what is left aside and said, and what is refused because it is the wrong folder."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from tests.support.pictures import grey, put, save
from toast_core.data.image_set import image_endings
from toast_core.data.sources import open_source
from toast_core.data.splits import are_splits, folders_to_give
from toast_core.errors import DataError

CLASSES = ("ant/1.png", "ant/2.png", "bee/1.png")


class TestTheRightFolder:
    """Classes named like the parts of a data set would give an accuracy that means nothing."""

    @pytest.mark.parametrize(("folders", "give"), [
        (("train/ant", "train/bee", "val/ant", "val/bee"), "data/val or data/train"),
        (("Training/ant", "Testing/bee"), "data/Testing or data/Training"),
        (("TRAIN/ant", "valid/ant", "Test/ant"), "data/valid or data/Test or data/TRAIN"),
        (("train/ant",), "data/train"),
        (("dev/ant", "holdout/bee"), "data/dev or data/holdout"),
        (("train2017/ant", "val2017/ant"), "data/val2017 or data/train2017"),
        (("seg_train/seg_train/ant", "seg_test/seg_test/ant"), "data/seg_test/seg_test or data/seg_train/seg_train"),
        (("imagenet/train/ant", "imagenet/val/ant"), "data/imagenet/val or data/imagenet/train"),
        (("Data/CLS-LOC/train/ant", "Data/CLS-LOC/val/ant"), "data/Data/CLS-LOC/val or data/Data/CLS-LOC/train"),
        (("data/ant", "data/bee"), "data/data"),
        (("images/ant", "images/bee"), "data/images"),
        (("train/ant", "val/ant", "extra/ant"), "data/val or data/train or data/extra"),
        (("train_images/ant", "test-images/ant"), "data/test-images or data/train_images"),
        (("fold1/ant", "fold2/ant"), "data/fold1 or data/fold2"),
        (("Val/ant", "extra/ant"), "data/Val or data/extra"),
        (("labels", "valid"), "data/valid or data/labels"),
        (("bad", "validation", "good"), "data/validation or data/bad or data/good"),
        (("sample/ant", "sample/bee", "test/ant", "test/bee"), "data/test or data/sample"),
        (("train/ant", "train/bee", "train_masks/ant", "train_masks/bee"), "data/train or data/train_masks"),
    ])
    def test_one_above_is_refused_with_the_one_to_give(self, tmp_path: Path, folders: tuple[str, ...], give: str) -> None:
        root = put(tmp_path / "data", [f"{folder}/1.png" for folder in folders])
        with pytest.raises(DataError, match=r"is a folder above the classes: .*; give ") as caught:
            open_source(root)
        assert str(caught.value).partition("; give ")[2].replace(f"{tmp_path}/", "") == give
        for better in str(caught.value).partition("; give ")[2].split(" or "):
            if "ant" in {path.name for path in Path(better).iterdir()}:
                assert "ant" in open_source(better).classes

    def test_a_folder_beside_the_parts_without_images_changes_nothing(self, tmp_path: Path) -> None:
        root = put(tmp_path / "d", ["train/ant/1.png", "annotations/ant.xml", "README.md"])
        with pytest.raises(DataError, match=r"train is no class; give .*d/train"):
            open_source(root)

    @pytest.mark.parametrize("names", [
        ("bus", "car", "train"), ("bullet_train", "steam_train"), ("control", "test"), ("invalid", "valid"), ("devil", "latest", "trains"),
        ("a", "b"), ("cat",), ("1", "2"), ("image 1", "image 2"), ("not valid", "valid"), ("train", "valley"),
    ])
    def test_classes_that_sound_alike_stay_classes(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        assert open_source(put(tmp_path / "d", [f"{name}/1.png" for name in names])).classes == names

    def test_a_test_strip_by_camera_stays_a_class(self, tmp_path: Path) -> None:
        names = ["control/day 1/1.png", "control/day 2/1.png", "test/day 2/1.png", "test/day 3/1.png"]
        assert open_source(put(tmp_path / "d", names)).classes == ("control", "test")

    def test_the_rule_is_quick_with_as_many_names_as_image_net_has(self) -> None:
        names = [f"n{number:08}/{image}.jpg" for number in range(1000) for image in range(50)]
        assert not are_splits([name.partition("/")[0] for name in names[::50]]) and folders_to_give(names, "val") == []


class TestWhatIsRead:
    """Everything that Pillow reads, wherever a link leads."""

    @pytest.mark.parametrize("ending", [
        "webp", "bmp", "tif", "tiff", "gif", "ppm", "pgm", "jp2", "j2k", "avif", "tga", "jfif", "jpe", "ico", "dds", "sgi", "pcx", "apng",
        "WEBP", "TIF", "Gif",
    ])
    def test_an_ending_of_pillow(self, tmp_path: Path, ending: str) -> None:
        options = {"format": {"j2k": "JPEG2000"}.get(ending)} if ending == "j2k" else {}
        save(tmp_path / "a" / f"x.{ending}", grey(1, (32, 32)), **options)
        save(tmp_path / "b" / "x.png", grey(1))
        source = open_source(tmp_path)
        assert source.labels.tolist() == [0, 1] and source.notes == ()
        image = np.asarray(source.open(0).convert("L"), np.float64)
        assert image.shape == (32, 32) and np.abs(image - grey(1, (32, 32))).mean() < 6

    def test_the_first_frame_counts(self, tmp_path: Path) -> None:
        from PIL import Image

        frames = [Image.fromarray(grey(seed)) for seed in (1, 2)]
        for name in ("x.gif", "x.tif", "x.webp"):
            whole = {"lossless": True} if "webp" in name else {}
            save(tmp_path / "a" / name, frames[0], save_all=True, append_images=frames[1:], **whole)
        source = open_source(tmp_path)
        assert all(np.abs(np.asarray(source.open(at).convert("L"), int) - grey(1)).max() < 3 for at in range(3))

    def test_nothing_that_runs_a_program_or_has_no_pixels_is_read(self) -> None:
        assert not image_endings() & {".eps", ".ps", ".pdf", ".wmf", ".emf", ".h5", ".mpg"}
        assert image_endings() >= {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".jp2", ".mpo"}

    def test_links_to_folders_and_files_are_followed_as_often_as_there_are(self, tmp_path: Path) -> None:
        store = put(tmp_path / "store", ["one/1.png", "one/2.png", "x.png"])
        root = put(tmp_path / "d", ["ant/0.png", "bee/0.png"])
        (root / "ant" / "camera-a").symlink_to(store / "one")
        (root / "ant" / "camera-b").symlink_to(store / "one")
        (root / "bee" / "x.png").symlink_to(store / "x.png")
        (root / "cat").symlink_to(store / "one")
        source = open_source(root)
        assert np.bincount(source.labels).tolist() == [5, 2, 2] and source.classes == ("ant", "bee", "cat") and source.notes == ()

    def test_loops_and_dead_links_are_said_and_end(self, tmp_path: Path) -> None:
        root = put(tmp_path / "d", CLASSES)
        (root / "ant" / "again").symlink_to(root)
        (root / "ant" / "self").symlink_to(root / "ant")
        (root / "bee" / "up").symlink_to("/")
        (root / "bee" / "gone.png").symlink_to(root / "nowhere.png")
        (root / "bee" / "round.png").symlink_to(root / "bee" / "round.png")
        source = open_source(root)
        assert len(source) == 3
        assert source.notes == (
            "left aside: 4 links back to folders that they lie in (first ant/again)", "left aside: 1 link to nothing (bee/gone.png)",
        )

    def test_folders_that_link_to_each_other_end(self, tmp_path: Path) -> None:
        root = put(tmp_path / "d", CLASSES)
        for name in ("x", "y", "z"):
            (tmp_path / name).mkdir()
        for name in ("x", "y", "z"):
            for other in ("x", "y", "z"):
                (tmp_path / name / f"to_{other}").symlink_to(tmp_path / other)
        (root / "ant" / "maze").symlink_to(tmp_path / "x")
        assert len(open_source(root)) == 3

    def test_a_pipe_is_not_opened(self, tmp_path: Path) -> None:
        root = put(tmp_path / "d", CLASSES)
        os.mkfifo(root / "ant" / "pipe.png")
        (root / "ant" / "zero.png").symlink_to("/dev/zero")
        source = open_source(root)
        assert len(source) == 3 and source.notes == ("left aside: 2 pipes, sockets or devices (first ant/pipe.png)",)


class TestWhatIsLeftAside:
    """Counted, named, and with the reason."""

    def test_each_reason_is_a_line(self, tmp_path: Path) -> None:
        root = put(tmp_path / "d", [
            *CLASSES, "ant/a.txt", "ant/b.csv", "bee/photo.heic", "loose.png", ".git/x.png", "ant/._1.png", "@eaDir/t.png",
            "ant/@eaDir/SYNOFILE_THUMB_M.png", "__MACOSX/ant/._1.png", "ant/Thumbs.db", "ant/.ipynb_checkpoints/1-checkpoint.png",
        ])
        (root / "cow").mkdir()
        source = open_source(root)
        assert source.classes == ("ant", "bee", "cow") and len(source) == 3
        assert sorted(source.notes) == sorted((
            "left aside: 3 hidden files or folders (first .git)",
            "left aside: 4 thumbnail or system folders (first @eaDir)",
            "left aside: 2 files that are no images by their names (first ant/a.txt)",
            "left aside: 1 image of a kind that is not read here, to be converted to PNG or JPEG (bee/photo.heic)",
            "left aside: 1 image beside the class folders (loose.png)",
            "1 of 3 class folders holds no image (cow) and still counts",
        ))

    def test_a_folder_that_cannot_be_listed_is_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        root, scandir = put(tmp_path / "d", CLASSES), os.scandir

        def guarded(path: os.PathLike) -> object:
            if Path(path).name == "bee":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        source = open_source(root)
        assert len(source) == 2 and source.notes[0] == "left aside: 1 file or folder that cannot be looked at (bee)"

    def test_nothing_is_said_of_a_plain_folder(self, tmp_path: Path) -> None:
        assert open_source(put(tmp_path, CLASSES)).notes == ()


class TestDigest:
    """What is read as ever keeps its name in the evidence store."""

    def test_it_is_of_relative_names_and_sizes_in_their_order(self, tmp_path: Path) -> None:
        names = ["ant/a/1.png", "ant/a.png", "ant/a-b/2.png", "ant2/1.png", "Zoo/1.jpg"]
        root = put(tmp_path / "d", [*names, "ant/notes.txt", ".x/1.png"])
        files = [path for folder in sorted(root.iterdir()) if not folder.name.startswith(".")
                 for path in sorted(folder.rglob("*")) if path.suffix in (".png", ".jpg")]
        lines = "".join(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\n" for path in files)
        source = open_source(root)
        assert list(source.files) == files and source.digest == hashlib.sha256(lines.encode()).hexdigest()
        assert open_source(root, labelled=False).digest == source.digest


class TestWithoutLabels:
    """Calibration and label-free training take any tree, and draw as evenly as they did from class folders."""

    @pytest.mark.parametrize(("names", "groups"), [
        (["1.png", "2.png"], {"(no class)": 2}),
        (["ant/1.png", "bee/2.png", "bee/3.png"], {"ant": 1, "bee": 2}),
        (["ant/x/y/1.png", "ant/2.png", "3.png"], {"ant": 2, "(no class)": 1}),
        (["a/b/c/1.webp", "a/b/2.png"], {"a": 2}),
        (["train/ant/1.png", "val/ant/2.png"], {"train": 1, "val": 1}),
    ])
    def test_any_tree(self, tmp_path: Path, names: list[str], groups: dict[str, int]) -> None:
        source = open_source(put(tmp_path, names), labelled=False)
        assert dict(zip(source.classes, np.bincount(source.labels).tolist(), strict=True)) == groups

    def test_parts_of_a_data_set_are_said_and_are_no_classes(self, tmp_path: Path) -> None:
        source = open_source(put(tmp_path, ["train/ant/1.png", "val/ant/2.png"]), labelled=False)
        assert not source.has_classes and source.notes == (
            "read as one set, without labels: images of train 1, val 1; give one of these folders to read it alone",
        )
        assert open_source(put(tmp_path / "x", CLASSES), labelled=False).has_classes

    @pytest.mark.parametrize("name", [".", "none"])
    def test_nothing_to_read_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match=r"is empty|is not there"):
            open_source(tmp_path / name, labelled=False)


class TestList:
    """A text file with an image a line."""

    def test_lines_are_relative_to_the_file_or_absolute(self, tmp_path: Path) -> None:
        put(tmp_path / "d", ["1.png", "sub/2.webp", "with blank.png", "3.jpg"])
        lines = ["1.png", "sub/2.webp", str(tmp_path / "d" / "with blank.png"), "", "sub\\2.webp", "3.jpg 7"]
        (tmp_path / "d" / "list.txt").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
        source = open_source(tmp_path / "d" / "list.txt", labelled=False)
        assert [file.name for file in source.files] == ["1.png", "2.webp", "with blank.png", "2.webp", "3.jpg"]
        assert not source.has_classes and source.notes == ()

    def test_missing_files_are_counted_or_too_many(self, tmp_path: Path) -> None:
        put(tmp_path, ["1.png", "2.png", "3.txt"])
        (tmp_path / "list.txt").write_text("1.png\n2.png\ngone.png\n3.txt\n")
        source = open_source(tmp_path / "list.txt", labelled=False)
        assert len(source) == 2 and source.notes == (
            "left aside: 1 line of the list that names no file (gone.png)", "left aside: 1 file that is no image by its name (3.txt)",
        )
        (tmp_path / "list.txt").write_text("1.png\ngone.png\n")
        with pytest.raises(DataError, match=r"names 1 images and 1 files that are not there, it begins with '1.png'; give a text file"):
            open_source(tmp_path / "list.txt", labelled=False)

    @pytest.mark.parametrize("line", ['""', '" "', '"', '"""'])
    def test_a_line_of_quotes_names_no_file(self, tmp_path: Path, line: str) -> None:
        put(tmp_path, ["1.png", "2.png"])
        (tmp_path / "list.txt").write_text(f'1.png\n{line}\n"2.png"\n')
        source = open_source(tmp_path / "list.txt", labelled=False)
        assert len(source) == 2 and source.notes == (f"left aside: 1 line of the list that names no file ({line})",)

    def test_it_has_no_classes(self, tmp_path: Path) -> None:
        put(tmp_path, ["1.png"])
        (tmp_path / "list.txt").write_text("1.png\n")
        with pytest.raises(DataError, match=r"a list of images has no classes; pass --labels FILE.csv"):
            open_source(tmp_path / "list.txt")


@pytest.mark.parametrize(("name", "said"), [
    ("d.zip", "an archive; unpack it"), ("d.tar.gz", "compressed, to be read from its start only"), ("d.TGZ", "compressed"),
    ("d.parquet", "write a folder with Dataset.save_to_disk"), ("d.npz", "an array file; write its images as files"),
    ("d.pkl", "a pickle, which could run anything and is not opened"), ("d.tfrecord", "a stream of records"),
    ("d.csv", "the table as --labels FILE.csv"), ("d.png", "one image"),
])
def test_other_files_are_named_with_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"anything")
    with pytest.raises(DataError, match=said):
        open_source(tmp_path / name)
