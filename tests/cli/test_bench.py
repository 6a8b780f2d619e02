"""`toast bench`, and `toast tune --latency-ms`: one document, one line for what is wrong; no test asserts a time."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support.greys import grey_model
from toast_core import loading as saved
from toast_core.cli import app as cli
from toast_core.cli import bench as cli_bench
from toast_core.pruning.execution.apply import apply_plan
from toast_core.pruning.planner import make_plan
from toast_core.schedule.compensation import FULL
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup
from toast_core.studies.latency import measure as block_times
from toast_core.workbench import Workbench


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process."""
    monkeypatch.setattr("sys.argv", ["toast", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return caught.value.code


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    """Whatever is loaded is a tiny model, and its table's times are made up: a part takes as many milliseconds as channels it keeps."""
    model = grey_model()
    model.toast_info = saved.get_info(model)

    def in_turns(trials: dict, *_: object) -> tuple[dict, int]:
        return {place: 1.0 if isinstance(place, str) else float(sum(place[2:])) for place in trials}, 5

    monkeypatch.setattr(saved, "load_model", lambda *_: model)
    monkeypatch.setattr(block_times, "in_turns", in_turns)
    return model


@pytest.fixture
def schedule(tmp_path: Path) -> Path:
    """A schedule of three blocks, compensated."""
    file = tmp_path / "schedule.json"
    file.write_text(Schedule.uniform(3, qk=0.5, vo=0.5, fc2=0.5, selection="calibrated", compensation=FULL).to_json())
    return file


class TestBench:
    def test_it_prints_one_document(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: nn.Module, schedule: Path
    ) -> None:
        code = run(
            monkeypatch, "bench", "--model", "tiny", "--schedule", str(schedule), "--batch-sizes", "1,2", "--dtype", "float32,bfloat16",
            "--pairs", "5", "--json",
        )
        report = json.loads(capsys.readouterr().out)
        assert code == 0
        assert [(row["batch_size"], row["dtype"], row["pairs"]) for row in report["latencies"]] == [
            (1, "float32", 5), (2, "float32", 5), (1, "bfloat16", 5), (2, "bfloat16", 5)
        ]
        assert report["weights"].endswith("; weights do not matter for speed")
        assert report["macs"]["compact"] < report["macs"]["baseline"]
        assert report["threads"] == torch.get_num_threads() and set(report["versions"]) == {"torch", "timm"}

    def test_a_table_is_kept_and_predicts(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: nn.Module, schedule: Path, tmp_path: Path
    ) -> None:
        arguments = ("--model", "tiny", "--batch-sizes", "2", "--table", "--store", str(tmp_path / "store.db"))
        assert run(monkeypatch, "bench", *arguments, "--json") == 0
        report = json.loads(capsys.readouterr().out)
        assert report["latencies"] == [] and report["table"]["batch_size"] == 2
        kept = cli_bench.latency_table(tiny, 2, str(tmp_path / "store.db"))
        assert kept.digest() == report["table"]["digest"] and kept.predict_ms() == pytest.approx(report["predicted_ms"])
        assert run(monkeypatch, "bench", *arguments, "--schedule", str(schedule), "--pairs", "5") == 0
        said = capsys.readouterr().out
        assert "latency table at batch 2, float32: kept" in said and "predicted for the schedule" in said and "MAC ratio" in said

    def test_a_pruned_file_is_timed_against_a_baseline_of_its_shape(self, monkeypatch: pytest.MonkeyPatch, tiny: nn.Module) -> None:
        pruned = apply_plan(tiny, make_plan(tiny, Schedule.uniform(3, qk=0.5)))
        baseline, compact = cli_bench._models(Workbench(pruned, Setup()), pruned.toast_info.schedule)
        assert (baseline, compact) == (tiny, pruned)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((), "toast bench needs a schedule or --table; pass --schedule FILE, --preset NAME (see toast presets) or --table"),
            (("--batch-sizes", "0,8"), "batch sizes '0,8' are not whole numbers from 1 to 65536; write for example 1,8,32"),
            (("--batch-sizes", "many"), "batch sizes 'many' are not whole numbers"),
            (("--dtype", "float33"), "unknown dtype in 'float33'; choose from float32, bfloat16, float16"),
            (("--schedule", "none.json"), "schedule file none.json cannot be read (No such file or directory)"),
            (("--schedule", "a", "--preset", "b"), "both --schedule and --preset are given; keep one of them"),
            (("--device", "cuda:99", "--table"), "device 'cuda:99' is not on this machine; choose from"),
        ],
    )
    def test_what_is_wrong_is_said_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert run(monkeypatch, "bench", "--model", "demo_vit", "--weights", "random", *arguments) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"toast: {message}") and error.count("\n") == 1


class TestTune:
    def test_a_latency_budget_is_met_by_the_table_and_then_measured(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: nn.Module, tmp_path: Path
    ) -> None:
        from tests.support.greys import grey_data
        from toast_core.data import load

        monkeypatch.setattr(load, "load_data", lambda *_, **__: grey_data(tiny, 60, seed=2))
        store = str(tmp_path / "store.db")
        table = cli_bench.latency_table(tiny, 1, store)
        limit, file = 0.6 * table.baseline_ms, tmp_path / "schedule.json"
        code = run(
            monkeypatch, "tune", "--model", "tiny", "--calibration", "greys", "--latency-ms", f"{limit:.6f}", "--ratios", "0.5,0.9",
            "--fitting", "one_shot", "--batch-size", "16", "-o", str(file), "--store", store, "--json",
        )
        report = json.loads(capsys.readouterr().out)
        assert code == 0
        chosen = Schedule.from_json(file.read_text())
        assert report["budget"] == {"unit": "latency_ns", "limit": int(round(limit, 6) * 1e6)}
        assert table.predict_ms(chosen) <= limit + 1e-3
        assert report["latency"]["predicted_ms"] == pytest.approx(table.predict_ms(chosen))
        assert report["latency"]["batch_size"] == 1 and report["latency"]["pairs"] >= 5

    def test_an_impossible_one_names_the_nearest(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny: nn.Module, tmp_path: Path
    ) -> None:
        arguments = ("--model", "tiny", "--calibration", "greys", "-o", str(tmp_path / "s.json"), "--store", str(tmp_path / "store.db"))
        assert run(monkeypatch, "tune", *arguments, "--latency-ms", "1e9") == 2
        error = capsys.readouterr().err
        assert error.startswith("toast: a budget of 1e+09 ms is not between 0 and the baseline's ") and error.count("\n") == 1
