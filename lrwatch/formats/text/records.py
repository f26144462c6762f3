"""Lines into records, one by one, for logs in which a line belongs to others. A record that waits is state."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.text.counters import Counters
from lrwatch.formats.text.general import RUNNING
from lrwatch.formats.text.recipe import Recipe, Slot

# Name of a loss that the log leaves out from its first line on.
_UNNAMED_LOSS = "lm loss"

# Names of the parts of the loss in early versions of YOLOv5.
_YOLO_PARTS = frozenset({"box", "obj", "cls", "dfl", "total"})

Values = dict[str, float]
CounterReading = tuple[int, float, float, float, bool]
"""A line's epoch and counter: row, epoch, index, total (NaN if there is none), and whether it is called a step."""


class RecordAssembler(Checkpointed):
    """Reader of lines in order, which puts those of one record together."""

    SAVED: ClassVar[tuple[str, ...]] = (
        "_counters", "_kind", "_key", "_header", "_section", "_below_heading", "_complete", "_bar", "_rank", "_loss",
        "_echoes", "_placed",
    )  # fmt: skip

    def __init__(self) -> None:
        self._counters = Counters()
        self._waiting: Values | None = None  # values of a record that may not be complete, of this kind and key:
        self._kind = ""
        self._key: list[Any] = []
        self._header: list[str] = []
        self._section = ""
        self._below_heading = False
        self._placed = False  # there was a step or an epoch
        self._complete: list[str] = []  # metrics of the present epoch from a complete bar
        self._bar: list[int] | None = None  # index and total of the longest progress bar
        self._rank: int | None = None  # the first of several processes
        self._loss = _UNNAMED_LOSS
        self._losses_of_rank: Values = {}  # the last losses of the first process
        self._echoes: list[int] = []  # ranks that print what the first one prints
        self._found: dict[str, tuple[list[int], list[float]]] = {}  # rows and values of this read
        self._row = 0

    @property
    def waiting(self) -> bool:
        """Whether the last record may continue in the next line."""
        return self._waiting is not None

    @property
    def has_bar(self) -> bool:
        """Whether there was a progress bar, which may place the records between its lines."""
        return self._bar is not None

    @property
    def in_epochs(self) -> bool:
        """Whether the log has named an epoch."""
        return self._counters.epoch is not None

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values. Values of metrics are text, because JSON has no NaN."""
        return {
            **super().state(),
            "waiting": None if self._waiting is None else _spelled(self._waiting),
            "losses_of_rank": _spelled(self._losses_of_rank),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._waiting = None if state["waiting"] is None else _parsed(state["waiting"])
        self._losses_of_rank = _parsed(state["losses_of_rank"])

    def read(
        self, lines: Sequence[bytes], masks: Sequence[bytes], recipes: Mapping[bytes, Recipe], found: Columns
    ) -> int:
        """Read lines in order.

        Args:
            lines: The lines, without their LF.
            masks: The mask of each.
            recipes: The recipes of the masks; a line without one is no record.
            found: Takes the values; rows are numbers of records, from 0 on.

        Returns:
            The number of rows.
        """
        self._found, self._row = {}, 0
        for line, mask in zip(lines, masks, strict=True):
            recipe = recipes.get(mask)
            if recipe is not None:
                self._take(recipe, line)
            if not line.endswith(b"\r") and self._kind in ("bar", "epoch bar"):
                self._flush()
        self._put(found)
        return self._row

    def rates_from(self, placed: Sequence[int]) -> int:
        """Return the first row from which a rate on a line of its own has a place, and learn where places are.

        Args:
            placed: Rows with a step or an epoch, of lines that stand alone.
        """
        since = 0 if self._placed else min(placed, default=sys.maxsize)
        self._placed = self._placed or bool(placed)
        return since

    def place(self, readings: Sequence[CounterReading]) -> tuple[list[int], list[float]]:
        """Count the epochs and counters of lines that stand alone, in order.

        Returns:
            The rows that a counter places, and their steps.
        """
        rows, steps = [], []
        for row, epoch, index, total, named in readings:
            if epoch == epoch:
                self._enter_epoch(epoch)
            if index.is_integer():
                rows.append(row)
                steps.append(
                    float(self._counters.step(int(index), int(total) if total == total else None, named=named))
                )
        return rows, steps

    def skip(self, recipes: Sequence[Recipe]) -> None:
        """Take note of lines that stand alone, for later lines that do not.

        Args:
            recipes: Recipes of the lines that were read, in the order of the last line of each.
        """
        for recipe in recipes:
            if recipe.step is not None or recipe.index is not None:
                self._below_heading = False
            self._loss = next((s.name for s in recipe.slots if s.name and role(s.name) == "train_loss"), self._loss)

    def finish(self, found: Columns, row: int) -> int:
        """Put the record that waits into `found`, at row `row`: nothing will follow. Return its number of rows."""
        self._found, self._row = {}, row
        self._flush()
        self._put(found)
        return self._row - row

    def _put(self, found: Columns) -> None:
        for name, (rows, values) in self._found.items():
            found.add(name, rows, values)

    # ---- one line -------------------------------------------------------------------------------------------------

    def _take(self, recipe: Recipe, line: bytes) -> None:
        values = {slot.name_in(line): value for slot in recipe.slots if (value := slot.read(line)) is not None}
        epoch = recipe.epoch.read(line) if recipe.epoch is not None else None
        if epoch is not None:
            self._enter_epoch(epoch)
        index, total = _whole(recipe.index, line), _whole(recipe.total, line)
        if (recipe.kind == "item" and not self._below_heading) or (recipe.kind == "rate" and not self._placed):
            return
        if recipe.has_place:
            self._placed = True
        if recipe.kind == "item":
            values = {name: value for name, value in values.items() if role(name) not in ("step", "epoch")}
        elif recipe.kind == "heading" or recipe.step is not None or recipe.index is not None:
            self._below_heading = recipe.kind == "heading"
        match recipe.kind:
            case "header":
                self._flush()
                names = [line[cell.start : cell.end].decode("utf-8", "replace") for cell in recipe.cells]
                parts = _YOLO_PARTS if "gpu_mem" in map(str.lower, names) else frozenset()
                self._header = [f"{name}_loss" if name in parts else name for name in names]
                return
            case "box":
                self._box(recipe, line)
                return
            case "bar" if not values or index == 0:  # at 0 it still shows the values of the bar before
                self._progress(index, total)
                return
            case "epoch bar":
                self._epoch_bar(values, index, total)
                return
            case "row":
                self._table_row(recipe, line)
                return
            case "eval":
                self._wait("eval", [], values)
                return
            case _:
                pass
        if recipe.rank is not None:
            values = self._of_rank(int(recipe.rank.read(line) or 0), values)
        if recipe.missing is not None:
            values.update(self._left_out(recipe.missing, line))
        else:
            self._loss = next((s.name for s in recipe.slots if s.name and role(s.name) == "train_loss"), self._loss)
        if epoch is not None:
            values["epoch"] = epoch
        step = recipe.step.read(line) if recipe.step is not None else None
        if step is None and index is not None:
            step = float(self._counters.step(index, total, named=recipe.named))
        if recipe.kind == "log" and step is None and self._bar is not None:
            self._wait("log", [], values)
            return
        if step is not None:
            values["step"] = step
        if recipe.kind == "bar":
            self._wait("bar", [self._counters.epoch, index, total], values)
        else:
            self._flush()
            self._emit(values)

    def _enter_epoch(self, epoch: float) -> None:
        if self._counters.epoch != epoch:
            self._complete = []
        self._counters.enter(epoch)

    def _wait(self, kind: str, key: list[Any], values: Values) -> None:
        """Let values wait: those of the next line of the same kind and key replace them."""
        if (self._kind, self._key) == (kind, key) and self._waiting is not None and kind != "log":
            self._waiting.update(values)
        else:
            self._flush()
            self._kind, self._key, self._waiting = kind, key, values

    def _flush(self) -> None:
        """Emit the record that waits: it is complete."""
        if self._waiting is None:
            return
        values, kind = self._waiting, self._kind
        self._waiting, self._kind, self._key = None, "", []
        if kind == "log" and self._bar is not None:
            values["step"] = float(self._bar[0])
        self._emit(values)

    def _emit(self, values: Values) -> None:
        for name, value in values.items():
            rows, values_so_far = self._found.setdefault(name, ([], []))
            rows.append(self._row)
            values_so_far.append(value)
        self._row += 1

    # ---- kinds of lines -------------------------------------------------------------------------------------------

    def _progress(self, index: int | None, total: int | None) -> None:
        """Read a progress bar without metrics. The longest one counts the steps."""
        if index is None or total is None or (self._bar is not None and total < self._bar[1]):
            return
        self._bar = [index, total]
        if self._kind == "log":  # the bar is drawn again behind the record that interrupted it
            self._flush()

    def _epoch_bar(self, values: Values, index: int | None, total: int | None) -> None:
        if index is not None and index != total:
            self._flush()
            self._complete = []
            self._emit({**{RUNNING + name: value for name, value in values.items()}, **self._epoch()})
            return
        new = {name: value for name, value in values.items() if name not in self._complete}
        if self._kind == "epoch bar" and self._waiting is not None:
            self._waiting.update(new)
        elif new:
            self._flush()
            self._kind, self._key, self._waiting = "epoch bar", [], {**new, **self._epoch()}
        self._complete = [*self._complete, *new]

    def _epoch(self) -> Values:
        return {} if self._counters.epoch is None else {"epoch": float(self._counters.epoch)}

    def _table_row(self, recipe: Recipe, line: bytes) -> None:
        cells = recipe.cells[-len(self._header) :] if self._header else ()
        if len(cells) < len(self._header) or not cells:
            return
        values: Values = {}
        for name, cell in zip(self._header, cells, strict=True):
            spelled = line[cell.start : cell.end].decode("utf-8", "replace").rstrip("%")
            if role(name) in ("epoch", "step"):
                spelled = spelled.partition("/")[0]
            if (value := number(spelled)) is not None:
                values[name] = value
        place = [value for name, value in values.items() if role(name) in ("epoch", "step")]
        if recipe.index is not None:
            self._wait("row", place, values)
        else:
            self._flush()
            self._emit(values)

    def _box(self, recipe: Recipe, line: bytes) -> None:
        if not recipe.cells:  # a rule
            self._flush()
            self._section = ""
            return
        name = line[recipe.cells[0].start : recipe.cells[0].end].decode("utf-8", "replace")
        value = (
            number(line[recipe.cells[1].start : recipe.cells[1].end].decode("utf-8", "replace"))
            if len(recipe.cells) > 1
            else None
        )
        if len(recipe.cells) == 1:
            self._section = name.rstrip("/")
            return
        indented = line[recipe.cells[0].start - 2 : recipe.cells[0].start] == b"  "
        if value is not None:
            self._wait("box", [], {f"{self._section}/{name}" if self._section and indented else name: value})

    def _of_rank(self, rank: int, values: Values) -> Values:
        """Return the values that count, of one of several processes. The first that prints any is the one to follow."""
        if self._rank is None and values:
            self._rank = rank
        losses = {name: value for name, value in values.items() if role(name) in ("train_loss", "val_loss")}
        if rank == self._rank:
            self._losses_of_rank = losses
            return values
        if rank in self._echoes:
            return {}
        if losses and losses == self._losses_of_rank:
            self._echoes.append(rank)
            return {}
        return {f"rank{rank}.{name}": value for name, value in values.items()}

    def _left_out(self, counts: tuple[Slot | None, Slot | None], line: bytes) -> Values:
        skipped, nans = (slot.read(line) or 0.0 if slot is not None else 0.0 for slot in counts)
        return {self._loss: float("nan")} if nans or not skipped else {}


def _spelled(values: Values) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


def _parsed(values: Mapping[str, str]) -> Values:
    return {name: float(value) for name, value in values.items()}


def _whole(slot: Slot | None, line: bytes) -> int | None:
    value = slot.read(line) if slot is not None else None
    return int(value) if value is not None and value.is_integer() else None
