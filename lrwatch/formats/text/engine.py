"""The format `text`: lines into records, by the recipes of their masks.

Lines whose recipes stand alone are read column by column, all that are alike at once. Where a line belongs to others (a
progress bar, a table, a pass over the validation data, a counter that begins again) all are read one by one, in order; both
ways give the same samples.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lrwatch.core.sample import Batch, Smoothing
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.lines import Lines
from lrwatch.formats.text import numerals
from lrwatch.formats.text.presets import search
from lrwatch.formats.text.recipe import Recipe, Slot
from lrwatch.formats.text.records import Records
from lrwatch.formats.text.repeats import Repeats

if TYPE_CHECKING:
    from typing_extensions import Self

# Masks that are remembered. A log has some tens of them for each kind of line, noise any number.
_REMEMBERED = 8192
# Lines from which on it pays to read a column of numbers at once.
_AT_ONCE = 8

_ZEROS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))  # fmt: skip
_ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[@-_]")
_LF = ord("\n")


class Text:
    """See `lrwatch.formats.base.Format`."""

    name: ClassVar[str] = "text"
    whole: ClassVar[bool] = False
    evidence: ClassVar[int] = 2

    def __init__(self) -> None:
        self._lines = Lines(marks=True)
        self._axis = StepAxis()
        self._records = Records()
        self._repeats = Repeats()
        self._smoothing: dict[str, Smoothing] = {}
        self._masks: dict[bytes, Recipe | None] = {}

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """See `Format.claims`: lines have to be understood."""
        return False

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """See `Format.feed`."""
        block = self._lines.cut(data, final=final)
        text = block.text
        if b"\x1b" in text:
            text = _ANSI.sub(b"", text)
        found = Columns()
        count = self._read(text, found)
        if final:
            count += self._records.finish(found, count)
        batch = self._axis.batch(count, found, lines=block.lines + block.dropped, errors=block.errors)
        batch = self._repeats.dropped(batch)
        smoothing = {name: self._smoothing[name] for name in batch.columns if name in self._smoothing}
        return (Batch(batch.steps, batch.columns, batch.axis, batch.lines, batch.errors, smoothing), block.consumed)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "skipping": self._lines.skipping,
            "axis": self._axis.state(),
            "records": self._records.state(),
            "repeats": self._repeats.state(),
            "smoothing": dict(self._smoothing),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        restored = cls()
        restored._lines.skipping = state["skipping"]
        restored._axis = StepAxis.restore(state["axis"])
        restored._records = Records.restore(state["records"])
        restored._repeats = Repeats.restore(state["repeats"])
        restored._smoothing = dict(state["smoothing"])
        return restored

    def _read(self, text: bytes, found: Columns) -> int:
        """Put the records in `text` into `found`. -> how many rows they take."""
        alike: dict[bytes, list[int]] = {}
        masks = text.translate(_ZEROS).split(b"\n")
        masks.pop()  # behind the last line end
        for i, mask in enumerate(masks):
            alike.setdefault(mask, []).append(i)
        recipes = {mask: recipe for mask in alike if (recipe := self._recipe(mask)) is not None}
        if not recipes and not self._records.waiting:
            return 0
        lines = text.split(b"\n")
        if self._records.waiting or not all(recipe.stands_alone for recipe in recipes.values()) or self._counts(recipes):
            return self._records.read(lines[:-1], masks, recipes, found)
        starts = np.flatnonzero(np.frombuffer(text, np.uint8) == _LF)
        array = np.frombuffer(text, np.uint8) - np.uint8(ord("0"))
        starts = np.concatenate([[0], starts[:-1] + 1])
        for mask, recipe in recipes.items():
            _read_alike(recipe, mask, lines, alike[mask], array, starts, found)
        last = sorted(recipes, key=lambda mask: alike[mask][-1])
        self._records.passed([recipes[mask] for mask in last], _epochs(recipes, alike, lines))
        return len(masks)

    def _counts(self, recipes: Mapping[bytes, Recipe]) -> bool:
        """Whether an epoch may say what a counter counts."""
        counters = any(recipe.index is not None for recipe in recipes.values())
        return counters and (self._records.in_epochs or any(recipe.epoch is not None for recipe in recipes.values()))

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


def _epochs(
    recipes: Mapping[bytes, Recipe], alike: Mapping[bytes, list[int]], lines: Sequence[bytes]
) -> list[float]:
    """The epochs that `lines` tell, in order."""
    told = [(i, _value(recipe.epoch, lines[i])) for m, recipe in recipes.items() if recipe.epoch for i in alike[m]]
    return [epoch for _, epoch in sorted(told)]


def _read_alike(
    recipe: Recipe, mask: bytes, lines: Sequence[bytes], which: list[int], array: Any, starts: Any, found: Columns
) -> None:
    """Put the values of the lines `which`, which all have the same mask, into `found`."""
    slots = list(recipe.slots)
    if (step := recipe.step or recipe.index) is not None:
        slots.append(Slot(step.start, step.end, "step"))
    if recipe.epoch is not None:
        slots.append(Slot(recipe.epoch.start, recipe.epoch.end, "epoch"))
    rows = np.array(which, np.int64)
    matrix = None
    for slot in slots:
        values = None
        if len(which) >= _AT_ONCE and slot.factor == 1.0:
            if matrix is None:
                matrix = array[starts[rows][:, None] + np.arange(len(mask))]
            values = numerals.read(matrix[:, slot.start : slot.end], mask[slot.start : slot.end])
        if values is None:
            values = np.array([_value(slot, lines[i]) for i in which])
        if slot.name is not None:
            found.add(slot.name, rows, values)
            continue
        named: dict[str, list[int]] = {}
        for at, i in enumerate(which):
            named.setdefault(slot.called(lines[i]), []).append(at)
        for name, places in named.items():
            found.add(name, rows[places], values[places])


def _value(slot: Slot, line: bytes) -> float:
    value = slot.read(line)
    assert value is not None  # what a recipe calls a number is one
    return value
