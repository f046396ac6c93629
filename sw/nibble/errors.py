"""What can go wrong, as the user meets it.

NibbleError            exit code 2 unless said otherwise; its text is one line
├── InputError         a file or value is not what it must be: names it, what was found, what was expected
├── UnsupportedError   the input is valid, but holds something nibble cannot process; names it
└── CheckFailedError   exit code 1: a comparison or a bound did not hold
"""

from __future__ import annotations

from os import PathLike


class NibbleError(Exception):
    """Base of every error that a user can mend; printed as one line."""

    exit_code = 2


class InputError(NibbleError):
    """Bad input: `where` (file or option), what was `found`, what was `expected`."""

    def __init__(self, where: str | PathLike[str], found: str, expected: str) -> None:
        super().__init__(f"{where}: found {found}, expected {expected}")


class UnsupportedError(NibbleError):
    """Valid input that nibble cannot process: `where`, and `what` is not supported."""

    def __init__(self, where: str | PathLike[str], what: str) -> None:
        super().__init__(f"{where}: {what} is not supported")


class CheckFailedError(NibbleError):
    """A check that the command exists for did not hold."""

    exit_code = 1
