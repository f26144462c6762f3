"""The format `text`: lines into records, by the recipes of their masks.

Lines that are records by themselves are read column by column, all lines of one mask together. If a line belongs to
others (a progress bar, a table, a pass over the validation data, a counter that restarts), all are read one by one, in
order. Both ways give the same samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Batch, Floats, Ints, Smoothing
from lrwatch.formats.base import LONGEST_NUMBER
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.lines import ANSI, Lines
from lrwatch.formats.text import numerals
from lrwatch.formats.text.presets import search
from lrwatch.formats.text.recipe import Recipe, Slot
from lrwatch.formats.text.records import CounterReading, RecordAssembler
from lrwatch.formats.text.repeats import Repeats
from lrwatch.formats.text.spelling import DecimalMark, Dictionaries
from lrwatch.formats.text.summaries import Calls
from lrwatch.formats.totals import Totals

# Masks that are remembered. A log has some tens of them for each kind of line, noise any number.
_REMEMBERED = 8192
# With fewer lines of one mask, parsing a column of numbers at once does not pay.
_AT_ONCE = 8

_ZEROS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))  # fmt: skip
_LF = ord("\n")

Digits = npt.NDArray[np.uint8]


class Text(Checkpointed):
    """The format `text`; see `lrwatch.formats.base.Format`."""

    SAVED: ClassVar[tuple[str, ...]] = (
        "_lines", "_dictionaries", "_decimals", "_axis", "_records", "_repeats", "_smoothing",
    )  # fmt: skip

    name: ClassVar[str] = "text"
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = False
    evidence: ClassVar[int] = 2

    def __init__(self) -> None:
        self._lines = Lines(marks=True)
        self._dictionaries = Dictionaries()
        self._decimals = DecimalMark()
        self._axis = StepAxis()
        self._records = RecordAssembler(self._axis.totals)
        self._repeats = Repeats()
        self._smoothing: dict[str, Smoothing] = {}
        self._masks: dict[bytes, Recipe | None] = {}

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return False: lines have to be read first; see `Format.claims`."""
        return False

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete lines; see `Format.feed`."""
        block = self._lines.cut(data, final=final)
        text = block.text
        if b"\x1b" in text:
            text = ANSI.sub(b"", text)
        if b"#" in text and b"#011" in text:  # the tab of syslog; one byte is found faster
            text = text.replace(b"#011", b"\t")
        text = self._decimals.with_points(self._dictionaries.join(text, final=final))
        found = Columns()
        count = self._read(text, found)
        if final:
            count += self._records.finish(found, count)
        batch = self._axis.batch(count, found, lines=block.lines + block.dropped, errors=block.errors)
        batch = self._repeats.drop(batch, self._axis.has_step)
        smoothing = {name: self._smoothing[name] for name in batch.columns if name in self._smoothing}
        total = self._records.length(batch.axis)
        return replace(batch, smoothing=smoothing, total_steps=total), block.consumed

    def _read(self, text: bytes, found: Columns) -> int:
        """Put the records in `text` into `found`, and return the number of their rows."""
        lines: dict[bytes, list[int]] = {}
        masks = text.translate(_ZEROS).split(b"\n")
        masks.pop()  # behind the last line end
        for i, mask in enumerate(masks):
            lines.setdefault(mask, []).append(i)
        recipes = {mask: recipe for mask in lines if (recipe := self._recipe(mask)) is not None}
        if not self._records.in_items and not any(recipe.kind == "item" for recipe in recipes.values()):
            recipes = {mask: recipe for mask, recipe in recipes.items() if recipe.kind != "loose item"}
        if not recipes and not self._records.waiting:
            return 0
        if self._records.needs_order(recipes.values()):
            return self._records.read(text.split(b"\n")[:-1], masks, recipes, found)
        self._read_columns(text, lines, recipes, found)
        return len(masks)

    def _read_columns(
        self, text: bytes, lines: Mapping[bytes, list[int]], recipes: Mapping[bytes, Recipe], found: Columns
    ) -> None:
        """Put the records of lines that stand alone into `found`, all lines of one mask at once."""
        characters = np.frombuffer(text, np.uint8)
        starts = np.concatenate([[0], np.flatnonzero(characters == _LF)[:-1] + 1])
        digits = characters - np.uint8(ord("0"))
        readings: list[CounterReading] = []
        ahead: list[tuple[int, float]] = []
        in_epochs = self._records.in_epochs or any(recipe.epoch is not None for recipe in recipes.values())
        placed = [lines[mask][0] for mask, recipe in recipes.items() if recipe.has_place]
        measures_from = self._records.measures_from(placed)
        summaries = self._records.renamed_from(recipes, lines)
        for mask, recipe in recipes.items():
            rows = lines[mask]
            if recipe.kind == "measure" and rows[0] < measures_from:
                rows = [row for row in rows if row > measures_from]
                if not rows:
                    continue
            group = _LineGroup(mask, text, np.array(rows, np.int64), digits, starts)
            renamed = summaries.get(mask)
            for slot in recipe.slots:
                if renamed is not None and slot.name in renamed:
                    group.put_summary(slot, renamed[slot.name], found)
                else:
                    group.put(slot, found)
            if recipe.states_length:
                group.state_length(recipe, self._axis.totals)
            counted = recipe.may_restart and in_epochs
            if recipe.step is not None and not counted:
                places = group.values(recipe.step)
                found.add("step", group.rows, places)
                if recipe.may_restart:
                    ahead.extend(_ends(group.rows, places))
            if recipe.epoch is not None:
                found.add("epoch", group.rows, group.values(recipe.epoch))
            if recipe.step is None and recipe.index is not None and not in_epochs and recipe.named:
                ahead.extend(group.put_counter(recipe.index, recipe.total, found))
            elif recipe.epoch is not None or recipe.index is not None or counted:
                readings.extend(group.readings(recipe))
        self._records.count_ahead(ahead)
        readings.sort()
        rows, steps = self._records.place(readings)
        if rows:
            found.add("step", rows, steps)
        self._records.skip([recipes[mask] for mask in sorted(recipes, key=lambda mask: lines[mask][-1])])

    def _recipe(self, mask: bytes) -> Recipe | None:
        try:
            return self._masks[mask]
        except KeyError:
            if len(self._masks) >= _REMEMBERED:
                self._masks.clear()
            recipe = self._masks[mask] = search(mask)
            if recipe is not None:
                for name, kind in recipe.smoothing.items():
                    self._smoothing.setdefault(name, kind)
            return recipe


class _LineGroup:
    """The lines of one mask in a text.

    Args:
        mask: The mask.
        text: The text.
        rows: Numbers of the lines, shape (n,).
        digits: The characters of the text less the character 0, shape (len(text),).
        starts: Offsets of all lines of the text.
    """

    def __init__(self, mask: bytes, text: bytes, rows: Ints, digits: Digits, starts: Ints) -> None:
        self.rows = rows
        self._mask = mask
        self._text = text
        self._digits = digits
        self._starts = starts[rows][:, None]

    def values(self, slot: Slot) -> Floats:
        """Return the values in `slot`, shape (n,); NaN where there is no number."""
        values = None
        if len(self.rows) >= _AT_ONCE:
            spelled = self._digits[self._starts + np.arange(slot.start, slot.end)]
            values = numerals.read(spelled, self._mask[slot.start : slot.end], slot.factor)
        if values is None:
            read = [slot.read(line) for line in self._lines()]
            values = np.array([np.nan if value is None else value for value in read])
        return values

    def _lines(self) -> Iterator[bytes]:
        return (self._text[start : start + len(self._mask)] for start in self._starts[:, 0].tolist())

    def put(self, slot: Slot, found: Columns) -> None:
        """Put the values in `slot` into `found`."""
        if slot.end - slot.start > LONGEST_NUMBER:  # no number, and not a NaN either
            return
        values = self.values(slot)
        if slot.name is not None:
            found.add(slot.name, self.rows, values)
            return
        named: dict[str, list[int]] = {}
        for at, line in enumerate(self._lines()):
            named.setdefault(slot.name_in(line), []).append(at)
        for name, places in named.items():
            found.add(name, self.rows[places], values[places])

    def put_summary(self, slot: Slot, calls: Calls, found: Columns) -> None:
        """Put the values in `slot` into `found`, under the name that `calls` give them behind each line."""
        if slot.end - slot.start > LONGEST_NUMBER or slot.name is None:
            return
        values = self.values(slot)
        firsts = [0, *(int(np.searchsorted(self.rows, behind, "right")) for behind, _ in calls), len(self.rows)]
        for name, (first, end) in zip((slot.name, *(name for _, name in calls)), pairwise(firsts), strict=True):
            if name and first < end:
                found.add(name, self.rows[first:end], values[first:end])

    def put_counter(self, index: Slot, total: Slot | None, found: Columns) -> list[tuple[int, float]]:
        """Put a counter of the whole run into `found` as the step, where it is not beyond its end.

        Returns:
            Row and value of the first and of the last one.
        """
        values = self.values(index)
        fits = slice(None) if total is None else np.flatnonzero(~(values > self.values(total)))
        rows, steps = self.rows[fits], values[fits]
        if len(steps):
            found.add("step", rows, steps)
        return _ends(rows, steps)

    def state_length(self, recipe: Recipe, totals: Totals) -> None:
        """Take what the lines state about the length of the run."""
        if recipe.run is not None:
            totals.state_run(set(self.values(recipe.run).tolist()))
        if recipe.epochs is not None:
            totals.state_epochs(set(self.values(recipe.epochs).tolist()))
        if recipe.total is not None and recipe.counts_training:
            totals.state_counter(set(self.values(recipe.total).tolist()), named=recipe.named)

    def readings(self, recipe: Recipe) -> Iterator[CounterReading]:
        """Iterate over the epochs and counters in the lines."""
        nothing = [np.nan] * len(self.rows)
        counter = recipe.step if recipe.may_restart else None if recipe.step else recipe.index
        slots = (recipe.epoch, counter, recipe.total)
        epochs, indices, totals = (None if slot is None else self.values(slot) for slot in slots)
        if indices is not None and totals is not None:
            indices = np.where(indices > totals, np.nan, indices)  # a date or a ratio
        columns = (nothing if values is None else values.tolist() for values in (epochs, indices, totals))
        return (
            (row, epoch, index, total, recipe.named)
            for row, epoch, index, total in zip(self.rows.tolist(), *columns, strict=True)
        )


def _ends(rows: Ints, counters: Floats) -> list[tuple[int, float]]:
    """Return row and value of the first and of the last of some counters."""
    return [(int(rows[i]), float(counters[i])) for i in (0, -1)[: len(counters)] if counters[i].is_integer()]
