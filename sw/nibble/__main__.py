"""`python -m nibble` is the `nibble` command."""

from nibble.cli import main

main()
