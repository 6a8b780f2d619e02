"""The command lines that pages print, read back by the command line's own parser."""

from pathlib import Path

from dashboard.evidence.commands import analyze_command, evaluate_command
from dashboard.session.state import default_selection
from tests.support import evidence as stored
from tests.support.commands import parsed
from toast_core.schedule.schedule import Schedule
from toast_core.setup import Setup


def test_command_line_names_what_is_measured():
    schedule = Schedule.uniform(12, fc2=0.5, selection="calibrated")
    command, given = parsed(evaluate_command(Setup().completed(), schedule))
    assert command == "evaluate" and given["as_json"] and Path(given["schedule"]).name == "schedule.json"
    assert (given["model"], given["data"], given["images"]) == ("demo_vit", "fashion-mnist", 1000)
    assert (given["calibration"], given["calibration_images"]) == ("fashion-mnist:calibration", 512)
    own = Setup("deit_tiny_patch16_224", "my weights.safetensors", data="images", calibration="more", calibration_images=64).completed()
    _, given = parsed(evaluate_command(own, schedule))
    assert (given["weights"], given["calibration"], given["calibration_images"]) == ("my weights.safetensors", "more", 64)
    assert default_selection(own) == "calibrated"
    assert default_selection(Setup("deit_tiny_patch16_224", data="images").completed()) == "per_image"


def test_the_command_line_asks_for_the_same_again():
    command, given = parsed(analyze_command(Setup().completed(), "redundancy"))
    assert command == "analyze" and given["store"] is None and given["calibration"] is None
    assert (given["model"], given["data"], given["metrics"], given["images"]) == ("demo_vit", "fashion-mnist", "redundancy", 1000)
    _, given = parsed(analyze_command(Setup().completed(), "sensitivity", stored.sweep().request))
    assert (given["metrics"], given["images"], given["batch_size"], given["seed"]) == ("sensitivity", 400, 100, None)
    assert (given["sites"], given["ratios"], given["selection"]) == ("qk,fc2", "0.1,0.5,0.9", "per_image")
    own = Setup("deit_tiny_patch16_224", "w.safetensors", data="my images", store="s.db").completed()
    _, given = parsed(analyze_command(own, "sensitivity"))
    assert (given["weights"], given["data"], given["store"]) == ("w.safetensors", "my images", "s.db")
