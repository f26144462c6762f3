"""Deduplicate the samples of a log that is rewritten or replaced in place.

Some logs are rewritten by the run that writes them: Lightning rewrites `metrics.csv` as a whole when a metric appears, and
so does Stable-Baselines3; `trainer_state.json` grows by being replaced. Others start over because another run took their
name. Both are read from the beginning again. The samples of the first kind are old up to where the log was before, those of
the second are all new. The content tells which it is:

* A metric's samples are numbered in log order. A sample that is read again is old while its number was delivered before.
* As soon as one of them differs from the fingerprint under its number, in any metric, the log is another from that row on:
  a resume that computed these steps once more or, when the first sample differs, another run. From there on all is new.

The memory holds fingerprints: of the last samples, and of some spread evenly over all before, the first among them. So
a difference is found at once at the beginning and near the end. Between these it is found after at most one in SPREAD / 2
of the samples, which are then not delivered.
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

# Newest samples of a metric in the memory: a resume goes back to a checkpoint some records before the end.
RECENT = 16
# Samples in the memory that are spread evenly over all of them: between half as many and as many.
SPREAD = 16
# Metrics with a memory; the samples of further ones pass unchecked. As many as a run shows.
MAX_METRICS = 256

_PAIR = Struct("<qd")
_NAN = float("nan")


def _fingerprint(step: int, value: float) -> int:
    """Hash of a sample. All NaN are one value."""
    return crc32(_PAIR.pack(step, value if value == value else _NAN))


def _hashed(sample: tuple[int, float] | int) -> int:
    return sample if isinstance(sample, int) else _fingerprint(*sample)


@dataclass(slots=True)
class _Memory:
    """Fingerprints of one metric.

    Attributes:
        count: Delivered samples.
        stride: Every how many of them one is in `spread`.
        spread: Fingerprints of the samples 0, stride, 2 * stride, ...
        recent: The last samples, step and value, or their fingerprints, which are computed when needed.
    """

    count: int = 0
    stride: int = 1
    spread: list[int] = field(default_factory=list)
    recent: deque[tuple[int, float] | int] = field(default_factory=lambda: deque(maxlen=RECENT))

    def state(self) -> list[Any]:
        """Return the JSON-plain state for `restore`."""
        return [self.count, self.stride, list(self.spread), list(map(_hashed, self.recent))]

    @classmethod
    def restore(cls, state: Sequence[Any]) -> _Memory:
        """Return the memory whose `state` this is."""
        count, stride, spread, recent = state
        return cls(count, stride, list(spread), deque(recent, RECENT))

    def add(self, steps: Ints, column: Column, listed: list[int] | None) -> None:
        """Add the delivered samples of `column`. `listed`: the steps as a list, where they are few."""
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
        """Index of the first sample in `column`, whose first has the number `at`, that differs from the memory."""
        end = min(self.count, at + len(column.rows))
        oldest = self.count - len(self.recent)
        numbers: set[int] = {
            *range(-(-at // self.stride) * self.stride, end, self.stride),
            *range(max(at, oldest), end),
        }
        for number in sorted(numbers):
            i = number - at
            sample = self.recent[number - oldest] if number >= oldest else self.spread[number // self.stride]
            if _hashed(sample) != _fingerprint(int(steps[column.rows[i]]), float(column.values[i])):
                return i
        return None

    def cut(self, count: int) -> None:
        """Drop the samples from the number `count` on."""
        if count < self.count:
            for _ in range(min(self.count - count, len(self.recent))):
                self.recent.pop()
            del self.spread[-(-count // self.stride) :]
            self.count = count


class Deduplicator:
    """Filter the samples of one log that were delivered before.

    Attributes:
        repeated: Samples that were read again and dropped, since the process began.
    """

    def __init__(self) -> None:
        self.repeated = 0
        self._memories: dict[str, _Memory] = {}
        # Samples of each metric that were read since the log started over; None once nothing old is left to read.
        self._reread: dict[str, int] | None = None

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state for `restore`."""
        metrics = {name: memory.state() for name, memory in self._memories.items()}
        return {"metrics": metrics, "read": None if self._reread is None else dict(self._reread)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self._memories = {name: _Memory.restore(memory) for name, memory in state["metrics"].items()}
        self._reread = None if state["read"] is None else dict(state["read"])

    def rewind(self) -> None:
        """Expect the beginning of the log in the next batch."""
        self._reread = {} if self._memories else None

    def complete(self) -> None:
        """Mark the end of the log: samples that it had behind this place are gone, and new when they come back."""
        if self._reread is not None:
            self._truncate(self._reread)

    def new(self, batch: Batch) -> Batch:
        """Return the samples of `batch`, the next of the log, that were not delivered yet.

        Rows before the first of them are left out as well; lines and errors count all that was read.
        """
        if self._reread is None:
            self._deliver(batch.steps, batch.columns)
            return batch
        return self._filter(batch, self._reread)

    def _filter(self, batch: Batch, read: dict[str, int]) -> Batch:
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
            self._truncate(read)
        self._deliver(batch.steps, new)
        if all(read.get(name, 0) >= memory.count for name, memory in self._memories.items()):
            self._reread = None
        first = min((int(column.rows[0]) for column in new.values()), default=batch.rows)
        columns = {name: Column(column.rows - first, column.values) for name, column in new.items()}
        return replace(batch, steps=batch.steps[first:], columns=columns)

    def _first_difference(self, batch: Batch, read: Mapping[str, int]) -> int:
        """Return the first row with a sample that differs from the memory, or the number of rows."""
        row = batch.rows
        for name, column in batch.columns.items():
            if (memory := self._memories.get(name)) is not None:
                i = memory.differs(batch.steps, column, read.get(name, 0))
                row = row if i is None else min(row, int(column.rows[i]))
        return row

    def _truncate(self, read: Mapping[str, int]) -> None:
        """Keep of each metric only as many samples as were read again."""
        for name, memory in list(self._memories.items()):
            memory.cut(read.get(name, 0))
            if not memory.count:
                del self._memories[name]
        self._reread = None

    def _deliver(self, steps: Ints, columns: Mapping[str, Column]) -> None:
        listed = steps.tolist() if len(steps) <= RECENT else None
        for name, column in columns.items():
            memory = self._memories.get(name)
            if memory is None:
                if len(self._memories) >= MAX_METRICS:
                    continue
                memory = self._memories[name] = _Memory()
            memory.add(steps, column, listed)
