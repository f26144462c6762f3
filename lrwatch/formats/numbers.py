"""Numbers without names: a record a line, columns separated by blanks, tabs, commas or semicolons.

What the columns are is told by the first lines, and stays:

=================================  =====================================================================================
first column                       columns
=================================  =====================================================================================
whole, above 1e11                  MLflow's file of one metric: time in milliseconds, value, step. Old ones have no step
whole, not negative, not falling   step, values
anything else                      values, placed by counting the lines
=================================  =====================================================================================

The first column of values is the metric `lrwatch.formats.base.UNNAMED`, those behind it have a number too (``value2``).
MLflow writes step 0 where the trainer gave none; it stays 0, as its own pages show it. Lines that begin with ``#`` are
comments. Prose and code have lines of numbers too, so a log is only read as such if it begins with them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from lrwatch.core.sample import Batch
from lrwatch.formats.base import UNNAMED, number
from lrwatch.formats.columns import Columns
from lrwatch.formats.json.lines import pieces
from lrwatch.formats.linewise import Linewise

if TYPE_CHECKING:
    from typing_extensions import Self

Layout = Literal["", "mlflow", "steps", "values"]

# Lines that tell what the columns are. With fewer, a loss that happens to be whole would be taken for a step.
_DECIDING_LINES = 3
# A longer line is a matrix or an array that somebody printed.
_MAX_COLUMNS = 32
# The first of March 1973 in milliseconds. No step is as large.
_MILLISECONDS = 1e11

_SEPARATORS = bytes.maketrans(b",;\t", b"   ")
_MLFLOW_LINE = re.compile(rb"[1-9]\d{11,13} +(?:[-+]?\d[-+.\de]*|-?inf|nan)(?: +-?\d{1,16})?\r?\n", re.IGNORECASE)

_FOREIGN = "not a line of numbers"
_MISFIT = "line with more or fewer numbers than the first"


class Numbers(Linewise):
    """The format `numbers`."""

    name: ClassVar[str] = "numbers"
    evidence: ClassVar[int] = _DECIDING_LINES

    def __init__(self) -> None:
        super().__init__()
        self._layout: Layout = ""
        self._width = 0
        # Lines before the layout is known. They are text, because JSON has no NaN.
        self._pending: list[str] = []
        self._refused = False  # something else came before the layout was known
        self._final = False

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """See `Format.claims`: a time in milliseconds, a value and a step are MLflow's."""
        return _MLFLOW_LINE.match(head) is not None

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            **super().state(),
            "layout": self._layout,
            "width": self._width,
            "pending": list(self._pending),
            "refused": self._refused,
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        restored = super().restore(state)
        restored._layout, restored._width = state["layout"], state["width"]
        restored._pending, restored._refused = list(state["pending"]), state["refused"]
        return restored

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """See `Format.feed`."""
        self._final = final
        return super().feed(data, final=final)

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for piece in pieces(text):
            count += self._piece(piece, found, count, errors)
        if self._final and self._pending:
            count += self._piece(b"", found, count, errors, enough=1)
        return count

    def _piece(
        self, text: bytes, found: Columns, first_row: int, errors: Counter[str], enough: int = _DECIDING_LINES
    ) -> int:
        """Put the records in some lines into `found`. -> how many they were."""
        lines = text.translate(_SEPARATORS).split(b"\n")[:-1]
        if b"#" in text:
            lines = [line for line in lines if not line.lstrip().startswith(b"#")]
        if not self._layout:
            lines = self._begin(lines, errors, enough)
        if not lines:
            return 0
        columns = self._columns(lines, errors)
        rows = np.arange(first_row, first_row + len(columns[0]) if columns else first_row)
        for name, column in zip(self._names(), columns, strict=False):
            if name:
                found.add(name, rows, column)
        return len(rows)

    def _begin(self, lines: list[bytes], errors: Counter[str], enough: int) -> list[bytes]:
        """Find the layout, with `enough` lines. -> those that can be read with it, none as long as it is not known."""
        lines = [text.encode() for text in self._pending] + [line for line in lines if line.strip()]
        self._pending = []
        first: list[list[float]] = []
        for line in [] if self._refused else lines[:_DECIDING_LINES]:
            row = _row(line)
            if row is None or len(row) > _MAX_COLUMNS:
                self._refused = True
                break
            first.append(row)
            if len(first) == 1 and _is_mlflow(row):  # one line proves it
                self._layout = "mlflow"
                break
        if self._refused:
            errors[_FOREIGN] += len(lines)
            return []
        if not self._layout:
            if len(first) < enough:
                self._pending = [line.decode("utf-8", "replace") for line in lines]
                return []
            self._layout = "steps" if _has_steps(first) else "values"
        self._width = len(first[0])
        return lines

    def _names(self) -> Sequence[str]:
        """The metric of each column; "" is none."""
        values = [UNNAMED, *(f"{UNNAMED}{number}" for number in range(2, self._width + 1))]
        if self._layout == "mlflow":
            return ("", UNNAMED, "step")
        return ["step", *values] if self._layout == "steps" else values

    def _columns(self, lines: list[bytes], errors: Counter[str]) -> Sequence[Sequence[float]]:
        """The numbers in `lines`, column by column."""
        cells = [line.split() for line in lines]
        if set(map(len, cells)) == {self._width}:
            try:
                return [list(map(float, column)) for column in zip(*cells, strict=True)]
            except ValueError:
                pass
        lines = [line for line in lines if line.strip()]
        rows = [row for row in map(_row, lines) if row is not None]
        fitting = [row for row in rows if len(row) == self._width]
        if len(rows) < len(lines):
            errors[_FOREIGN] += len(lines) - len(rows)
        if len(fitting) < len(rows):
            errors[_MISFIT] += len(rows) - len(fitting)
        return list(zip(*fitting, strict=True))


def _row(line: bytes) -> list[float] | None:
    """The numbers in a line of nothing else."""
    cells = line.split()
    try:
        return list(map(float, cells))
    except ValueError:
        row = [number(cell.decode("utf-8", "replace")) for cell in cells]
        return [value for value in row if value is not None] if None not in row else None


def _is_mlflow(row: Sequence[float]) -> bool:
    *_, step = row if len(row) == 3 else row[:1]
    return len(row) in (2, 3) and row[0] > _MILLISECONDS and row[0].is_integer() and step.is_integer()


def _has_steps(rows: Sequence[Sequence[float]]) -> bool:
    firsts = [row[0] for row in rows]
    return (
        min(map(len, rows)) > 1 and all(map(float.is_integer, firsts)) and firsts[0] >= 0 and firsts == sorted(firsts)
    )
