"""The errors that lrwatch shows to people, in one tree.

::

    LrwatchError            exit code 1
    |-- UsageError      2   the command line cannot be understood
    |-- ConfigError     3   a setting is unknown, of the wrong kind, or out of range
    |-- InputError      4   a file, directory, run or database cannot be used
    `-- RefusedError    5   a bound forbids what was asked for

Every message has four parts: what was expected, what was found, where, and what to do next. They are fields, so
that a test or a program can read them, and one line of text for people.
"""

from __future__ import annotations


class LrwatchError(Exception):
    """Base of all errors meant for people.

    Args:
        expected: What would have been right, as a noun phrase.
        found: What was there instead.
        where: The file, key, option or run that is at fault.
        hint: What to do next, as an imperative sentence.
    """

    exit_code = 1

    def __init__(self, *, expected: str, found: str, where: str, hint: str) -> None:
        self.expected = expected
        self.found = found
        self.where = where
        self.hint = hint
        super().__init__(f"{where}: expected {expected}, found {found}. {hint}")


class UsageError(LrwatchError):
    """The command line cannot be understood."""

    exit_code = 2


class ConfigError(LrwatchError):
    """A setting is unknown, of the wrong kind, or out of range."""

    exit_code = 3


class InputError(LrwatchError):
    """A file, directory, run or database cannot be used."""

    exit_code = 4


class RefusedError(LrwatchError):
    """A bound forbids what was asked for."""

    exit_code = 5
