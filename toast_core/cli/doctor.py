"""What this machine has, and what is missing for the product to work."""

import os
import platform
import shutil
from importlib import metadata

import typer

from toast_core.cli.options import Json
from toast_core.cli.output import print_json, print_table

PACKAGES = ("torch", "timm", "torchvision", "safetensors", "streamlit", "plotly", "pandas", "numpy")


def find_browser() -> str | None:
    """Return a Chromium's path, from $CHROMIUM or the usual names."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM") or next((path for name in names if (path := shutil.which(name))), None)


def examine() -> dict:
    """Return versions, devices, embedded assets and browser; `problems` lists what must be mended, one line each."""
    import torch

    from toast_core.data.load import load_data
    from toast_core.errors import ToastError
    from toast_core.loading import load_model
    from toast_core.models.demo import DEMO_BUILDERS
    from toast_core.studies.evaluation.measure import evaluate

    problems = []
    report: dict = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    for package in PACKAGES:
        try:
            report[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            report[package] = "missing"
            problems.append(f"{package} is not installed; run ./toast --help to install it")
    report["cuda"] = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    report["mps"] = torch.backends.mps.is_available()
    for name in DEMO_BUILDERS:
        try:
            model = load_model(name)
            top1 = evaluate(model, load_data("fashion-mnist", model, images=100)).answers.top1_estimate
            report[name] = f"top-1 {top1.value:.0f} % on 100 test images (95 %: {top1.ci95[0]:.0f} to {top1.ci95[1]:.0f})"
        except ToastError as error:
            report[name] = "missing"
            problems.append(str(error))
    report["browser"] = find_browser() or "none (only the browser tests and figure export need one)"
    report["problems"] = problems
    return report


def doctor(as_json: Json = False) -> None:
    """Say what this machine has: versions, devices, embedded data and weights, browser. Exit 1 if something needed is missing."""
    report = examine()
    if as_json:
        print_json(report)
    else:
        print_table("this machine", ["what", "found"], [[key, str(value)] for key, value in report.items() if key != "problems"])
        for problem in report["problems"]:
            print(f"problem: {problem}")
    raise typer.Exit(1 if report["problems"] else 0)
