"""A clock that stands until it is turned: for whatever takes a `clock` argument."""

from __future__ import annotations


class FakeClock:
    """Gives the seconds that it was set to.

    Args:
        now: What it shows at first, in seconds since the epoch.

    >>> clock = FakeClock(100.0)
    >>> clock.advance(5)
    >>> clock()
    105.0
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = float(now)

    def __call__(self) -> float:
        """The time."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Turn it by `seconds`; below zero is what a clock does that is set back."""
        self.now += seconds
