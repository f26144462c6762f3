"""Progress through a long backlog or many tasks: a bar on a terminal, an occasional line elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from lrwatch.cli.output import tell

# Below this a bar would only flash.
LEAST_BYTES = 16 * 1024 * 1024

# Seconds between two lines: the log of a service is no place for more.
LINE_SECONDS = 5.0


class ByteProgress:
    """Progress through bytes on standard error, from when more than LEAST_BYTES are left until one per cent is.

    Args:
        label: Text before the bar.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._from = self._goal = 0
        self._bar: Any = None
        self._active = False
        self._shown_at = float("-inf")

    def show(self, done: int, left: int) -> None:
        """Show the number of bytes that were read since the start, and of those that were not read yet."""
        if not self._active:
            if left < LEAST_BYTES:
                return
            self._active, self._from, self._goal = True, done, done + left
            if sys.stderr.isatty():
                self._bar = click.progressbar(length=left, label=self._label, file=sys.stderr)
                self._bar.__enter__()
        self._goal = max(self._goal, done + left)  # it grows meanwhile
        whole, part = self._goal - self._from, done - self._from
        if self._bar is not None:
            self._bar.length = whole
            self._bar.update((part if left > whole // 100 else whole) - self._bar.pos)
        elif time.monotonic() - self._shown_at >= LINE_SECONDS:
            self._shown_at = time.monotonic()
            tell(f"lrwatch: {100 * part // whole} % of {_size(whole)} read")
        if left <= whole // 100:
            self.close()

    def close(self) -> None:
        """End the bar, if there is one; the next backlog begins another."""
        self._active = False
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


class TaskProgress:
    """Progress through tasks on standard error: a bar on a terminal, a line every LINE_SECONDS elsewhere.

    Args:
        label: Text before the bar.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._shown_at = time.monotonic()

    def show(self, done: int, tasks: int) -> None:
        """Show the number of tasks done, and of all tasks."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = click.progressbar(
                    length=tasks, label=self._label, file=sys.stderr, show_pos=True, width=0
                ).__enter__()
            self._bar.update(done - self._bar.pos)
        elif time.monotonic() - self._shown_at >= LINE_SECONDS:
            self._shown_at = time.monotonic()
            tell(f"lrwatch: {done} of {tasks} replays done")

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
