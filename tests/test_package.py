"""The package's front door."""

import ast
import inspect
import subprocess
import sys

import pytest

import toast_core

CERTIFY = "issue"  # what `certify` is called where it lives


def test_every_public_name_is_there() -> None:
    assert toast_core.__all__ == [
        "Studio", "BlockSchedule", "Schedule", "Compensation", "Setup", "Workbench", "load_model", "save_model", "load_data",
        "collect_statistics", "make_plan", "apply_plan", "compensate", "plan_on", "evaluate", "count_macs", "count_cost", "Budget",
        "TuningRequest", "tune", "export_model", "Recipe", "RecoveryStart", "recover", "certify",
    ]
    assert set(toast_core.__all__) <= set(dir(toast_core))
    for name in toast_core.__all__:
        assert getattr(toast_core, name).__name__ == (CERTIFY if name == "certify" else name)


def test_an_editor_sees_what_a_program_gets() -> None:
    """The imports for type checkers name the same things, from the same modules, as are loaded on use."""
    tree = ast.parse(inspect.getsource(toast_core))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {alias.asname or alias.name: (node.module, alias.name) for node in block.body for alias in node.names}
    assert set(told) == set(toast_core.__all__) - {"BlockSchedule", "Schedule"}
    for name, (module, there) in told.items():
        assert getattr(toast_core, name) is getattr(sys.modules[module], there)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'toast_core' has no attribute 'prune'"):
        toast_core.prune  # noqa: B018 (the access is what is tested)


def test_the_readme_flow_runs(tmp_path: object) -> None:
    model = toast_core.load_model("demo_vit", weights="random")
    schedule = toast_core.Schedule.uniform(12, qk=0.5, vo=0.5, fc2=0.75, selection="calibrated")
    calibration = toast_core.load_data("fashion-mnist:calibration", model, images=10, labelled=False)
    statistics = toast_core.collect_statistics(model, (batch.images for batch in calibration.batches(5)))
    pruned = toast_core.apply_plan(model, toast_core.make_plan(model, schedule, statistics))
    result = toast_core.evaluate(pruned, toast_core.load_data("fashion-mnist", model, images=20))
    assert result.macs == toast_core.count_macs(model, schedule) < toast_core.count_macs(model)
    assert len(result.outcomes.label) == 20


def test_importing_the_package_does_not_load_torch() -> None:
    code = "import sys, toast_core; toast_core.Schedule.uniform(2); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=toast_core.__path__[0] + "/..").returncode == 0
