"""Stalled: no sample has come for much longer than this run takes between samples.

What it accumulates: the newest GAPS times between arrivals of new samples, in seconds, as who reads the logs sees them, and the
longest one of all. A run is stalled when nothing has come for TIMES times the median gap, for twice the longest gap that it
came back from (an evaluation, a checkpoint), and for at least LEAST seconds. It is said once, and again only after samples
came. False alarms: whatever takes more than twice as long as it ever took looks stalled; nothing else does.

It needs a clock, so it is asked by the daemon, and has nothing to say of a log that is replayed.
"""

from __future__ import annotations

from typing import Any

from lrwatch.core.events import Finding

# Gaps that the median is taken of.
GAPS = 64

# Fewer gaps say too little of the run's own pace.
MIN_GAPS = 5

# In median gaps, in longest gaps, and in seconds.
TIMES = 10.0
LONGEST = 2.0
LEAST = 60.0


class StalledDetector:
    """Watches the arrival of the samples of one run.

    >>> detector = StalledDetector()
    >>> for second in range(100):
    ...     detector.arrived(float(second))
    >>> detector.ask(150.0, step=99), detector.ask(170.0, step=99).evidence["silent_seconds"]
    (None, 71.0)
    """

    def __init__(self) -> None:
        self._gaps: list[float] = []
        self._longest = 0.0
        self._last: float | None = None
        self._said = False

    def arrived(self, time: float) -> None:
        """New samples were read at `time`, in seconds. A clock that was set back gives no gap."""
        if self._last is not None and time > self._last:
            gap = time - self._last
            self._longest = max(self._longest, gap)
            self._gaps = [*self._gaps, gap][-GAPS:]
        self._last, self._said = time, False

    def paused(self) -> None:
        """Nobody read for a while: the time until the next samples is no gap of the run's own."""
        self._last = None

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which the run is stalled, or None while its pace is not known."""
        if len(self._gaps) < MIN_GAPS:
            return None
        return max(LEAST, TIMES * sorted(self._gaps)[len(self._gaps) // 2], LONGEST * self._longest)

    def ask(self, now: float, step: int) -> Finding | None:
        """Whether the run, whose newest step is `step`, is stalled at `now`, and that was not said yet."""
        if self._said or self._last is None or now - self._last <= LEAST:
            return None
        patience = self.patience
        if patience is None or now - self._last <= patience:
            return None
        self._said = True
        silent, usual = now - self._last, sorted(self._gaps)[len(self._gaps) // 2]
        return Finding(
            "stalled",
            "",
            step,
            {"silent_seconds": silent, "usual_seconds": usual, "longest_seconds": self._longest},
            f"no sample for {silent:.0f} s; one comes every {usual:.3g} s, and the longest wait was {self._longest:.3g} s",
        )

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {"gaps": self._gaps, "longest": self._longest, "last": self._last, "said": self._said}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._gaps, self._longest = list(state["gaps"]), state["longest"]
        self._last, self._said = state["last"], state["said"]
