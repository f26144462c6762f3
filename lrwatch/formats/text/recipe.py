"""How the lines of one shape are read: where in them the values are, and how they are placed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lrwatch.core.sample import Smoothing
from lrwatch.formats.base import number

Kind = Literal["record", "bar", "eval", "epoch bar", "log", "heading", "item", "header", "row", "box"]
"""What becomes of a line's values:

record     they are a record.
bar        a progress bar: of several lines with the same counter the last one counts.
eval       a pass over the validation data: its last line counts, because its values are means over the pass so far.
epoch bar  a progress bar whose values are means since the epoch began: complete ones count, others are `running.`.
log        a record without a place, between the progress bars of the steps: they place it.
heading    a place; the items that follow are records there.
item       a name and a value below a heading; none elsewhere.
header     names of the columns of the rows that follow.
row        values of the columns that the last header named.
box        a row of a box of names and values, or the rule above or below it.
"""

_FACTORS = {b"K": 1e3, b"M": 1e6, b"B": 1e9, b"T": 1e12}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a value is in the lines of one mask.

    Attributes:
        start, end: The bytes that spell it.
        name: What the metric is called; None if that has digits, which differ from line to line: then `prefix` and what
            is spelled between `name_start` and `name_end`.
        factor: What a unit of thousands behind it multiplies it with.
    """

    start: int
    end: int
    name: str | None = ""
    name_start: int = 0
    name_end: int = 0
    prefix: str = ""
    factor: float = 1.0

    def read(self, line: bytes) -> float | None:
        """The value in `line`."""
        value = number(line[self.start : self.end].decode("ascii", "replace").replace(",", ""))
        return value if value is None or self.factor == 1.0 else value * self.factor

    def called(self, line: bytes) -> str:
        """The name in `line`."""
        if self.name is not None:
            return self.name
        return self.prefix + line[self.name_start : self.name_end].decode("utf-8", "replace")


def factor_of(unit: bytes) -> float | None:
    """What a unit of thousands stands for, or None if it is none.

    >>> factor_of(b"K"), factor_of(b"ms")
    (1000.0, None)
    """
    return _FACTORS.get(unit)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a line is read.

    Attributes:
        slots: The metrics in it.
        kind: See `Kind`.
        step, epoch: Where these are, if the line says them.
        index, total: A counter that ends at `total`, or (`total` None) one that may begin again with each epoch.
        named: The counter is called a step, so it is likely to count them all.
        rank: Where the number of the process is that wrote the line.
        smoothing: How the metrics were smoothed, by name; where it is not in here, not at all as far as is known.
        missing: The line tells of steps whose loss was not a number, and leaves the loss itself out: the slots of how many
            were skipped and how many were not a number.
        cells: Of a row, its cells (start, end); of a header, the names of the columns.
    """

    slots: tuple[Slot, ...] = ()
    kind: Kind = "record"
    step: Slot | None = None
    epoch: Slot | None = None
    index: Slot | None = None
    total: Slot | None = None
    named: bool = False
    rank: Slot | None = None
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    missing: tuple[Slot | None, Slot | None] | None = None
    cells: tuple[Slot, ...] = ()

    @property
    def stands_alone(self) -> bool:
        """Whether the values are in the line itself; a `log` stands alone where there are no progress bars."""
        return self.kind in ("record", "log") and self.rank is None and self.missing is None
