"""Notices that a second training writes to the control directory: another process, or a newer client of this one.

Two trainings in one directory are a mistake of the person who started them: a command reaches only one of the two. Both say so, and one
of them goes silent, so that the daemon does not hear another training at each look: the one that was there first. Of two that came at
once it is the one whose process is older.
"""

from __future__ import annotations

import os
import time
import weakref

from lrwatch.protocol import (
    OBSERVED_NAME,
    Observed,
    Process,
    ProtocolError,
    decode_observed,
    is_alive,
    read_control_file,
)
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

# Where nobody can see whether a process runs, as on another machine, it counts as there so many seconds after its last message.
_MEMORY_SECONDS = 60.0

# Directory -> the worker of this process that publishes there.
_owners: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


class Rivals:
    """The other trainings on one control directory.

    Args:
        owner: The worker, which owns the directory in this process from `own` on.
        directory: Absolute path.
        process: This process, or None where the system does not tell.

    Attributes:
        found: Another process that runs uses the directory.
        silent: This training must not publish.
        is_lost: What this training said last is not there any more, and no word of another one in its place.
    """

    def __init__(self, owner: object, directory: str, process: Process | None) -> None:
        self.found = self.silent = self.is_lost = False
        self._owner = weakref.ref(owner)
        self._directory = os.path.realpath(directory)
        self._process = process
        self._rival: Process | None = None
        self._heard = 0.0
        self._written: bytes | None = None
        self._told = False

    def own(self) -> Any:
        """Take the directory over, and return the worker of this process that had it before, or None."""
        before = _owners.get(self._directory)
        _owners[self._directory] = self._owner()
        return before

    def look(self, folder: int) -> None:
        """Read what stands in `observed.json` before it is written.

        Args:
            folder: Descriptor of the control directory.
        """
        owner = _owners.get(self._directory)
        if owner is not None and owner is not self._owner():
            self.silent = True
            return
        try:
            content = read_control_file(folder, OBSERVED_NAME)
            self.is_lost = content is None
            theirs = None if content is None or content == self._written else decode_observed(content)
        except ProtocolError:  # it is written over
            theirs, self.is_lost = None, True
        if theirs is not None:
            self._hear(theirs)
        self.found = self._is_there()
        if not self.found:
            self._rival, self.silent = None, False

    def wrote(self, content: bytes, *, two_trainers: bool) -> None:
        """Take note of what this training wrote."""
        self._written, self._told = content, two_trainers

    def _hear(self, theirs: Observed) -> None:
        own = self._process
        if theirs.life != "running" or theirs.pid is None or theirs.pid_start is None:
            return
        rival = Process(theirs.pid, theirs.pid_start, theirs.machine)
        if own is None or rival == own:
            return
        alive = is_alive(rival)
        # What lay there before the first word of this training may be of a process that is long gone.
        if alive is False or (alive is None and self._written is None):
            return
        self._rival, self._heard = rival, time.monotonic()
        first = self._written is not None and theirs.two_trainers and not self._told
        both = self._written is not None and theirs.two_trainers == self._told
        self.silent = first or (both and (own.start, own.pid) < (rival.start, rival.pid))

    def _is_there(self) -> bool:
        if self._rival is None:
            return False
        alive = is_alive(self._rival)
        return alive if alive is not None else time.monotonic() - self._heard < _MEMORY_SECONDS
