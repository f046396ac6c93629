"""The `nibble` command: registers the sub-commands and turns errors into one line and an exit code."""

from __future__ import annotations

import sys
from importlib import import_module

import typer
from typer.exceptions import Abort, TyperException

from nibble.errors import NibbleError

COMMANDS = (
    "import_",
    "quantize",
    "inspect",
    "verify",
    "compile",
    "simulate",
    "detect",
    "eval",
    "train",
    "demo",
)

HELP = """From a YOLO checkpoint to a proven INT8/INT4 FPGA accelerator.

Exit codes: 0 done, 1 the check failed, 2 bad input (said in one line; --debug shows where).
"""


def _app() -> typer.Typer:
    app = typer.Typer(
        name="nibble", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP
    )
    for name in COMMANDS:
        import_module(f"nibble.commands.{name}").register(app)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exit 0 done, 1 the check failed, 2 bad input."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        sys.exit(_app()([a for a in arguments if a != "--debug"], standalone_mode=False) or 0)
    except NibbleError as error:
        _fail(str(error), error.exit_code, debug)
    except TyperException as error:
        _fail(error.format_message(), 2, debug)
    except OSError as error:
        _fail(f"{error.filename or 'file system'}: {error.strerror or error}", 2, debug)
    except (Abort, KeyboardInterrupt):
        _fail("interrupted", 130, debug)


def _fail(message: str, code: int, debug: bool) -> None:
    if debug:
        raise
    if message:
        print("nibble: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(code)
