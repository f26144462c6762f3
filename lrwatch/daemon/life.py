"""What the daemon sees of the life of one run: the trainer's word, its process, and the times at which samples were written."""

from __future__ import annotations

import time
from typing import Any

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.life import OVER, Life, Signs, Told, row_of
from lrwatch.protocol import Observed, Process, is_alive

# A log that nobody has written to for this long when it is first seen is history. As long as alerts look back.
OLD_SECONDS = 900.0

# Silence, in seconds, after which a run is lost whose own gaps nobody has measured, because it had fewer than five.
UNKNOWN_PATIENCE = 6 * 3600.0

# No silence is a loss before this, in seconds: the first evaluation of a run is longer than every gap before it.
LEAST_PATIENCE = 3600.0

# A goodbye holds although its training still writes a last evaluation: samples that come so many seconds later, and in more than so
# many reads, are of another attempt, which says nothing. When that falls silent, the last word counts again.
LAST_WORDS_SECONDS = 60.0
LAST_WORDS = 5

_GOODBYES = {
    "close": "the training closed its client",
    "callback": "the training was over",
    "exit": "the program ended",
    "released": "the training let go of its client",
    "interrupt": "it was interrupted by hand",
    "exception": "an exception ended it",
}


class LifeWatch(Checkpointed):
    """The life of one run.

    Args:
        watched: Whether the run is watched as it happens; else, as in a replay, nothing of it is history.

    Attributes:
        life: What the run is in now.
        since: Seconds since the epoch since when; None at first.
        note: How that is known, as a sentence.
        history: Whether all samples so far were old when the logs were first seen.
        gone: Whether the trainer that was listening is no longer there.
    """

    SAVED = ("life", "since", "note", "history", "_word", "_parted", "_after")

    def __init__(self, *, watched: bool = True) -> None:
        self.life: Life = "starting"
        self.since: float | None = None
        self.note = ""
        self.history = watched
        self.gone = False
        self._word = ""  # the start of the trainer that the next ones are about
        self._parted: float | None = None  # when it was first seen to be over
        self._after = 0  # reads with samples that were written later
        self._alive: bool | None = None
        self._told: Told = ""

    def clock_stepped(self, seconds: float) -> None:
        """See `WatchedRun.clock_stepped`."""
        if self.since is not None:
            self.since += seconds
        if self._parted is not None:
            self._parted += seconds

    def meet(self, observed: Observed | None, now: float) -> None:
        """Look at the trainer: its goodbye, and its process.

        Args:
            observed: Its newest message, or None.
            now: Seconds since the epoch.
        """
        self._told, self._alive = "", None
        if observed is not None:
            if observed.incarnation != self._word:
                self._word, self._parted, self._after = observed.incarnation, None, 0
            if observed.life == "ended":
                self._told = "failed" if observed.goodbye == "exception" else "ended"
            if observed.pid is not None and observed.pid_start is not None:
                self._alive = is_alive(Process(observed.pid, observed.pid_start, observed.machine))
            self.gone = bool(self._told) or self._alive is False
            if self.gone and self._parted is None:
                self._parted = now

    def arrived(self, written: float, now: float) -> None:
        """Take note of samples that were written at `written`, in seconds since the epoch."""
        if written > now - OLD_SECONDS:
            self.history = False
        if self._parted is not None and written > self._parted + LAST_WORDS_SECONDS:
            self._after += 1

    def look(
        self, observed: Observed | None, *, now: float, step: int | None, last: float | None, patience: float | None,
        total_steps: int,
    ) -> dict[str, Any] | None:  # fmt: skip
        """Say what the run is in now.

        Args:
            observed: The trainer's newest message, or None.
            now: Seconds since the epoch.
            step: Newest step of the run, or None.
            last: When its newest sample was written, in seconds since the epoch, or None.
            patience: Seconds of silence that its own gaps explain, or None where there are too few.
            total_steps: Its length, counted as `step` is; 0 where nobody knows it.

        Returns:
            The journal's event without run, when the run has ended or runs again; else None.
        """
        complete = step is not None and 0 < total_steps <= step
        if patience is None:
            patience = UNKNOWN_PATIENCE
        elif not complete:
            patience = max(patience, LEAST_PATIENCE)
        silent = last is not None and now - last > patience
        if self._after > LAST_WORDS and self._alive is not True and not silent:  # another attempt, which says nothing
            self._told, self._alive = "", None
        signs = Signs(
            samples=last is not None,
            history=self.history,
            told=self._told,
            alive=self._alive,
            silent=silent,
            complete=complete,
        )
        row = row_of(signs)
        if row.life == self.life:
            return None
        return self.becomes(row.life, self._said(row.why, observed, step, last, now), step=step, now=now)

    def becomes(self, life: Life, note: str, *, step: int | None, now: float) -> dict[str, Any] | None:
        """Enter a life.

        Args:
            life: The life.
            note: How it is known.
            step: Newest step of the run, or None.
            now: Seconds since the epoch.

        Returns:
            The journal's event, as `look` returns it.
        """
        tells = life in OVER or self.life in OVER
        self.life, self.since, self.note = life, now, note
        return {"event": "life", "step": step, "life": life, "message": note} if tells else None

    def _said(self, why: str, observed: Observed | None, step: int | None, last: float | None, now: float) -> str:
        """Return how it is known what a run is in, with numbers."""
        at = "" if step is None else f" at step {step}"
        if self.life in OVER and why.startswith(("its process lives", "samples come")):
            return f"it goes on{at}"
        if self._told and observed is not None and not self.history:
            return f"{_GOODBYES[str(observed.goodbye)]}{at}" if observed.goodbye else f"its trainer said goodbye{at}"
        if self._alive is False and observed is not None and not self.history:
            return f"the trainer's process {observed.pid} is gone without a goodbye{at}"
        if self.history and last is not None:
            return f"last written on {time.strftime('%Y-%m-%d %H:%M', time.localtime(last))}{at}, before lrwatch looked"
        if last is not None and now > last:
            return f"{why}{at}: nothing for {now - last:.0f} s"
        return f"{why}{at}"
