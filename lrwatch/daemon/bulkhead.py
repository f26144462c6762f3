"""Bulkheads: what goes wrong in one run stays in that run.

A fault that nobody thought of is an exception out of the turn of one run. It is counted, said once with the place in the code,
and the run is set aside: nothing of it is kept in memory, because nobody knows what of that is still true. It is tried again
from its saved state, as after a restart of the daemon, at first soon and then less and less often. The other runs go on.
"""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from lrwatch.core.snapshot import FaultKind, RunStatus

# Seconds until a run is tried again: doubled each time, up to the second number. A fault that follows so long after the last
# try that it is another one starts over.
FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0
ANOTHER_AFTER = 10.0  # times the wait before


@dataclass(slots=True)
class Aside:
    """A run that was set aside.

    Attributes:
        status: What is shown of it.
        logs: Its logs. control: Its control directory, or None.
        due: When it is tried again, in monotonic seconds.
    """

    status: RunStatus
    logs: list[Path]
    control: Path | None
    due: float


class Bulkheads:
    """The faults of all runs, and the runs that are set aside.

    Args:
        monotonic: Seconds that never go back.

    Attributes:
        aside: The runs that were set aside, by name.
        faults: Counters of faults by kind, by run.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._waits: dict[str, tuple[float, float]] = {}  # the last wait of each run, and when it ended
        self.aside: dict[str, Aside] = {}
        self.faults: dict[str, Counter[FaultKind]] = {}

    def count(self, run: str, kind: FaultKind) -> None:
        """Count a fault of a run."""
        self.faults.setdefault(run, Counter())[kind] += 1

    def set_aside(
        self, status: RunStatus, kind: FaultKind, error: Exception, *, logs: list[Path], control: Path | None
    ) -> None:
        """Count a fault, and set its run aside.

        Args:
            status: The newest status of the run.
            kind: Where the fault was.
            error: The fault.
            logs: The logs of the run.
            control: Its control directory, or None.
        """
        name, now = status.name, self._monotonic()
        self.count(name, kind)
        wait, ended = self._waits.get(name, (0.0, now))
        again = wait and now - ended <= ANOTHER_AFTER * wait
        wait = min(2 * wait, LONGEST_SECONDS) if again else FIRST_SECONDS
        self._waits[name] = (wait, now + wait)
        self.aside[name] = Aside(replace(status, up=False, problem=said(kind, error)), logs, control, now + wait)

    def due(self) -> dict[str, Aside]:
        """Return the runs that are to be tried again, which are no longer set aside."""
        if not self.aside:
            return {}
        now = self._monotonic()
        found = {name: aside for name, aside in self.aside.items() if aside.due <= now}
        for name in found:
            del self.aside[name]
        return found

    def counted(self, status: RunStatus) -> RunStatus:
        """Return a status with the faults of its run."""
        if not (faults := self.faults.get(status.name)):
            return status
        return replace(status, faults={**status.faults, **dict(faults.items())})


def said(kind: FaultKind, error: Exception) -> str:
    """Return a fault as a sentence: what, where, and what becomes of it. The same fault gives the same sentence."""
    what = f"{type(error).__name__}: {error}".removesuffix(": ")[:200]
    if kind == "state":
        return (
            f"its saved state cannot be used ({what}); it is tried again. Continue with the version of lrwatch that wrote it, or give "
            "another directory with --state to start afresh"
        )
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "lrwatch" in frame.filename]
    where = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"set aside after a fault of lrwatch ({what}{where}); it is tried again from its saved state. Please report this"
