"""Lines into records, one by one, for logs in which a line belongs to others. A record that waits is state.

One file because all kinds of lines share the one record that waits, and the place below which they stand.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.core.sample import Axis
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.counters import Counters, restarts
from lrwatch.formats.text import naming
from lrwatch.formats.text.general import RUNNING, TEST, VALIDATION, configures, split_prefix
from lrwatch.formats.text.ranks import PrintingRanks, process_number
from lrwatch.formats.text.recipe import NUMBER_OF_RANK, Recipe, Slot
from lrwatch.formats.text.summaries import Calls, Summaries
from lrwatch.formats.text.table import Table
from lrwatch.formats.totals import Totals

# Name of a loss that the log leaves out from its first line on.
_UNNAMED_LOSS = "lm loss"

# Relative difference of the epochs that a step is worth, in two records, from the last batch of an epoch; and the rounding of
# an epoch that is written with two digits.
_EPOCH_SLACK = 0.02
_EPOCH_DIGITS = 0.005

# Distance of two numbers before a colon that are steps.
_APART = 10
# Kinds of lines that mean something only behind certain others.
# Roles of what is no metric of a split.
_OF_ALL = frozenset({"lr", "time"})
_DEPENDENT = frozenset({"length", "again", "block", "item", "loose item", "measure"})

Values = dict[str, float]
CounterReading = tuple[int, float, float, float, bool]
"""A line's epoch and counter: row, epoch, index, total (NaN if there is none), and whether it is called a step."""


class RecordAssembler(Checkpointed):
    """Reader of lines in order, which puts those of one record together.

    Args:
        totals: Takes what the lines state about the length of the run; its owner saves it.
    """

    SAVED: ClassVar[tuple[str, ...]] = (
        "_counters", "_kind", "_key", "_table", "_section", "_below_heading", "_complete", "_bar", "_ranks", "_loss",
        "_bar_log", "_placed", "_items", "_again", "_main", "_summaries", "_split", "_heading", "_numbered",
    )  # fmt: skip

    def __init__(self, totals: Totals) -> None:
        self._counters = Counters()
        self._totals = totals
        self._waiting: Values | None = None  # values of a record that may not be complete, of this kind and key:
        self._kind = ""
        self._key: list[Any] = []
        self._table = Table()
        self._section = ""
        self._below_heading = False
        self._placed = False  # there was a step or an epoch
        self._items = False  # there was an indented item below the present heading
        # Indentation of the section that the items below belong to, and the prefix of their names.
        self._split: list[Any] = []
        self._numbered = False  # numbers before a colon are steps
        self._heading = ""  # prefix of the validation that was announced, until the training goes on
        self._again = False  # the next record repeats an earlier one
        self._main: list[Any] = []  # total, epoch and metrics of the bar of the training
        self._summaries = Summaries()
        self._complete: dict[
            str, str
        ] = {}  # metrics of the present epoch from a complete bar, and their values as text
        self._bar: list[int] | None = None  # index and total of the longest progress bar
        self._bar_log: list[float] = []  # index, total and epoch of the last record that a progress bar placed
        self._ranks = PrintingRanks()
        self._loss = _UNNAMED_LOSS
        self._found: dict[str, tuple[list[int], list[float]]] = {}  # rows and values of this read
        self._row = 0

    @property
    def waiting(self) -> bool:
        """Whether the last record may continue in the next line, or the next one needs this one."""
        return self._waiting is not None or self._again or self._ranks.waiting or bool(self._heading)

    @property
    def has_bar(self) -> bool:
        """Whether there was a progress bar, which may place the records between its lines."""
        return self._bar is not None

    @property
    def in_items(self) -> bool:
        """Whether the last line with a place was followed by indented items."""
        return self._items

    def needs_order(self, recipes: Collection[Recipe]) -> bool:
        """Return whether lines of these recipes have to be read one by one, in order."""
        if self.waiting or self.has_bar or not all(recipe.stands_alone for recipe in recipes):
            return True
        return self._ranks.known and any(recipe.rank is not None for recipe in recipes)

    def renamed_from(
        self, recipes: Mapping[bytes, Recipe], lines: Mapping[bytes, list[int]]
    ) -> dict[bytes, dict[str, Calls]]:
        """Return the metrics of lines that stand alone which are summaries: see `Summaries.renamed_from`."""
        return self._summaries.renamed_from(recipes, lines)

    @property
    def in_epochs(self) -> bool:
        """Whether the log has named an epoch."""
        return self._counters.epoch is not None

    def length(self, axis: Axis) -> int:
        """Return the length of the run that the log states, in units of `axis`; 0 where it does not."""
        counters = self._counters
        learned = counters.length if counters.length is not None and counters.since == counters.base else 0
        return self._totals.length(
            axis, in_epochs=self.in_epochs, restarts=counters.restarts, base=counters.base, learned=learned
        )

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values. Values of metrics are text, because JSON has no NaN."""
        return {
            **super().state(),
            "waiting": None if self._waiting is None else _spelled(self._waiting),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._waiting = None if state["waiting"] is None else _parsed(state["waiting"])

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
            if self._kind == "block" and (line[:2].strip() or not line.strip()):
                self._flush()
            if recipe is not None:
                self._take(recipe, line)
            if not line.endswith(b"\r") and self._kind in ("bar", "epoch bar"):
                self._flush()
        self._put(found)
        return self._row

    def measures_from(self, placed: Sequence[int]) -> int:
        """Return the first row from which a measure on a line of its own has a place, and learn where places are.

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
                whole = int(total) if total == total else None
                steps.append(float(self._counters.step(int(index), whole, named=named, own=epoch == epoch)))
        return rows, steps

    def count_ahead(self, counters: Sequence[tuple[int, float]]) -> None:
        """Take note of rows and counters of lines that stand alone, in a log that has not named an epoch."""
        if counters:
            self._counters.count_ahead(int(min(counters)[1]), int(max(counters)[1]), len(counters))

    def skip(self, recipes: Sequence[Recipe]) -> None:
        """Take note of lines that stand alone, for later lines that do not.

        Args:
            recipes: Recipes of the lines that were read, in the order of the last line of each.
        """
        for recipe in recipes:
            self._summaries.note(recipe)
            if recipe.has_place:
                self._below_heading, self._items = not recipe.slots, False
            self._loss = recipe.loss or self._loss

    def finish(self, found: Columns, row: int) -> int:
        """Put the record that waits into `found`, at row `row`: nothing will follow. Return its number of rows."""
        self._found, self._row = {}, row
        self._flush()
        for record in self._ranks.finish():
            self._emit(record)
        self._put(found)
        return self._row - row

    def _put(self, found: Columns) -> None:
        for name, (rows, values) in self._found.items():
            found.add(name, rows, values)

    # ---- one line -------------------------------------------------------------------------------------------------

    def _take(self, recipe: Recipe, line: bytes) -> None:
        if recipe.kind == "box":
            self._box(recipe, line)
            return
        if recipe.kind == "section":
            self._heading = split_prefix(line[recipe.cells[0].start : recipe.cells[0].end])
            self._split = [_indentation(line), self._heading]
            return
        values = {slot.name_in(line): value for slot in recipe.slots if (value := slot.read(line)) is not None}
        epoch = recipe.epoch.read(line) if recipe.epoch is not None else None
        if self._heading and self._validates(recipe, line, values, epoch):
            return
        if epoch is not None:
            self._enter_epoch(epoch)
        index, total = _whole(recipe.index, line), _whole(recipe.total, line)
        if index is not None and total is not None and index > total:  # a date or a ratio
            index = total = None
        if recipe.states_length:
            self._state_length(recipe, line, total)
        if recipe.kind in _DEPENDENT and not self._belongs(recipe, line, values):
            return
        if self._again and values:
            self._again = False
            return
        if recipe.has_place:
            self._placed = True
            if recipe.rank is None and self._ranks.waiting:  # a record that waits belongs to the place before
                for record in self._ranks.finish():
                    self._emit(record)
        if recipe.kind in ("item", "loose item"):
            self._items = True
            values = {name: value for name, value in values.items() if role(name) not in ("step", "epoch")}
            values = self._of_section(values, line)
        elif recipe.kind == "heading" or recipe.has_place:
            self._split = []
            self._below_heading = recipe.kind == "heading" or (recipe.kind == "record" and not recipe.slots)
            self._items = False
        if recipe.announces:
            self._heading, self._split = recipe.announces, [_indentation(line), recipe.announces]
        if recipe.kind == "bar" and total is not None and values and self._is_second_bar(values, total):
            if not any(_is_validation(name) for name in values):
                values = {VALIDATION + name: value for name, value in values.items()}
            self._wait("second bar", [total], values)
            return
        if recipe.kind == "bar" and index is not None:
            self._summaries.note_at_step(values)
        match recipe.kind:
            case "header":
                self._flush()
                self._table.take_header(recipe, line, self._split[1] if self._split else "")
                return
            case "bar" if not values or (
                index == 0 and recipe.step is None
            ):  # at 0 it still shows the values of the bar before
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
        if recipe.kind == "record" and not recipe.rank:
            values = self._without_summaries(recipe, values)
        if recipe.missing is not None:
            values.update(self._left_out(recipe.missing, line))
        else:
            self._loss = recipe.loss or self._loss
        if epoch is not None:
            values["epoch"] = epoch
        step = recipe.step.read(line) if recipe.step is not None else None
        if step is not None and recipe.may_restart and step.is_integer():
            step = float(self._counters.step(int(step), None, named=recipe.named, own=False))
        if step is None and index is not None:
            step = float(self._counters.step(index, total, named=recipe.named, own=epoch is not None))
        if recipe.kind == "log" and step is None and self._bar is not None:
            self._wait("log", [], values)
            return
        if step is not None:
            values["step"] = step
        if recipe.rank is not None and self._is_step(recipe, line, values):
            self._flush()
            self._emit({**values, "step": float(recipe.rank.read(line) or 0)})
        elif recipe.rank is not None:
            self._flush()
            for record in self._ranks.take(process_number(line[recipe.rank.start : recipe.rank.end]), values):
                self._emit(record)
        elif recipe.kind == "bar":
            self._wait("bar", [self._counters.epoch, index, total], values)
        else:
            self._flush()
            self._emit(values)

    def _is_step(self, recipe: Recipe, line: bytes, values: Values) -> bool:
        """Return whether the number before a colon, `100: loss 2.5`, is a step and not that of a process.

        It is where no line had a place, and the first two numbers that had losses are far apart.
        """
        if recipe.rank is None or recipe.rank.name != NUMBER_OF_RANK or recipe.has_place or not recipe.losses:
            return False
        number = int(recipe.rank.read(line) or 0)
        first = None if self._numbered or self._placed else self._ranks.first
        if first is not None and number - first >= _APART:
            self._numbered = self._placed = True
            for record in self._ranks.finish():
                self._emit({**record, "step": float(first)})
        return self._numbered

    def _validates(self, recipe: Recipe, line: bytes, values: Values, epoch: float | None) -> bool:
        """Take a record of the validation that a line above announced; return whether it is one.

        It has no place of its own, or counts to another end than the training does. The next place ends the validation.
        """
        if recipe.kind not in ("record", "eval"):
            return False
        total = _whole(recipe.total, line)
        ends = {*self._totals.epoch, *self._totals.counters}
        goes_on = recipe.step is not None or recipe.rank is not None or epoch not in (None, self._counters.epoch)
        goes_on = goes_on or any(_names_training(name) for name in values)
        if goes_on or (recipe.index is not None and (total is None or not ends or total in ends)):
            self._heading = ""
            return False
        if not values:
            return False
        prefix = self._heading
        if not self._placed:  # in a log without places the first record alone
            self._heading = ""
        self._wait("eval", [], {_of_split(prefix, name): value for name, value in values.items()})
        return True

    def _belongs(self, recipe: Recipe, line: bytes, values: Values) -> bool:
        """Return whether a line that depends on those before it gives a record of its own."""
        match recipe.kind:
            case "again":
                self._flush()
                self._again = True
            case "block":
                self._wait("block", [self._row], {})
            case "measure":
                return self._placed or recipe.has_place
            case "item" | "loose item":
                if self._kind == "block" and self._waiting is not None:
                    self._waiting.update(values)
                    return False
                if recipe.kind == "item" and self._placed and recipe.losses and _has_colon(recipe, line):
                    return True  # `  val_loss: 2.5` below a bar; `  val_loss = 2.5` may be code
                return self._below_heading and (recipe.kind == "item" or self._items)
            case _:
                pass
        return False

    def _of_section(self, values: Values, line: bytes) -> Values:
        """Return the values of an item with the prefix of the section that it is indented below."""
        if self._split and _indentation(line) <= self._split[0]:
            self._split = []
        prefix = self._split[1] if self._split else ""
        if not prefix:
            return values
        return {_of_split(prefix, name): value for name, value in values.items()}

    def _state_length(self, recipe: Recipe, line: bytes, total: int | None) -> None:
        self._totals.state_run([_whole(recipe.run, line) or 0])
        self._totals.state_epochs([_whole(recipe.epochs, line) or 0])
        if recipe.counts_training:
            self._totals.state_counter([total or 0], named=recipe.named)

    def _enter_epoch(self, epoch: float) -> None:
        if self._counters.epoch != epoch:
            self._complete = {}
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
            self._count_by_epochs(values.get("epoch"))
        if kind == "box" and configures(values):
            return
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

    def _count_by_epochs(self, epoch: float | None) -> None:
        """Take the end of a bar as that of the run if two records show that it and their epochs grow in proportion."""
        index, total = self._bar or (0, 0)
        if not epoch or not index:
            return
        if self._bar_log and self._bar_log[1] == total and index > self._bar_log[0] and epoch > self._bar_log[2]:
            before = self._bar_log[2] / self._bar_log[0]
            slack = _EPOCH_DIGITS / epoch + _EPOCH_DIGITS / self._bar_log[2]
            if abs(epoch / index / before - 1) <= _EPOCH_SLACK + slack:
                self._totals.state_run([total])
        self._bar_log = [index, total, epoch]

    def _epoch_bar(self, values: Values, index: int | None, total: int | None) -> None:
        if index is not None and index != total:
            self._flush()
            self._complete = {}
            self._emit({**{RUNNING + name: value for name, value in values.items()}, **self._epoch()})
            return
        if self._counters.epoch is None and any(
            self._complete.get(name, repr(v)) != repr(v) for name, v in values.items()
        ):
            self._complete = {}  # a log without lines of epochs: another value is that of another epoch
        new = {name: value for name, value in values.items() if name not in self._complete}
        if self._kind == "epoch bar" and self._waiting is not None:
            self._waiting.update(new)
        elif new:
            self._flush()
            self._kind, self._key, self._waiting = "epoch bar", [], {**new, **self._epoch()}
        self._complete = {**self._complete, **_spelled(new)}
        self._summaries.note_names(new)

    def _epoch(self) -> Values:
        return {} if self._counters.epoch is None else {"epoch": float(self._counters.epoch)}

    def _table_row(self, recipe: Recipe, line: bytes) -> None:
        values = self._table.values(recipe, line)
        if not values:
            return
        place = [value for name, value in values.items() if role(name) in ("epoch", "step")]
        values = self._summaries.of_row(self._counted(values))
        if recipe.index is not None:
            self._wait("row", place, values)
        else:
            self._flush()
            self._emit(values)

    def _counted(self, values: Values) -> Values:
        """Return the values of a row with its step, where an epoch and one counter that may restart with it place it."""
        epochs = [value for name, value in values.items() if role(name) == "epoch"]
        counters = [name for name in values if role(name) == "step"]
        if len(epochs) != 1 or len(counters) != 1 or naming.is_global(counters[0]):
            return values
        index, named = values[counters[0]], not restarts(counters[0])
        self._enter_epoch(epochs[0])
        others = {name: value for name, value in values.items() if name != counters[0]}
        if self._table.split or not index.is_integer():  # the batches of a validation
            return others
        return {**others, "step": float(self._counters.step(int(index), None, named=named))}

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

    # ---- what is no sample of the training ------------------------------------------------------------------------

    def _is_second_bar(self, values: Values, total: int) -> bool:
        """Return whether a bar is that of a validation: it has another end than the first one, and the same metrics or such."""
        if self._main[:2] == [total, self._counters.epoch]:
            return False
        validates = all(
            _is_validation(name) or role(name) not in ("train_loss", "val_loss") for name in values
        ) and any(_is_validation(name) for name in values)
        if validates:
            return bool(self._main) and self._main[0] != total
        epoch = self._counters.epoch
        if not self._main or (epoch is not None and self._main[1] != epoch):
            self._main = [total, epoch, sorted(values)]
        return bool(self._main[0] != total and not set(values).isdisjoint(self._main[2]))

    def _without_summaries(self, recipe: Recipe, values: Values) -> Values:
        """Return the values of a record, without or apart from those that say again what others said."""
        renamed = self._summaries.renamed(recipe)
        self._summaries.note(recipe)
        if not renamed:
            return values
        return {new: value for name, value in values.items() if (new := renamed.get(name, name))}

    def _left_out(self, counts: tuple[Slot | None, Slot | None], line: bytes) -> Values:
        skipped, nans = (slot.read(line) or 0.0 if slot is not None else 0.0 for slot in counts)
        return {self._loss: float("nan")} if nans or not skipped else {}


def _indentation(line: bytes) -> int:
    return len(line) - len(line.lstrip())


def _of_split(prefix: str, name: str) -> str:
    """Return the name of a metric in a section of the validation; a rate, a time and what says so itself are called as before."""
    return name if role(name) in _OF_ALL or _is_validation(name) else prefix + name


def _has_colon(recipe: Recipe, line: bytes) -> bool:
    return any(b":" in line[slot.name_end : slot.start] for slot in recipe.slots)


def _names_training(name: str) -> bool:
    return name.lower().startswith("train")


def _is_validation(name: str) -> bool:
    return name.startswith((VALIDATION, TEST)) or role(name) == "val_loss"


def _spelled(values: Values) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


def _parsed(values: Mapping[str, str]) -> Values:
    return {name: float(value) for name, value in values.items()}


def _whole(slot: Slot | None, line: bytes) -> int | None:
    value = slot.read(line) if slot is not None else None
    return int(value) if value is not None and value.is_integer() else None
