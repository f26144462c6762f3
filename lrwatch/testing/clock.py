"""Manual clock for every `clock` argument: it stands still until a test sets it."""

from __future__ import annotations


class FakeClock:
    """A clock that a test sets and advances.

    Args:
        now: Initial time in seconds since the epoch.

    >>> clock = FakeClock(100.0)
    >>> clock.advance(5)
    >>> clock()
    105.0
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        """Return the time in seconds since the epoch."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Advance the clock by `seconds`; a negative number sets it back."""
        self.now += seconds
