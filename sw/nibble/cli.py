"""The `nibble` command: registers the sub-commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module
from io import TextIOWrapper

import typer
from typer.exceptions import Abort, TyperException

from nibble.errors import NibbleError

COMMANDS = (
    "import_",
    "quantize",
    "sensitivity",
    "check",
    "inspect",
    "verify",
    "compile",
    "simulate",
    "resources",
    "detect",
    "eval",
    "train",
    "build",
    "demo",
)

HELP = """From a YOLO checkpoint to a proven INT8/INT4 FPGA accelerator.

Exit codes: 0 done, 1 the check failed, 2 bad input (said in one line; --debug shows where).
"""

_INTERRUPTED = 130


def _app() -> typer.Typer:
    app = typer.Typer(
        name="nibble", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP
    )
    for name in COMMANDS:
        import_module(f"nibble.commands.{name}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 done, 1 the check failed, 2 bad input, 70 a fault of nibble's own, 130 Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    try:
        code = _app()([a for a in arguments if a != "--debug"], standalone_mode=False) or 0
        if code == _INTERRUPTED:  # typer hides Ctrl-C
            raise KeyboardInterrupt
        sys.exit(code)
    except NibbleError as error:
        _fail(str(error), error.exit_code, debug)
    except TyperException as error:
        _fail(error.format_message(), 2, debug)
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}", 2, debug)
    except (Abort, KeyboardInterrupt):
        _fail("interrupted", _INTERRUPTED, debug)
    except MemoryError:
        _fail("not enough memory", 2, debug)
    except Exception as error:
        _fail(f"internal error, {type(error).__name__}: {error} (--debug shows where)", 70, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        raise
    if message:
        print("nibble: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
