"""`toast certify` end to end on a tiny model: what is issued holds, and whatever is changed afterwards is named. No time is asserted."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.support.families import tiny_demo
from tests.support.folders import make_folder
from toast_core.cli import app as cli
from toast_core.export import export_model
from toast_core.loading import load_model
from toast_core.models.demo import DEMO_BUILDERS
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.studies.certificate import measure
from toast_core.studies.certificate.result import Certificate

CLASSES = {"bag": 6, "coat": 5, "shirt": 7}
BASE = ("--model", "demo_tiny", "--weights", "w.safetensors", "--schedule", "s.json", "--calibration", "fit")
ISSUE = (*BASE, "--data", "val", "--batch-size", "4", "--export", "pruned.safetensors", "-o", "c.json")
Say = Callable[..., tuple[int, str, str]]


def run(*arguments: str) -> int:
    """Run the command line in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["toast", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
    return caught.value.code


@pytest.fixture(autouse=True, scope="module")
def small() -> None:
    """A tiny model has a name, and is timed in few pairs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DEMO_BUILDERS, "demo_tiny", tiny_demo)
        patch.setattr(measure, "PAIRS", 5)
        yield


@pytest.fixture(scope="module")
def issued(small: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with weights, schedule, images, an exported file and their certificate."""
    root = tmp_path_factory.mktemp("issued")
    save_file(tiny_demo(3).state_dict(), root / "w.safetensors")
    schedule = Schedule.uniform(3, qk=0.5, vo=0.25, fc2=0.5, selection="calibrated", compensation=FULL)
    (root / "s.json").write_text(schedule.to_json())
    make_folder(root / "val", CLASSES)
    make_folder(root / "fit", {"any": 12})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        assert run("apply", *BASE, "--batch-size", "4", "-o", "pruned.safetensors") == 0
        assert run("certify", *ISSUE) == 0
    return root


@pytest.fixture
def folder(issued: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder to tamper with, as the working folder."""
    shutil.copytree(issued, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def say(folder: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    """Run toast certify in the copy; status, stdout and stderr."""

    def said(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = run("certify", *arguments)
        return code, *capsys.readouterr()

    return said


def fails(text: str) -> list[str]:
    """The lines that name a failing claim."""
    return [line.removeprefix("fails: ") for line in text.splitlines() if line.startswith("fails: ")]


def flip(path: Path, key: str, bit: int = 0) -> None:
    """Flip one bit of the first value of a tensor, in place."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    state[key].view(torch.int32).flatten()[0] ^= 1 << bit
    save_file(state, path, metadata)


class TestIssue:
    def test_every_form_is_in_it(self, folder: Path) -> None:
        certificate = Certificate.from_dict(json.loads((folder / "c.json").read_text()))
        baseline, masked, compact, exported = certificate.forms
        assert certificate.digest() == certificate.sha256 and certificate.image_count == sum(CLASSES.values())
        assert (exported.form, exported.file) == ("exported", "pruned.safetensors") and certificate.differing() == []
        assert exported.size_bytes == (folder / "pruned.safetensors").stat().st_size > compact.size_bytes
        assert baseline.macs == masked.macs > compact.macs == exported.macs
        assert 0 < compact.counted_macs == exported.counted_macs < baseline.counted_macs
        assert baseline.params == masked.params > compact.params == exported.params
        assert masked.counts == compact.counts == exported.counts
        assert masked.same_count == exported.same_count == 18 and exported.largest_difference == 0
        assert [(speed.batch_size, speed.pairs) for speed in exported.speeds] == [(1, 5), (4, 5)]
        assert certificate.setting.threads == torch.get_num_threads() and {"torch", "timm"} <= set(certificate.setting.versions)

    def test_json_is_the_certificate_and_what_is_said_beside_it(self, say: Say, folder: Path) -> None:
        code, out, _ = say(*ISSUE, "--json")
        told = {name: (document := json.loads(out))[name] for name in ("transform", "class_to_index", "notes")}
        assert code == 0 and document == json.loads((folder / "c.json").read_text()) | told
        assert told["class_to_index"] == {"bag": 0, "coat": 1, "shirt": 2} and told["notes"] == []

    def test_people_read_the_forms_side_by_side(self, say: Say) -> None:
        code, out, _ = say(*ISSUE)
        lines = out.splitlines()
        assert code == 0 and lines[0] == "demo_tiny on 18 images of val, 0 skipped"
        assert next(line.split() for line in lines if "baseline" in line) == ["baseline", "masked", "compact", "file", "1"]
        assert next(line.split()[-3:] for line in lines if line.startswith("same class")) == ["18", "18", "18"]
        assert lines[-1].startswith("wrote c.json, sha256 ")

    def test_a_file_that_is_not_the_compact_model_is_said(self, say: Say, folder: Path) -> None:
        flip(folder / "pruned.safetensors", "head.weight", 23)
        code, out, _ = say(*ISSUE)
        assert code == 1
        assert any(line.startswith("differs: exported pruned.safetensors: a logit differs from the") for line in out.splitlines())

    @pytest.mark.export
    def test_programs_are_certified_beside_the_weights(self, say: Say, folder: Path) -> None:
        compact, images = load_model(weights=folder / "pruned.safetensors"), torch.randn(4, 1, 28, 28)
        export_model(compact, "torch_export", folder / "m.pt2", images)
        code, out, _ = say(*ISSUE, "--export", "m.pt2", "--json")
        form = json.loads(out)["forms"][4]
        assert code == 0 and (form["file"], form["params"], form["same_count"]) == ("m.pt2", None, 18)
        assert form["counted_macs"] == json.loads(out)["forms"][2]["counted_macs"]
        assert say("--check", "c.json")[0] == 0
        (folder / "m.pt2").write_bytes((folder / "m.pt2").read_bytes() + b"0")
        code, out, _ = say("--check", "c.json")
        assert code == 1 and [line.partition(":")[0] for line in fails(out)] == ["exported m.pt2"]

    def test_nothing_half_written_stays(self, say: Say, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        before = (folder / "c.json").read_text()
        monkeypatch.setattr(Path, "replace", full)
        code, _, err = say(*ISSUE)
        assert code == 2
        assert err == "toast: cannot write c.json (No space left on device); choose a folder that can be written and has room\n"
        assert (folder / "c.json").read_text() == before and not list(folder.glob(".c.json*"))


class TestPrunedAlone:
    """A file from toast apply, and nothing said of its baseline."""

    ALONE = ("--weights", "pruned.safetensors", "--calibration", "fit", "--data", "val", "--batch-size", "4", "-o", "alone.json")

    def test_the_certificate_is_that_of_the_baseline_with_the_file_as_a_form(self, say: Say, folder: Path) -> None:
        code, out, err = say(*self.ALONE)
        alone, named = (Certificate.from_dict(json.loads((folder / name).read_text())) for name in ("alone.json", "c.json"))
        assert code == 0 and "differs" not in out, err
        assert (alone.digests, alone.schedule, alone.input) == (named.digests, named.schedule, named.input)
        assert [(form.form, form.file, form.sha256, form.counts) for form in alone.forms] == [
            (form.form, form.file, form.sha256, form.counts) for form in named.forms
        ]
        assert (alone.asked.setup.model, alone.asked.setup.weights) == ("demo_tiny", "w.safetensors")
        assert say("--check", "alone.json")[0] == 0

    def test_a_file_fitted_on_other_images_differs(self, say: Say, folder: Path) -> None:
        make_folder(folder / "other", {"any": 9})
        code, out, _ = say(*self.ALONE[:3], "other", *self.ALONE[4:])
        assert code == 1 and "differs: exported pruned.safetensors: " in out

    def test_a_baseline_that_is_not_there_is_asked_for(self, say: Say, folder: Path) -> None:
        flip(folder / "w.safetensors", "head.weight")
        code, _, err = say(*self.ALONE)
        said = "toast: pruned.safetensors holds the pruned model, and its baseline came from 'w.safetensors sha256:"
        assert code == 2 and err.startswith(said)
        assert err.endswith("give --weights BASELINE --schedule pruned.safetensors --export pruned.safetensors\n")

    def test_the_model_need_not_be_named_where_the_schedule_is(self, say: Say, folder: Path) -> None:
        """It is then the weights that say it, or nobody."""
        code, _, err = say("--weights", "w.safetensors", "--schedule", "pruned.safetensors", "--data", "val", "-o", "x.json")
        assert code == 2 and "needs calibration images" not in err and "model" in err


class TestCheck:
    def test_what_was_issued_holds(self, say: Say) -> None:
        code, out, _ = say("--check", "c.json")
        assert code == 0 and not fails(out)
        assert out.splitlines()[-1].startswith("every claim holds: digests, accuracy, agreement, MACs, parameters and sizes of 4 forms")
        assert "compact, batch 4: " in out and "(measured again, no claim)" in out

    def test_it_holds_for_copies_elsewhere(self, say: Say, folder: Path) -> None:
        for name in ("w.safetensors", "s.json", "val", "pruned.safetensors", "fit"):
            (folder / name).rename(folder / f"moved_{name}")
        code, out, _ = say(
            "--check", "c.json", "--weights", "moved_w.safetensors", "--schedule", "moved_s.json", "--data", "moved_val", "--calibration",
            "moved_fit", "--export", "moved_pruned.safetensors", "--json",
        )
        document = json.loads(out)
        assert code == 0 and document["holds"] and document["failed"] == [] and document["same_machine_kind"]
        assert document["measured_again"]["forms"][3]["file"] == "moved_pruned.safetensors"

    def test_the_schedule_travels_in_the_certificate(self, say: Say, folder: Path) -> None:
        (folder / "s.json").unlink()
        assert say("--check", "c.json")[0] == 0

    @pytest.mark.parametrize("key", ["head.weight", "blocks.0.attn.qkv.weight", "blocks.2.norm2.bias"])
    def test_one_flipped_weight(self, say: Say, folder: Path, key: str) -> None:
        flip(folder / "w.safetensors", key)
        code, out, _ = say("--check", "c.json")
        (line,) = fails(out)
        assert code == 1 and line.startswith("weights: sha256 is ") and line.endswith("at least one weight was changed")
        assert out.splitlines()[-1] == "figures were not measured again, because what they are about has changed"

    def test_one_flipped_weight_of_the_exported_file(self, say: Say, folder: Path) -> None:
        flip(folder / "pruned.safetensors", "head.bias")
        code, out, _ = say("--check", "c.json")
        (line,) = fails(out)
        assert code == 1 and line.startswith("exported pruned.safetensors: sha256 is ") and line.endswith("the file was changed")

    def test_an_edited_schedule(self, say: Say, folder: Path) -> None:
        schedule = Schedule.from_json((folder / "s.json").read_text())
        (folder / "s.json").write_text(schedule.with_ratio(1, "fc2", 0.4).to_json())
        code, out, _ = say("--check", "c.json")
        (line,) = fails(out)
        assert code == 1 and line.startswith("schedule: sha256 is ") and line.endswith("block 1 fc2 is 0.4, certified 0.5")

    def test_a_swapped_data_set(self, say: Say, folder: Path) -> None:
        make_folder(folder / "other", dict.fromkeys(CLASSES, 6))
        code, out, _ = say("--check", "c.json", "--data", "other")
        (line,) = fails(out)
        assert code == 1 and line.startswith("data: sha256 is ") and "the images or their labels were swapped" in line

    def test_images_moved_to_another_class_and_other_calibration(self, say: Say, folder: Path) -> None:
        (folder / "val" / "bag" / "005.png").rename(folder / "val" / "coat" / "005.png")
        (folder / "fit" / "any" / "003.png").unlink()
        code, out, _ = say("--check", "c.json")
        assert code == 1 and [line.partition(":")[0] for line in fails(out)] == ["data", "calibration"]

    def test_a_certificate_edited_by_hand_names_the_edit_too(self, say: Say, folder: Path) -> None:
        document = json.loads((folder / "c.json").read_text())
        document["forms"][2]["params"] -= 1
        document["forms"][2]["same_count"] -= 1
        (folder / "c.json").write_text(json.dumps(document))
        code, out, _ = say("--check", "c.json", "--json")
        seal, params, same = json.loads(out)["failed"]
        assert code == 1 and seal.startswith("certificate: its sha256 is ") and seal.endswith("it was edited after it was written")
        assert params.startswith("compact: params is ") and same.startswith("compact: same count is 18 of 18 images, certified 17")

    def test_an_edit_sealed_anew_still_fails(self, say: Say, folder: Path) -> None:
        document = json.loads((folder / "c.json").read_text())
        document["forms"][2]["macs"] -= 1000
        (folder / "c.json").write_text(Certificate.from_dict(document).sealed().to_json())
        code, out, _ = say("--check", "c.json")
        assert code == 1 and [line.partition(" is ")[0] for line in fails(out)] == ["compact: macs"]


class TestInputErrors:
    @pytest.mark.parametrize(("arguments", "message"), [
        ((), "toast certify needs --data and -o FILE, and --schedule with the baseline, or --weights with a file from toast apply"),
        (("--weights", "w.safetensors", "--data", "val", "-o", "c.json"), "toast certify needs --data and -o FILE, and --schedule with"),
        (
            ("--weights", "pruned.safetensors", "--model", "demo_vit", "--data", "val", "-o", "c.json"),
            "pruned.safetensors holds a pruned demo_tiny, not demo_vit; leave out --model",
        ),
        (("--schedule", "w.safetensors", *BASE[:4], "--data", "val", "-o", "c.json"), "w.safetensors holds weights and no schedule; give"),
        (("--check", "c.json", "--model", "demo_vit"), "--check takes model from the certificate; leave out --model"),
        (("--check", "c.json", "--images", "3"), "--check takes images from the certificate; leave out --images"),
        (("--check", "none.json"), "certificate none.json cannot be read (No such file or directory); write one with toast certify -o"),
        (("--check", "w.safetensors"), "certificate w.safetensors is not a JSON document"),
        (("--check", "s.json"), "certificate has an unknown field blocks; certify again"),
        (("--check", "c.json", "--export", "a", "--export", "b"), "2 --export are given, the certificate has 1; give one for each"),
        (("--check", "c.json", "--export", "gone.safetensors"), "export gone.safetensors is not there, or what belongs"),
        (("--check", "c.json", "--weights", "gone.safetensors"), "weights file gone.safetensors does not exist"),
        (("--check", "c.json", "--schedule", "gone.json"), "schedule file gone.json cannot be read"),
        ((*BASE, "--data", "val", "-o", "gone/c.json"), "cannot write gone/c.json; choose a file in a folder that exists"),
        ((*ISSUE, "--export", "pruned.safetensors"), "the same --export is given twice; keep one of them"),
        ((*ISSUE, "--export", "m.onnx"), "m.onnx is not there; name a file from toast export"),
        ((*BASE[:-2], "--data", "val", "-o", "c.json"), "the schedule needs calibration images; pass --calibration DATA"),
    ])
    def test_each_is_one_line(self, say: Say, arguments: tuple[str, ...], message: str) -> None:
        code, _, err = say(*arguments)
        assert code == 2 and err.startswith(f"toast: {message}") and err.count("\n") == 1

    @pytest.mark.parametrize("name", ["forms", "digests", "sha256", "asked", "setting"])
    def test_a_missing_field(self, say: Say, folder: Path, name: str) -> None:
        document = json.loads((folder / "c.json").read_text())
        del document[name]
        (folder / "c.json").write_text(json.dumps(document))
        assert say("--check", "c.json") == (2, "", f"toast: certificate lacks {name}; certify again\n")

    def test_another_version(self, say: Say, folder: Path) -> None:
        document = json.loads((folder / "c.json").read_text())
        (folder / "c.json").write_text(json.dumps({**document, "version": 3}))
        assert say("--check", "c.json")[2] == "toast: certificate version is 3, this program reads 2; certify again or update it\n"
