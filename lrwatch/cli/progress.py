"""How far a long backlog is read, how many tasks are done: a bar where somebody looks at it, a line now and then where nobody does."""

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


class Progress:
    """Progress on standard error, from the moment that more than LEAST_BYTES are left until hardly anything is.

    Args:
        label: Stands before the bar.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._from = self._goal = 0
        self._bar: Any = None
        self._active = False
        self._told_at = float("-inf")

    def show(self, done: int, left: int) -> None:
        """Bytes that were read since the start, and bytes that lie there and were not."""
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
            self._bar.update(part - self._bar.pos)
        elif time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            tell(f"lrwatch: {100 * part // whole} % of {_size(whole)} read")
        if left <= whole // 100:
            self.close()

    def close(self) -> None:
        """End the bar, if there is one; it begins anew with the next backlog."""
        self._active = False
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


class TaskProgress:
    """Progress through tasks on standard error: a bar on a terminal, a line every LINE_SECONDS elsewhere.

    Args:
        label: Stands before the bar.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._told_at = time.monotonic()

    def show(self, done: int, tasks: int) -> None:
        """So many of so many tasks are done."""
        if sys.stderr.isatty():
            if self._bar is None:
                self._bar = click.progressbar(
                    length=tasks, label=self._label, file=sys.stderr, show_pos=True, width=0
                ).__enter__()
            self._bar.update(done - self._bar.pos)
        elif time.monotonic() - self._told_at >= LINE_SECONDS:
            self._told_at = time.monotonic()
            tell(f"lrwatch: {done} of {tasks} replays done")

    def close(self) -> None:
        """End the bar, if there is one."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
