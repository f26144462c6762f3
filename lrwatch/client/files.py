"""The control directory and `desired.json`, as the worker thread reads them."""

from __future__ import annotations

import os
from collections import Counter

from lrwatch.protocol import DESIRED_NAME, FaultCode, ProtocolError, open_directory, read_control_file


class ControlFolder:
    """Opens the control directory, and makes it where it is missing.

    Args:
        path: Absolute path of the directory.

    Attributes:
        path: The same path.
        identity: Device and inode of the directory that was opened last, or None.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.identity: tuple[int, int] | None = None

    def open(self) -> int:
        """Return a descriptor of the directory, which the caller closes.

        Raises:
            OSError: The directory cannot be made or opened.
            ProtocolError: It cannot be trusted.
        """
        try:
            folder = open_directory(self.path)
        except FileNotFoundError:
            os.makedirs(self.path, mode=0o700, exist_ok=True)  # noqa: PTH103  pathlib is slow to import
            folder = open_directory(self.path)
        about = os.fstat(folder)
        self.identity = about.st_dev, about.st_ino
        return folder


class CommandFile:
    """Reads `desired.json` and returns each new content once.

    Attributes:
        errors: Faults of the file, by reason. A fault that stays is counted once.
        fault: Fault of the newest look, or None.
        first: No look has succeeded since the start or resume; the reader of this attribute resets it.
    """

    def __init__(self) -> None:
        self.errors: Counter[str] = Counter()
        self.fault: FaultCode | None = None
        self.first = True
        self._content: bytes | None = None

    def look(self, folder: int) -> bytes | None:
        """Return the content if it is a new one, else None.

        Args:
            folder: Descriptor of the control directory.

        Raises:
            OSError: The file cannot be read.
        """
        try:
            content = read_control_file(folder, DESIRED_NAME)
        except ProtocolError as error:
            if error.code != self.fault:
                self.errors[error.code] += 1
            self.fault = error.code
            return None
        self.fault = None
        # By content: a new file may have the inode and the time of the old one.
        if content is None or content == self._content:
            return None
        self._content = content
        return content

    def restart(self) -> None:
        """Forget the content and return it once more, because the training continues from a checkpoint."""
        self._content, self.first = None, True
