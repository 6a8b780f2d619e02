"""`toast demo` and `toast dashboard`: the web server and the engine behind it, until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer

from toast_core.cli.options import takes_setup
from toast_core.setup import DEMO_DATA, DEMO_MODELS, Setup

Port = Annotated[int | None, typer.Option(help="default: 8501 or the next free one")]
Headless = Annotated[bool, typer.Option("--headless", help="do not open a browser")]
Share = Annotated[bool, typer.Option("--share", help="answer other machines too; needs --allowed-host and a password or [auth] secrets")]
PasswordFile = Annotated[Path | None, typer.Option(help="holds the password of --share; default: the environment's TOAST_PASSWORD")]
AllowedHost = Annotated[list[str] | None, typer.Option(help="name that others type to reach a shared dashboard; may be repeated")]


@takes_setup("demo")
def demo(
    setup: Setup,
    port: Port = None,
    headless: Headless = False,
    share: Share = False,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
) -> None:
    """Open the dashboard on the embedded model and its test images."""
    _launch(setup, port, headless, (share, password_file, allowed_host))


@takes_setup("dashboard", defaults={"model": DEMO_MODELS[0], "data": DEMO_DATA})
def dashboard(
    setup: Setup,
    port: Port = None,
    headless: Headless = False,
    share: Share = False,
    password_file: PasswordFile = None,
    allowed_host: AllowedHost = None,
) -> None:
    """Open the dashboard on any supported model and image folder."""
    _launch(setup, port, headless, (share, password_file, allowed_host))


def _launch(setup: Setup, port: int | None, headless: bool, sharing: tuple[bool, Path | None, list[str] | None]) -> None:
    from dashboard.server.launch import launch
    from dashboard.server.sharing import read_sharing

    share, password_file, allowed_hosts = sharing
    answered = read_sharing(share, password_file, allowed_hosts or (), Path.cwd(), Path.home())
    raise typer.Exit(launch(setup, answered, port, headless))
