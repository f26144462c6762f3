"""What of a log was delivered already, so that a log that begins anew counts nothing twice.

Some logs are rewritten in place by the run that writes them: Lightning rewrites `metrics.csv` as a whole when a metric
appears, Stable-Baselines3 does, `trainer_state.json` grows by being replaced. Others begin anew because another run took
their name. Reading them from the beginning again, the samples of the first kind are old up to where the log was before,
and those of the second are all new. The content tells which it is:

* A metric's samples are numbered in log order. A sample that is read again is old while its number was delivered before.
* As soon as one of them is not what is remembered under its number, in any metric, the log is another from that row on:
  a resume that computed these steps once more, or, when the first sample differs, another run. From there on all is new.

Remembered are fingerprints: of the last samples, and of some that lie evenly over all before, the first among them. So
what differs is found at once at the beginning and near the end, and between these after at most one in SPREAD / 2 of the
samples, which are then not delivered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from struct import Struct
from typing import Any
from zlib import crc32

import numpy as np

from lrwatch.core.sample import Batch, Column, Ints

# Newest samples of a metric that are remembered: a resume goes back to a checkpoint some records before the end.
RECENT = 16
# Samples remembered that lie evenly over all of them, between half as many and as many.
SPREAD = 16
# Metrics with a memory; more of them are passed on as they come. As many as a run shows.
MAX_METRICS = 256

_PAIR = Struct("<qd")
_NAN = float("nan")


def _fingerprint(step: int, value: float) -> int:
    """Of a sample. All NaN are one value."""
    return crc32(_PAIR.pack(step, value if value == value else _NAN))


def _printed(sample: tuple[int, float] | int) -> int:
    return sample if isinstance(sample, int) else _fingerprint(*sample)


@dataclass(slots=True)
class _Memory:
    """Of one metric.

    Attributes:
        count: Samples that were delivered.
        stride: Every how many of them one is in `spread`.
        spread: Fingerprints of the samples 0, stride, 2 * stride, ...
        recent: The last samples, step and value, or fingerprints of them: they are made when they are needed.
    """

    count: int = 0
    stride: int = 1
    spread: list[int] = field(default_factory=list)
    recent: deque[tuple[int, float] | int] = field(default_factory=lambda: deque(maxlen=RECENT))

    def state(self) -> list[Any]:
        """JSON-plain; the inverse of `restore`."""
        return [self.count, self.stride, list(self.spread), list(map(_printed, self.recent))]

    @classmethod
    def restore(cls, state: Sequence[Any]) -> _Memory:
        count, stride, spread, recent = state
        return cls(count, stride, list(spread), deque(recent, RECENT))

    def add(self, steps: Ints, column: Column, listed: list[int] | None) -> None:
        """The samples of `column` are delivered. `listed`: the steps as a list, where they are few."""
        rows = column.rows
        count = len(rows)
        while self.count + count > self.stride * SPREAD:
            self.stride *= 2
            self.spread = self.spread[::2]
        for i in range(-self.count % self.stride, count, self.stride):
            self.spread.append(_fingerprint(int(steps[rows[i]]), float(column.values[i])))
        if listed is None or count < len(listed):  # else there is a value in each row
            listed = steps[rows[-RECENT:]].tolist()
        self.recent.extend(zip(listed, column.values[-RECENT:].tolist(), strict=True))
        self.count += count

    def differs(self, steps: Ints, column: Column, at: int) -> int | None:
        """Index of the first sample in `column`, of which the first has the number `at`, that is not as remembered."""
        end = min(self.count, at + len(column.rows))
        oldest = self.count - len(self.recent)
        numbers: set[int] = {
            *range(-(-at // self.stride) * self.stride, end, self.stride),
            *range(max(at, oldest), end),
        }
        for number in sorted(numbers):
            i = number - at
            known = self.recent[number - oldest] if number >= oldest else self.spread[number // self.stride]
            if _printed(known) != _fingerprint(int(steps[column.rows[i]]), float(column.values[i])):
                return i
        return None

    def cut(self, count: int) -> None:
        """Forget the samples from the number `count` on."""
        if count < self.count:
            for _ in range(min(self.count - count, len(self.recent))):
                self.recent.pop()
            del self.spread[-(-count // self.stride) :]
            self.count = count


class Deduplicator:
    """What was delivered of one log.

    Attributes:
        repeated: Samples that were read again and not delivered again, since the process began.
    """

    def __init__(self) -> None:
        self.repeated = 0
        self._memories: dict[str, _Memory] = {}
        # Samples of each metric that were read since the log began anew; None once nothing old is left to read.
        self._read: dict[str, int] | None = None

    def state(self) -> dict[str, Any]:
        """JSON-plain: all that must survive a restart."""
        metrics = {name: memory.state() for name, memory in self._memories.items()}
        return {"metrics": metrics, "read": None if self._read is None else dict(self._read)}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Deduplicator:
        """The inverse of `state`."""
        seen = cls()
        seen._memories = {name: _Memory.restore(memory) for name, memory in state["metrics"].items()}
        seen._read = None if state["read"] is None else dict(state["read"])
        return seen

    def begin_anew(self) -> None:
        """What comes next is the beginning of the log."""
        self._read = {} if self._memories else None

    def complete(self) -> None:
        """The log ends here: what it had before behind this place is not in it any more, and new when it comes back."""
        if self._read is not None:
            self._forget_from(self._read)

    def new(self, batch: Batch) -> Batch:
        """The samples of `batch`, the next of the log, that were not delivered yet.

        Rows in front of the first of them are left out as well; lines and errors count all that was read.
        """
        if self._read is None:
            self._deliver(batch.steps, batch.columns)
            return batch
        return self._new_in(batch, self._read)

    def _new_in(self, batch: Batch, read: dict[str, int]) -> Batch:
        differs = self._first_difference(batch, read)
        new: dict[str, Column] = {}
        for name, column in batch.columns.items():
            memory = self._memories.get(name)
            before = int(np.searchsorted(column.rows, differs))
            at = read.get(name, 0)
            start = 0 if memory is None else min(before, memory.count - at)
            read[name] = at + before
            self.repeated += start
            if start < len(column.rows):
                new[name] = Column(column.rows[start:], column.values[start:])
        if differs < batch.rows:
            self._forget_from(read)
        self._deliver(batch.steps, new)
        if all(read.get(name, 0) >= memory.count for name, memory in self._memories.items()):
            self._read = None
        first = min((int(column.rows[0]) for column in new.values()), default=batch.rows)
        columns = {name: Column(column.rows - first, column.values) for name, column in new.items()}
        return replace(batch, steps=batch.steps[first:], columns=columns)

    def _first_difference(self, batch: Batch, read: Mapping[str, int]) -> int:
        """The first row with a sample that is not as remembered, or the number of rows."""
        row = batch.rows
        for name, column in batch.columns.items():
            if (memory := self._memories.get(name)) is not None:
                i = memory.differs(batch.steps, column, read.get(name, 0))
                row = row if i is None else min(row, int(column.rows[i]))
        return row

    def _forget_from(self, read: Mapping[str, int]) -> None:
        """Keep of each metric only as many samples as were read again."""
        for name, memory in list(self._memories.items()):
            memory.cut(read.get(name, 0))
            if not memory.count:
                del self._memories[name]
        self._read = None

    def _deliver(self, steps: Ints, columns: Mapping[str, Column]) -> None:
        listed = steps.tolist() if len(steps) <= RECENT else None
        for name, column in columns.items():
            memory = self._memories.get(name)
            if memory is None:
                if len(self._memories) >= MAX_METRICS:
                    continue
                memory = self._memories[name] = _Memory()
            memory.add(steps, column, listed)
