"""FINN's transformations that start Vivado, in a step's folder: settings, environment, log, one-line errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nibble.builds.manifest import SCRATCH
from nibble.builds.pipeline import StoppedError
from nibble.builds.tools import environment
from nibble.errors import NibbleError

LOG = "finn.log"


@contextmanager
def finn_session(step: str, folder: Path) -> Iterator[None]:
    """Open FINN+ for a step: what it generates goes to `folder`/work, and what it prints to finn.log there.

    Raises StoppedError naming the step, the first error and the log, whatever goes wrong in the block.
    """
    from nibble.targets.finn.library import open_finn
    from nibble.targets.finn.rtl_layers import register

    scratch = folder.resolve() / SCRATCH
    open_finn(scratch)
    register()
    with _logged(scratch / LOG), environment():
        try:
            yield
        except NibbleError:
            raise
        except Exception as error:  # FINN raises any kind, bare Exception included
            reason, log = _explain(error, scratch)
            raise StoppedError(f"step {step} failed: {reason} (log: {log})") from error


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send all messages of FINN, and Python's warnings, to a file, and none to the terminal."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("finn_logger", "py.warnings")]
    kept = [(logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, (level, propagate) in zip(loggers, kept, strict=True):
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
        handler.close()


def _explain(error: Exception, scratch: Path) -> tuple[str, Path]:
    """Return the first error that a tool reported, else what FINN says, and the log where it stands."""
    logs = [*scratch.rglob("vivado.log"), *scratch.parent.rglob("vitis_hls.log"), scratch / LOG]
    for log in sorted(logs, key=lambda path: path.stat().st_mtime):
        found = re.search(r"^ERROR: .*$", log.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
        if found:
            return found[0], log
    return " ".join(str(error).split()) or type(error).__name__, logs[0]
