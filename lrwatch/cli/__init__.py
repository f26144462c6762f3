"""The command line: parsing and printing only. Each command's module imports what it needs when it runs, so that `--help` is fast."""

from lrwatch.cli.program import cli, main

__all__ = ["cli", "main"]
