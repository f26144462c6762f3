"""Stalled: no sample has come for much longer than this run takes between samples.

What it accumulates: the newest GAPS times between arrivals of new samples, in seconds, as the reader of the logs sees them, and the
longest one of all. A run is stalled when nothing has come for TIMES times the median gap, for twice the longest gap that it
came back from (an evaluation, a checkpoint), and for at least LEAST seconds. It is reported once, and again only after samples
came. False alarms: whatever takes more than twice as long as it ever took looks stalled; nothing else does.

It needs a clock, so the daemon feeds it its polls of the log. A replay has no such polls, and never reports a stall.
"""

from __future__ import annotations

from lrwatch.core.detectors.base import Detector, Poll
from lrwatch.core.events import Finding

# Gaps that the median is taken of.
GAPS = 64

# Fewer gaps say too little of the run's own pace.
MIN_GAPS = 5

# In median gaps, in longest gaps, and in seconds.
TIMES = 10.0
LONGEST = 2.0
LEAST = 60.0


class StalledDetector(Detector[Poll]):
    """Watches the arrival of the samples of one run.

    >>> detector = StalledDetector()
    >>> detector.feed(list(range(100)), [Poll(float(second), arrived=True) for second in range(100)])
    []
    >>> [(_, finding)] = detector.feed([99, 99], [Poll(150.0, arrived=False), Poll(170.0, arrived=False)])
    >>> finding.evidence["silent_seconds"]
    71.0
    """

    KIND = "stalled"
    NEEDS = "clock"
    SCALE_INVARIANT = False
    MAX_STATE_BYTES = 2000
    SAVED = ("_gaps", "_longest", "_last", "_reported")

    def restart(self) -> None:
        """See `Detector.restart`."""
        self._gaps: list[float] = []
        self._longest = 0.0
        self._last: float | None = None
        self._reported = False

    def feed(self, steps: list[int], values: list[Poll]) -> list[tuple[int, Finding]]:
        """Take polls of the log in order, each with the newest step of the run. See `Detector.feed`."""
        found: list[tuple[int, Finding]] = []
        for i, (step, poll) in enumerate(zip(steps, values, strict=True)):
            if poll.arrived:
                self._arrive(poll.time)
            elif (finding := self._judge(step, poll.time)) is not None:
                found.append((i, finding))
        return found

    def _arrive(self, time: float) -> None:
        if self._last is not None and time > self._last:  # a clock that was set back gives no gap
            gap = time - self._last
            self._longest = max(self._longest, gap)
            self._gaps = [*self._gaps, gap][-GAPS:]
        self._last, self._reported = time, False

    def clock_stepped(self, seconds: float) -> None:
        """Learn that the clock was set by `seconds`: the silence so far is as long as it was."""
        if self._last is not None:
            self._last += seconds

    def paused(self) -> None:
        """Nobody read for a while: the time until the next samples is no gap of the run's own."""
        self._last = None

    @property
    def patience(self) -> float | None:
        """Seconds of silence after which the run is stalled, or None while too few gaps are recorded."""
        if len(self._gaps) < MIN_GAPS:
            return None
        return max(LEAST, TIMES * sorted(self._gaps)[len(self._gaps) // 2], LONGEST * self._longest)

    def _judge(self, step: int, now: float) -> Finding | None:
        if self._reported or self._last is None or now - self._last <= LEAST:
            return None
        patience = self.patience
        if patience is None or now - self._last <= patience:
            return None
        self._reported = True
        silent, usual = now - self._last, sorted(self._gaps)[len(self._gaps) // 2]
        return self._finding(
            step,
            {"silent_seconds": silent, "usual_seconds": usual, "longest_seconds": self._longest},
            f"no sample for {silent:.0f} s; one comes every {usual:.3g} s, and the longest wait was {self._longest:.3g} s",
        )
