"""The format `tfevents`, TensorBoard's event files: one row for each event that has scalars, at the event's own step.

Events come by the ten thousand, and few of them differ in more than their time, step and values. So records of one
length are laid side by side. One of them is parsed field by field, which shows where its time, step and values lie. All
that are equal to it elsewhere, apart from the names of their tags, are read with numpy. The others are parsed one by
one.
"""

from __future__ import annotations

import struct
from collections import Counter, defaultdict
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch, Column, Ints
from lrwatch.formats.columns import Bools, Columns
from lrwatch.formats.tensorboard.event import Event, MalformedError, parse
from lrwatch.formats.tensorboard.framing import EventFraming, is_header

NO_EVENT = "not an event"

# Greater steps are not exact in JSON, and no run has them.
_LARGEST_STEP = 1 << 53
# Fewer records of one length are parsed one by one: numpy takes about as long as for this many.
_FEW = 16
# Longer records are parsed one by one: they are no scalars, or many in one event.
_LONGEST_SIDE_BY_SIDE = 4096
# Records of one length that are tried as a layout for the others; records that fit none of them are parsed one by one.
_MAX_LAYOUTS = 8
_WORD = 8
# Odd, without a short period in its bits: mixes the words of a record into one.
_MIX = 0x9E3779B97F4A7C15

_MALFORMED = Event(0, [])

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


class TfEvents(Checkpointed):
    """The format `tfevents`; see `lrwatch.formats.base.Format`. `Batch.lines` counts records."""

    SAVED: ClassVar[tuple[str, ...]] = ("_framing", "_last_step")

    name: ClassVar[str] = "tfevents"
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = True
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        self._framing = EventFraming()
        self._last_step = 0

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether the checksum of the first length holds; see `Format.claims`."""
        return is_header(head)

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete records; see `Format.feed`."""
        frames = self._framing.cut(data, final=final)
        lines = len(frames.starts) + frames.passed + frames.errors.total()
        events = _Events(data, frames.starts, frames.lengths)
        errors = frames.errors + events.errors
        rows = np.flatnonzero(events.has_scalars)
        number = np.cumsum(events.has_scalars) - 1
        columns = events.found.finish()
        metrics = {name: Column(number[columns[name].rows], columns[name].values) for name in sorted(columns)}
        return Batch(self._place(events.steps[rows]), metrics, "step", lines, errors), frames.consumed

    def _place(self, steps: Ints) -> Ints:
        """Return the steps; one that is negative or too great is replaced by the last usable one."""
        if not len(steps):
            return steps
        usable = (steps >= 0) & (steps <= _LARGEST_STEP)
        last = np.maximum.accumulate(np.where(usable, np.arange(len(steps)), -1))
        placed = np.where(last < 0, self._last_step, steps[last])
        self._last_step = int(placed[-1])
        return placed


class _Layout(NamedTuple):
    """The offsets in a record that differ between neighbouring events.

    Attributes:
        length: Bytes of the record.
        wall_at, step_at: As in `Event`.
        values: Offset and struct code of each value.
    """

    length: int
    wall_at: int
    step_at: tuple[int, int]
    values: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, event: Event, length: int) -> _Layout | None:
        """Return the layout of an event of `length` bytes; None unless each value has bytes of its own."""
        values = tuple((scalar.at, scalar.code) for scalar in event.scalars)
        if not values or any(at < 0 for at, _ in values):
            return None
        return cls(length, event.wall_at, event.step_at, values)

    def fixed(self) -> npt.NDArray[np.uint64]:
        """Return a mask of the bits that are structure or names, in words of eight bytes."""
        mask = np.zeros(-(-self.length // _WORD) * _WORD, np.uint8)
        mask[: self.length] = 0xFF
        if self.wall_at >= 0:
            mask[self.wall_at : self.wall_at + 8] = 0
        mask[slice(*self.step_at)] = 0x80  # how long a varint is, is structure
        for at, code in self.values:
            mask[at : at + struct.calcsize(code)] = 0
        return mask.view(np.uint64)

    def steps(self, rows: Bytes) -> Ints:
        """Return the steps in records of this layout; `rows` has shape (n, bytes)."""
        steps = np.zeros(len(rows), np.uint64)
        for number, at in enumerate(range(*self.step_at)):
            steps |= (rows[:, at] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * number)
        return steps.view(np.int64)


class _Events:
    """The events in the records of one read.

    Args:
        data: The bytes.
        starts, lengths: Offset and size of each record, shape (n,) each.

    Attributes:
        found: The values; rows are numbers of records.
        steps: Step of each record that has scalars, shape (n,).
        has_scalars: Shape (n,).
        errors: Reason to count.
    """

    def __init__(self, data: bytes, starts: Ints, lengths: Ints) -> None:
        self.found = Columns()
        self.steps = np.zeros(len(starts), np.int64)
        self.has_scalars = np.zeros(len(starts), np.bool_)
        self.errors: Counter[str] = Counter()
        self._data = data
        self._starts = starts
        self._lengths = lengths
        self._padded = data + bytes(_WORD)
        self._single: defaultdict[str, tuple[list[int], list[float]]] = defaultdict(lambda: ([], []))
        order = np.argsort(lengths, kind="stable")
        for records in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
            if len(records):
                self._read(records)
        for name, (rows, values) in self._single.items():
            self.found.add(name, rows, values)

    def _event(self, record: int) -> Event:
        """Parse one event; a malformed one is `_MALFORMED`."""
        start = self._starts[record]
        try:
            return parse(self._data[start : start + self._lengths[record]])
        except MalformedError:
            return _MALFORMED

    def _read(self, records: Ints) -> None:
        """Read records of one length."""
        length = int(self._lengths[records[0]])
        if len(records) >= _FEW and length <= _LONGEST_SIDE_BY_SIDE:
            width = -(-length // _WORD) * _WORD
            side_by_side = np.ndarray((len(self._padded) - width + 1,), f"V{width}", self._padded, strides=(1,))
            words = side_by_side[self._starts[records]].view(np.uint64).reshape(len(records), -1)
            for _ in range(_MAX_LAYOUTS):
                if len(records) < _FEW:
                    break
                done = self._read_alike(records, words, length)
                records, words = records[~done], words[~done]
        for record in records.tolist():
            self._read_one(record, self._event(record))

    def _read_one(self, record: int, event: Event) -> None:
        if event is _MALFORMED:
            self.errors[NO_EVENT] += 1
        for scalar in event.scalars:
            rows, values = self._single[scalar.tag]
            rows.append(record)
            values.append(scalar.value)
        if event.scalars:
            self.steps[record] = event.step
            self.has_scalars[record] = True

    def _read_alike(self, records: Ints, words: Words, length: int) -> Bools:
        """Read the records that have the layout of the first one.

        Returns:
            Which of `records` were read, shape (n,).
        """
        first = self._event(int(records[0]))
        layout = _Layout.of(first, length)
        done = np.zeros(len(records), np.bool_)
        if layout is None:
            self._read_one(int(records[0]), first)
            done[0] = True
            return done
        fixed = words & layout.fixed()
        for chosen in _equal(fixed):
            event = self._event(int(records[chosen[0]]))
            if _Layout.of(event, length) == layout:
                done[chosen] = True
                rows = words[chosen].view(np.uint8)
                for scalar, (at, code) in zip(event.scalars, layout.values, strict=True):
                    part = np.ascontiguousarray(rows[:, at : at + struct.calcsize(code)])
                    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
                        values = part.view(code)[:, 0].astype(np.float64)
                    self.found.add(scalar.tag, records[chosen], values)
        self.steps[records[done]] = layout.steps(words[done].view(np.uint8))
        self.has_scalars[records[done]] = True
        return done


def _equal(rows: Words) -> list[Ints]:
    """Group the numbers of equal rows, shape (n, words); rows that differ are never in one group."""
    if (rows == rows[0]).all():
        return [np.arange(len(rows))]
    mixed = np.zeros(len(rows), np.uint64)
    for column in rows.T:
        mixed = (mixed ^ column) * np.uint64(_MIX)
        mixed ^= mixed >> np.uint64(29)
    order = np.argsort(mixed, kind="stable")
    ordered = rows[order]
    return np.split(order, np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1)
