"""`toast demo` and `toast dashboard`: the web server and the engine behind it, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from toast_core.cli.named import check_named
from toast_core.cli.options import Audience, takes_audience, takes_setup
from toast_core.setup import Setup

MemoryGb = Annotated[
    float | None, typer.Option(min=0, help="the engine's memory cap, in 1e9 bytes; jobs have their own; default: a quarter of the machine")
]


@takes_setup("demo")
@takes_audience
def demo(setup: Setup, audience: Audience, memory_gb: MemoryGb = None) -> None:
    """Open the dashboard on the embedded model and its test images."""
    _launch(setup, audience, memory_gb)


@takes_setup(
    "dashboard",
    said={
        "model": "timm's name, demo_vit, demo_swin, hf-hub:OWNER/NAME or local-dir:FOLDER; default: what the weights name, else demo_vit",
        "data": "folder of images, a subfolder a class, or a tar file; default: fashion-mnist for a demo, else none: costs alone",
    },
)
@takes_audience
def dashboard(setup: Setup, audience: Audience, memory_gb: MemoryGb = None) -> None:
    """Open the dashboard on any supported model and image folder."""
    _launch(setup, audience, memory_gb)


def _launch(setup: Setup, audience: Audience, memory_gb: float | None) -> None:
    check_named(setup)
    from dashboard.server.launch import launch
    from dashboard.server.sharing import read_sharing

    sharing = read_sharing(audience.share, audience.password_file, audience.allowed_hosts, Path.cwd(), Path.home())
    raise typer.Exit(launch(setup, sharing, audience.port, audience.headless, memory_gb))
