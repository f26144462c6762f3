"""Recipes: where the values are in the lines of one mask, and which step they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lrwatch.core.names import role
from lrwatch.core.sample import Smoothing
from lrwatch.formats.base import LONGEST_NUMBER, number
from lrwatch.formats.text.numerals import DECIMALS

Kind = Literal[
    "record", "bar", "eval", "epoch bar", "log", "heading", "item", "header", "row", "box", "length", "measure",
    "again", "block", "loose item", "section",
]  # fmt: skip
"""The role of a line:

record     its values are a record.
bar        a progress bar: of several lines with the same counter the last one counts.
eval       a pass over the validation data: its last line counts, because its values are means over the pass so far.
epoch bar  a progress bar whose values are means since the epoch began: complete ones count, others are `running.`.
log        a record without a place, between the progress bars of the steps, which place it.
heading    a place; the items that follow are records there.
item       a name and a value below a heading; nothing elsewhere.
loose item an item that is not indented; nothing unless an indented one came before it below the same heading.
block      the beginning of a record; the indented items below it are its values, and one of them may be its step.
section    the split of the indented items below it, below a heading.
again      the next record repeats an earlier one, and gives nothing.
header     names of the columns of the rows that follow.
row        values of the columns that the last header named.
measure    a learning rate or a score, without a place or a loss: a record at the last place before it, or a setting if
           there is none yet.
box        a row of a box of names and values, or the rule above or below it.
length     it states the length of the run, and has no values.
"""

NUMBER_OF_RANK = "number"
"""Name of the slot of a number before a colon, `100: loss 2.5`: that of a process, or a step."""

_LOSSES = frozenset({"train_loss", "val_loss"})
_FACTORS = {b"k": 1e3, b"K": 1e3, b"M": 1e6, b"B": 1e9, b"T": 1e12}


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a value in the lines of one mask.

    Attributes:
        start, end: Offsets of the bytes that spell the value.
        name: Name of the metric; None if it has digits, which differ from line to line. Then it is `prefix` and the
            bytes between `name_start` and `name_end`.
        name_start, name_end: Offsets of the bytes of the name.
        prefix: Prefix of a name with digits.
        factor: Factor of the unit of thousands behind the value.
    """

    start: int
    end: int
    name: str | None = ""
    name_start: int = 0
    name_end: int = 0
    prefix: str = ""
    factor: float = 1.0

    def read(self, line: bytes) -> float | None:
        """Return the value in `line`, or None if it is not a number."""
        spelled = line[self.start : self.end]
        if len(spelled) > LONGEST_NUMBER:
            return None
        try:
            value: float | None = float(spelled)
        except ValueError:
            value = number(spelled.decode("utf-8", "replace").replace(",", "").replace("'", ""))
        return value if value is None or self.factor == 1.0 else round(value * self.factor, DECIMALS)

    def name_in(self, line: bytes) -> str:
        """Return the name of the metric in `line`."""
        if self.name is not None:
            return self.name
        return self.prefix + line[self.name_start : self.name_end].decode("utf-8", "replace")


def factor_of(unit: bytes) -> float | None:
    """Return the factor of a unit of thousands, or None if it is not one.

    >>> factor_of(b"k"), factor_of(b"ms")
    (1000.0, None)
    """
    return _FACTORS.get(unit)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The way to read the lines of one mask.

    Attributes:
        slots: The metrics in the line.
        kind: The role of the line, see `Kind`.
        step, epoch: Their slots, if the line has them.
        index, total: A counter that ends at `total`, or (`total` None) one that may restart with each epoch.
        epochs, run: Numbers of epochs and of steps of the run, if the line states them.
        named: The counter is called a step, so it probably counts the whole run.
        may_restart: The line has no epoch, and its step may be one of an epoch that the log names elsewhere.
        announces: Prefix of the validation whose values are in the lines below: `Validation at step 500:`; else "".
        rank: Slot of the number of the process that wrote the line.
        smoothing: Smoothing of the metrics, by name; a metric that is missing here is not known to be smoothed.
        missing: The line counts steps whose loss was not a number, and leaves the loss itself out: the slots of the
            number of skipped steps and of the number of steps whose loss was not a number.
        cells: The cells of a row, or the names of the columns in a header.
        framed: Pipes or the lines of a box separate the cells, some of which may be empty.
        losses: Names of the losses. loss: Name of the first training loss, or "".
        counts_training: The line has a counter with an end, and a metric that is not of the validation.
        states_length: The line may state the length of the run. The counter of a pass over the validation data does not.
        has_step: The line says at which step it is, or has a counter.
        has_place: The line says at which step or in which epoch it is.
    """

    slots: tuple[Slot, ...] = ()
    kind: Kind = "record"
    step: Slot | None = None
    epoch: Slot | None = None
    index: Slot | None = None
    total: Slot | None = None
    epochs: Slot | None = None
    run: Slot | None = None
    named: bool = False
    rank: Slot | None = None
    smoothing: Mapping[str, Smoothing] = field(default_factory=dict)
    missing: tuple[Slot | None, Slot | None] | None = None
    cells: tuple[Slot, ...] = ()
    framed: bool = False
    may_restart: bool = False
    announces: str = ""
    losses: tuple[str, ...] = field(init=False)
    loss: str = field(init=False)
    counts_training: bool = field(init=False)
    states_length: bool = field(init=False)
    has_step: bool = field(init=False)
    has_place: bool = field(init=False)

    def __post_init__(self) -> None:
        """Compute once what every line of the mask needs."""
        counts = self.total is not None and any(
            slot.name is None or not (slot.name.startswith(("val.", "test.")) or role(slot.name) == "val_loss")
            for slot in self.slots
        )
        losses = [(slot.name, kind) for slot in self.slots if slot.name and (kind := role(slot.name)) in _LOSSES]
        object.__setattr__(self, "losses", tuple(name for name, _ in losses))
        object.__setattr__(self, "loss", next((name for name, kind in losses if kind == "train_loss"), ""))
        object.__setattr__(self, "counts_training", counts)
        object.__setattr__(self, "states_length", self.run is not None or self.epochs is not None or counts)
        has_step = self.step is not None or self.index is not None
        object.__setattr__(self, "has_step", has_step)
        object.__setattr__(self, "has_place", has_step or self.epoch is not None)

    @property
    def stands_alone(self) -> bool:
        """Whether the line is a record by itself; a `log` is one unless there are progress bars.

        The line of one of several processes is one unless it has losses, by which the process to follow is chosen.
        """
        tells_rank = self.rank is not None and (self.losses or any(slot.name is None for slot in self.slots))
        return self.kind in ("record", "log", "measure") and not (tells_rank or self.announces) and self.missing is None
