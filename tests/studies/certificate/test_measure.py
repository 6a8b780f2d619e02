"""What is measured is what the models are: digests see every change, counts are PyTorch's."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.families import images_for, macs_without_slots, shared_model
from tests.support.folders import make_folder
from toast_core.data.digest import images_digest
from toast_core.data.load import ImageData, load_data
from toast_core.errors import CertificateError, DataError, ExportError, ScheduleError
from toast_core.export import export_model
from toast_core.loading import load_model
from toast_core.models.counting import count_macs, counted_macs
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.schedule import Schedule
from toast_core.studies.certificate.measure import check_subject, export_digest, open_form


def folder_data(root: Path) -> ImageData:
    """All images of a folder for a tiny model, in an order of their own."""
    return load_data(root, shared_model("plain"), labelled=False)


class TestImagesDigest:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return make_folder(tmp_path / "images", {"a": 2, "b": 2})

    def test_it_is_the_same_for_the_same_images(self, root: Path) -> None:
        assert images_digest(folder_data(root)) == images_digest(folder_data(root))

    def test_one_byte_of_a_file_of_the_same_size_changes_it(self, root: Path) -> None:
        before, source = images_digest(folder_data(root)), folder_data(root).source.digest
        content = bytearray((root / "a" / "000.png").read_bytes())
        content[-1] ^= 1
        (root / "a" / "000.png").write_bytes(content)
        assert images_digest(folder_data(root)) != before
        assert folder_data(root).source.digest == source

    def test_a_label_a_subset_and_an_order_change_it(self, root: Path) -> None:
        data = folder_data(root)
        moved = ImageData(data.source, data.transform, data.index[::-1], data.order, data.seed)
        fewer = ImageData(data.source, data.transform, data.index[:3], data.order, data.seed)
        found = [images_digest(one) for one in (data, moved, fewer)]
        (root / "a").rename(root / "c")
        found.append(images_digest(folder_data(root)))
        assert len(set(found)) == 4

    def test_an_embedded_set_is_digested_by_its_pixels(self) -> None:
        model = load_model("demo_vit", "random")
        first, second = (load_data("fashion-mnist", model, 20, seed=seed) for seed in (0, 1))
        assert images_digest(first) == images_digest(load_data("fashion-mnist", model, 20, seed=0))
        assert images_digest(first) != images_digest(second)
        swapped = ImageData(first.source, first.transform, first.index[np.array([1, 0, *range(2, 20)])], "shuffled", 0)
        assert images_digest(first) != images_digest(swapped)

    def test_a_file_that_is_gone_is_one_line(self, root: Path) -> None:
        data = folder_data(root)
        (root / "b" / "001.png").unlink()
        with pytest.raises(DataError, match=r"001.png cannot be read \(No such file or directory\); mend or remove it"):
            images_digest(data)


class TestCounts:
    @pytest.mark.parametrize("name", ["plain", "swin"])
    def test_pytorch_counts_what_shapes_say(self, name: str) -> None:
        model = shared_model(name)
        assert counted_macs(model, images_for(name, 1)) == macs_without_slots(model, count_macs(model))

    def test_outside_of_pytorch_nothing_is_counted(self) -> None:
        assert counted_macs(lambda images: torch.from_numpy(images.numpy() @ images.numpy().T), torch.zeros(2, 3)) == 0


class TestRefusals:
    def test_a_pruned_model_is_no_baseline(self) -> None:
        model = shared_model("plain")
        pruned = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
        with pytest.raises(CertificateError, match="is already pruned; certify the baseline with the schedule"):
            check_subject(pruned, Schedule.uniform(3, qk=0.5))

    def test_a_schedule_that_prunes_nothing_or_does_not_fit(self) -> None:
        with pytest.raises(ScheduleError, match="the schedule prunes nothing, so there is nothing to certify"):
            check_subject(shared_model("plain"), Schedule.uniform(3))
        with pytest.raises(ScheduleError, match=r"the schedule has 4 blocks but .* has 3"):
            check_subject(shared_model("plain"), Schedule.uniform(4, qk=0.5))

    def test_a_model_without_weights(self) -> None:
        with pytest.raises(CertificateError, match="demo_vit was loaded without weights, for counting only"):
            check_subject(load_model("demo_vit", "none"), Schedule.uniform(12, qk=0.5))

    def test_a_format_that_cannot_be_opened(self) -> None:
        with pytest.raises(ExportError, match=r"m.bin is no export; its name must end in .safetensors"):
            open_form(Path("m.bin"), torch.device("cpu"))


class TestExports:
    @pytest.fixture
    def loader(self, tmp_path: Path) -> Path:
        model = shared_model("plain")
        compact = apply_plan(model, make_plan(model, Schedule.uniform(3, qk=0.5)))
        export_model(compact, "loader", tmp_path / "m.py", images_for("plain", 4))
        return tmp_path / "m.py"

    def test_a_loader_is_digested_with_its_program(self, loader: Path) -> None:
        before, program = export_digest(loader), loader.with_suffix(".program.pt2")
        content = bytearray(program.read_bytes())
        content[len(content) // 2] ^= 1
        program.write_bytes(content)
        assert export_digest(loader) != before
        program.unlink()
        with pytest.raises(CertificateError, match=r"m.py is not there, or what belongs to it is not; pass --export for each file"):
            export_digest(loader)

    def test_what_runs_on_the_cpu_alone_says_so(self, loader: Path) -> None:
        assert open_form(loader, torch.device("cpu"))(images_for("plain", 2)).shape == (2, 7)
        with pytest.raises(CertificateError, match=r"m.py runs on the CPU alone; certify it with --device cpu"):
            open_form(loader, torch.device("meta"))
