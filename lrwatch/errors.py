"""The errors that lrwatch shows to people, in one tree.

::

    LrwatchError            exit code 1
    |-- UsageError      2   the command line cannot be understood
    |-- ConfigError     3   a setting is unknown, of the wrong kind, or out of range
    |-- InputError      4   a file, directory, run or database cannot be used
    `-- RefusedError    5   a bound forbids the request

A message has four parts: what was expected, what was found, where, and what to do next. They are fields, so that a test or
a program can read them, and one line of text for people. A refusal has two: where, and the reason; a setting that is out of
range has these and the next thing to do.
"""

from __future__ import annotations


class LrwatchError(Exception):
    """Base of all errors meant for people.

    Args:
        expected: The right thing, as a noun phrase.
        found: The thing that was there instead.
        where: The file, key, option or run that is at fault.
        hint: The next thing to do, as an imperative sentence.
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


class SettingError(ConfigError):
    """A setting has a value that it cannot have.

    Args:
        reason: What it must be and what it is, as a clause.
        where: The origin of the value, and its section.
        hint: The next thing to do, as an imperative sentence.
    """

    def __init__(self, *, reason: str, where: str, hint: str) -> None:
        self.reason = reason
        self.where = where
        self.hint = hint
        Exception.__init__(self, f"{where}: {reason.removesuffix('.')}. {hint}")


class InputError(LrwatchError):
    """A file, directory, run or database cannot be used."""

    exit_code = 4


class RefusedError(LrwatchError):
    """A bound forbids the request.

    Args:
        reason: Why, as a clause that names the bound.
        where: The request and the run.
    """

    exit_code = 5

    def __init__(self, *, reason: str, where: str) -> None:
        self.reason = reason
        self.where = where
        Exception.__init__(self, f"{where}: refused: {reason.removesuffix('.')}.")


def short(text: str, most: int = 200) -> str:
    """Return the beginning of a text from outside, for a message."""
    return text if len(text) <= most else f"{text[:most]} ..."
