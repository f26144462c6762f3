"""The override file, a number by which people set the learning rate of a running training: `echo 0.5x > lr_override.txt`.

========================  ==========================================================================================
`0.5x`, `x0.5`, `*0.5`    a multiplier of the trainer's schedule; `1x` is the schedule itself
`3e-4`                    a learning rate: the first parameter group has it from now on, and follows its schedule from there
========================  ==========================================================================================

A bare number is a learning rate, as such files hold everywhere. It is converted to the multiplier that gives this rate at
the moment, so the other parameter groups keep their ratio to the first, and the schedule keeps its shape. Both forms pass
the same bounds as a command. A file counts once two looks in a row find it unchanged, so that half of a number is never
taken for all of it; writing it again makes it count again. A file that exists at the start of the training, left by the run
before, does not count, and removing it changes nothing.
"""

from __future__ import annotations

import math
import os

from lrwatch.protocol import Desired, read_control_file
from lrwatch.protocol.lean import dataclass

# A number with a note beside it; more is no number.
MAX_CONTENT = 200

_NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_CONTENT = rf"\s*(?:(?P<rate>{_NUMBER})|[x*]\s*(?P<after>{_NUMBER})|(?P<before>{_NUMBER})\s*x)\s*"


class Override(Desired):
    """A command that a person wrote into the file, not a daemon."""


@dataclass(frozen=True)
class Wanted:
    """Content of the file: a multiplier or a learning rate, finite and greater than 0."""

    number: float
    is_rate: bool


class OverrideFile:
    """Reader of the file.

    Args:
        path: Absolute path of the file. It need not exist.

    Attributes:
        left_over: The first look found a file; the reader of this attribute resets it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._folder, self._name = os.path.split(path)
        self._found: object = None  # the last look
        self._taken: object = None  # the look whose content was returned
        self._first = True
        self.left_over = False

    def look(self) -> bytes | None:
        """Return the content if it is new and complete, else None.

        Raises:
            OSError: The file cannot be read.
            ProtocolError: It cannot be trusted, see `read_control_file`. The same file raises only once.
        """
        try:
            about = os.lstat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self._found, self._first = None, False
            return None
        mark = about.st_dev, about.st_ino, about.st_mtime_ns, about.st_size, about.st_mode, about.st_uid, about.st_nlink
        if self._first:
            self._taken, self._first, self.left_over = mark, False, True
        if mark == self._taken or about.st_size == 0:  # emptied just before it is written
            return None
        if mark != self._found:
            self._found = mark
            return None
        self._taken = mark
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_control_file(folder, self._name)
        finally:
            os.close(folder)


def read_override(content: bytes) -> Wanted | None:
    """Return the meaning of a content, or None where it is not one number greater than 0, with or without an `x`."""
    import re  # too long to import for a training without such a file

    text = content[: MAX_CONTENT + 1].decode("ascii", "replace")
    found = re.fullmatch(_CONTENT, text, re.ASCII) if len(text) <= MAX_CONTENT else None
    if found is None:
        return None
    number = float(found["rate"] or found["before"] or found["after"])
    return Wanted(number, found["rate"] is not None) if 0 < number < math.inf else None
