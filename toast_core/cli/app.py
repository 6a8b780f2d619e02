"""The command line: the one place where everything is put together. torch is imported inside the commands, after parsing.

Exit status: 0 done, 1 the result says no, 2 a usage or input error (one line on stderr), 70 an error that nobody foresaw (one line, with
the file that has the traceback), 130 interrupted.
"""

import os
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Annotated

import typer

from analysis_cache.commands import cache_app
from toast_core.cli.analyze import analyze
from toast_core.cli.apply import apply
from toast_core.cli.bench import bench
from toast_core.cli.certify import certify
from toast_core.cli.completion import completion, prepare_completion
from toast_core.cli.desk import dashboard, demo
from toast_core.cli.doctor import doctor
from toast_core.cli.evaluate import evaluate
from toast_core.cli.export import export
from toast_core.cli.flops import flops
from toast_core.cli.help import HELP_NAMES, Group, dress
from toast_core.cli.presets import list_presets
from toast_core.cli.recover import recover
from toast_core.cli.report import report
from toast_core.cli.said import CACHE, COMMANDS
from toast_core.cli.tune import tune
from toast_core.errors import ToastError
from toast_core.files import escape_what_cannot_be_printed, first_line
from toast_core.machine import wait_asleep

_INTERRUPTED = 130
_SOFTWARE_ERROR = 70  # EX_SOFTWARE of sysexits.h
# typer brings its own copy of click; this is the root of its usage errors
_UsageError = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")

app = typer.Typer(
    name="toast",
    cls=Group,
    context_settings=HELP_NAMES,
    add_completion=False,
    rich_markup_mode=None,
    help="Compress Vision Transformers block by block (ToaSt): count, evaluate, prune, and tune in a dashboard.",
)
# A command is a file here and a line below; what is said of it in one line, and its examples, stand in said.py. Listed in this order.
app.command()(demo)
app.command()(dashboard)
app.command()(flops)
app.command()(evaluate)
app.command()(analyze)
app.command()(bench)
app.command(name="presets")(list_presets)
app.command()(tune)
app.command()(apply)
app.command()(recover)
app.command()(export)
app.command()(certify)
app.command()(report)
app.add_typer(cache_app, name="cache")
app.command()(doctor)
app.command()(completion)


@app.command()
def test() -> None:
    """Run the project's tests (from a checkout: ./toast test)."""
    raise typer.BadParameter("the tests are run by the script in the project's folder: ./toast test")


dress(app, COMMANDS)
dress(cache_app, CACHE)


def _print_version(asked: bool) -> None:
    if asked:
        from toast_core.version import code_version

        print(f"toast {code_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version and end")] = False,
) -> None:
    """Compress Vision Transformers block by block (ToaSt): count, evaluate, prune, and tune in a dashboard."""


def main() -> None:
    """Run the command line and exit with its status."""
    wait_asleep()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of tags and sizes of people's files; what cannot be read is said with its reason
    escape_what_cannot_be_printed()
    prepare_completion()
    try:
        status = app(standalone_mode=False, prog_name="toast")
    except ToastError as error:
        status = _fail(str(error))
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        status = _fail(f"{error.format_message().rstrip('.')}; see {context.command_path if context else 'toast'} --help")
    except (typer.Abort, KeyboardInterrupt):
        status = _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except Exception as error:
        status = _report(error)
    if status == _INTERRUPTED:  # some versions of Typer return it and raise nothing
        print("toast: interrupted", file=sys.stderr)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str) -> int:
    print(f"toast: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _report(error: Exception) -> int:
    """Keep the traceback of an error that nobody foresaw in a file, and say where: exit status 1 would say that the result is no."""
    where = _log_file()
    text = f"toast {' '.join(map(repr, sys.argv[1:]))}\n{''.join(traceback.format_exception(error))}"
    try:
        where.parent.mkdir(0o700, parents=True, exist_ok=True)
        where.write_text(text, encoding="utf-8", errors="backslashreplace")
        kept = f"the traceback is in {where}"
    except OSError:
        print(text, file=sys.stderr)
        kept = "the traceback is above"
    _fail(f"an error that nobody foresaw ({type(error).__name__}: {first_line(error)}); {kept}: please report it")
    return _SOFTWARE_ERROR


def _log_file() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "toast-studio" / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
