"""Steps from counters: an epoch and a counter within it, or a counter that begins again.

Whether a counter begins again with each epoch is seen when the epoch changes: it falls, or it does not. Until then a counter
that is called a step counts them all, and ``[50/489]`` beside an epoch counts within it; in the first epoch that is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Progress bars of different lengths that are followed: training, validation, and what else is counted.
_BARS = 16


@dataclass(slots=True)
class Places:
    """All of it is state that must survive a restart.

    Attributes:
        base: Number of the first epoch, 0 or 1.
        epoch: The epoch that the log is in.
        counted: The epoch, index and first index of the epoch at the last counter.
        again: Whether counters begin again with each epoch.
        length: Steps of an epoch, learned, where the log does not say it; `since` is the epoch that it counts from.
        bars: Of counters without an epoch, by their total: completed rounds, last index, largest distance of two.
    """

    base: int | None = None
    epoch: int | None = None
    counted: list[int] | None = None
    again: bool | None = None
    length: int | None = None
    since: int = 0
    bars: dict[str, list[int]] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return asdict(self)

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Places:
        """The inverse of `state`."""
        return cls(**{**state, "bars": {total: list(bar) for total, bar in state["bars"].items()}})

    def note(self, epoch: float) -> None:
        """The log is in `epoch`."""
        if epoch.is_integer() and 0 <= epoch < 2**53:
            self.epoch = int(epoch)
            if self.base is None or self.epoch == 0:
                self.base = min(self.epoch, 1)

    def step(self, index: int, total: int | None, *, named: bool) -> int:
        """The step of a counter at `index` of `total`.

        Args:
            index: The counter.
            total: Where it ends, if the log says it.
            named: It is called a step.
        """
        if self.epoch is not None:
            return self._within(self.epoch, index, total, named=named)
        return index if named or total is None else self._rounds(index, total)

    def _within(self, epoch: int, index: int, total: int | None, *, named: bool) -> int:
        last_epoch, last, first = self.counted or (epoch, index, index)
        if epoch < last_epoch:  # another run
            self.again = self.length = None
            first = index
        elif epoch > last_epoch:
            self.again = index <= last
            if self.again and total is None and self.length is None:
                self.length, self.since = last + (1 if first == 0 else 0), last_epoch
            first = index
        self.counted = [epoch, index, first]
        again = self.again if self.again is not None else not named
        if not again:
            return index
        if total is not None:
            return (epoch - (self.base or 0)) * total + index
        return index if self.length is None else (epoch - self.since) * self.length + index

    def _rounds(self, index: int, total: int) -> int:
        if str(total) not in self.bars and len(self.bars) >= _BARS:
            self.bars.clear()
        rounds, last, gap = self.bars.setdefault(str(total), [0, index, 0])
        if index < last:
            complete = last + gap >= total - 1
            rounds = rounds + 1 if complete else 0
        else:
            gap = max(gap, index - last)
        self.bars[str(total)] = [rounds, index, gap]
        return rounds * total + index
