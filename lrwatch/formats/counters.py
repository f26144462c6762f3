"""Steps from counters: an epoch and a counter within it, or a counter that restarts.

A change of the epoch shows whether a counter restarts with each epoch: it falls, or it does not. Until then a counter
that is called a step counts the whole run, and ``[50/489]`` beside an epoch counts within it; in the first epoch that
is the same.

Some logs name an epoch at its end: ``batch 100/300 loss 2.5`` and so on, then ``Epoch 1 finished``. Where counters came
before the first epoch, those that follow an epoch belong to the next one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from lrwatch.core.checkpoint import Checkpointed

# Names of counters that restart with each epoch.
_IN_EPOCH = frozenset({"batch", "batch idx", "mini batch", "minibatch", "it", "i", "b"})


def restarts(name: str) -> bool:
    """Return whether a counter of this name restarts with each epoch."""
    return name.strip().lower().replace("_", " ").replace("-", " ") in _IN_EPOCH


# Progress bars of different lengths that are followed: training, validation and others.
_BARS = 16


@dataclass
class Counters(Checkpointed):
    """The counters of a log.

    Attributes:
        base: Number of the first epoch, 0 or 1.
        epoch: The present epoch of the log.
        last: Epoch and index of the last counter, and the first index of its epoch.
        restarts: Whether counters restart with each epoch; None while it is unknown.
        length: Steps of an epoch, learned if the log does not contain it; `since` is the epoch from which it counts.
        bars: Counters without an epoch, by their total: completed rounds, last index, largest distance of two.
        ahead: The first and the last counter before any epoch, and how many there were, up to two.
        behind: An epoch is named behind its counters.
    """

    SAVED: ClassVar[tuple[str, ...]] = (
        "base", "epoch", "last", "restarts", "length", "since", "bars", "ahead", "behind",
    )  # fmt: skip

    base: int | None = None
    epoch: int | None = None
    last: list[int] | None = None
    restarts: bool | None = None
    length: int | None = None
    since: int = 0
    bars: dict[str, list[int]] = field(default_factory=dict)
    ahead: list[int] | None = None
    behind: bool = False

    def enter(self, epoch: float) -> None:
        """Take note that the log is in `epoch`."""
        if epoch.is_integer() and 0 <= epoch < 2**53:
            if self.epoch is None and self.ahead is not None and self.ahead[2] > 1:
                self.behind, self.last = True, [int(epoch), self.ahead[1], self.ahead[0]]
            self.epoch = int(epoch)
            if self.base is None or self.epoch == 0:
                self.base = min(self.epoch, 1)

    def count_ahead(self, first: int, last: int, count: int = 1) -> None:
        """Take note of counters before any epoch: the first and the last of them, and how many they are."""
        before = self.ahead or [first, last, 0]
        self.ahead = [before[0], last, min(before[2] + count, 2)]

    def step(self, index: int, total: int | None, *, named: bool, own: bool = True) -> int:
        """Return the step of a counter.

        Args:
            index: The counter.
            total: Its end, if the log contains it.
            named: The counter is called a step.
            own: Its line names the epoch, so the counter does not belong to the next one.

        Returns:
            The step of the run, as far as it is known yet.
        """
        if self.epoch is not None:
            return self._within(self.epoch + (self.behind and not own), index, total, named=named, own=own)
        self.count_ahead(index, index)
        return index if named or total is None else self._rounds(index, total)

    def _within(self, epoch: int, index: int, total: int | None, *, named: bool, own: bool) -> int:
        last_epoch, last, first = self.last or (epoch, index, index)
        if epoch < last_epoch:  # another run
            self.restarts = self.length = None
            first = index
        elif epoch > last_epoch:
            # Below the line of an epoch, a step of the run may be said again: the last one, with its validation.
            self.restarts = index < last or index <= first or (own and index == last)
            if self.restarts and total is None and self.length is None:
                self.length, self.since = last + (1 if first == 0 else 0), last_epoch
            first = index
        self.last = [epoch, index, first]
        restarts = self.restarts if self.restarts is not None else not named
        if not restarts:
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
