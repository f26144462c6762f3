"""The daemon's side of a run's control directory: reads the observed state, publishes the desired one."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from pathlib import Path

from lrwatch.protocol import (
    DESIRED_NAME,
    OBSERVED_NAME,
    Desired,
    Observed,
    ProtocolError,
    decode_observed,
    encode,
    publish,
    read_control_file,
    sign,
)

# Reads of a file before it counts as unreadable. One failed call is often none: a network file system whose handle went stale, a moment
# without descriptors.
TRIES = 2


class ControlDirectory:
    """One run's control directory. Decides nothing.

    Args:
        path: The directory; it need not exist yet, the trainer makes it.
        key: Key that signs commands, or None.

    Attributes:
        path: The directory.
        errors: Counter of states that could not be used, by reason; `io` where they could not be read. One that stays is counted
            once.
        problem: Why the newest state cannot be used, as a sentence, or "".
        is_absent: Whether the newest read found no state. One that cannot be read is not absent: its trainer may well be there.
    """

    def __init__(self, path: str | os.PathLike[str], key: bytes | None = None) -> None:
        self.path = Path(path)
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self.is_absent = False
        self._fault = ""  # reason of the newest read
        self._key = key

    @property
    def unreadable(self) -> bool:
        """Whether the newest look failed at the disk, so that the trainer's state is unknown."""
        return self._fault == "io"

    @property
    def exists(self) -> bool:
        """Whether the directory is there."""
        return self.path.is_dir()

    def read_observed(self) -> Observed | None:
        """Read the state that the trainer published last.

        Returns:
            The state, or None without a file and for one that cannot be used; the latter is counted in `errors`.
        """
        observed, fault, self.problem, self.is_absent = None, "", "", False
        try:
            raw = self._read(OBSERVED_NAME)
            self.is_absent = raw is None
            observed = None if raw is None else decode_observed(raw)
        except ProtocolError as error:
            fault = error.code
            self.problem = f"{self.path / OBSERVED_NAME} is not used ({error}), so this trainer is not heard"
        except OSError as error:
            fault = "io"
            self.problem = f"{self.path} cannot be read ({error.strerror or error}), so this trainer is not heard"
        if fault and fault != self._fault:
            self.errors[fault] += 1
        self._fault = fault
        return observed

    def _read(self, name: str) -> bytes | None:
        """Return the content of a file, or None where there is none.

        Raises:
            OSError: It could not be read, TRIES times.
            ProtocolError: It cannot be trusted.
        """
        for _ in range(TRIES - 1):
            with contextlib.suppress(OSError):
                return read_control_file(self.path, name)
        return read_control_file(self.path, name)

    def holds(self, desired: Desired) -> bool:
        """Return whether the file holds exactly this command; an unreadable file does not."""
        try:
            return self._read(DESIRED_NAME) == self._bytes(desired)
        except (OSError, ProtocolError):
            return False

    def _bytes(self, desired: Desired) -> bytes:
        return encode(desired if self._key is None else sign(desired, self._key))

    def publish(self, desired: Desired) -> None:
        """Write the command for the trainer, signed if there is a key.

        Raises:
            OSError: It could not be written; the command before it stays in place.
            ProtocolError: It is too large, the key is too short, or the directory is not to be trusted.
        """
        publish(self.path, DESIRED_NAME, self._bytes(desired))
