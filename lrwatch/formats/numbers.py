"""The format `numbers`, without names: a record per line, columns separated by blanks, tabs, commas or semicolons.

The first lines decide what the columns are:

=================================  =====================================================================================
first column                       columns
=================================  =====================================================================================
whole, above 1e11                  MLflow's file of one metric: time in milliseconds, value, step. Old ones have no step
whole seconds of this age          time in seconds, step, values; if the second column is whole and does not fall
whole, not negative, not falling   step, values
anything else                      values, placed by the number of the line
=================================  =====================================================================================

The first column of values is the metric `lrwatch.formats.base.UNNAMED`; the columns behind it have a number too
(``value2``). MLflow writes step 0 where the trainer gave none; it stays 0, as MLflow's own pages show it. Lines that
begin with ``#`` are comments, and the last one before the first row that has a name for each column names the columns
(``# step rmse lr``, as DeePMD and ``numpy.savetxt`` write). Prose and code have lines of numbers too, so only a log that begins with numbers has this
format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import ClassVar, Literal

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Batch
from lrwatch.formats.base import UNNAMED, number
from lrwatch.formats.columns import Columns
from lrwatch.formats.json.lines import pieces
from lrwatch.formats.linewise import Linewise

Layout = Literal["", "mlflow", "steps", "times", "values"]

# Lines that decide what the columns are. With fewer, a loss that happens to be whole would be taken for a step.
_DECIDING_LINES = 3
# A longer line is a printed matrix or array.
_MAX_COLUMNS = 32
# The first of March 1973 in milliseconds. No step is as great.
_MILLISECONDS = 1e11
# The years 2008 to 2036 in seconds.
_SECONDS = (1.2e9, 2.1e9)

_LONGEST_COMMENT, _LONGEST_NAME = 4096, 128
# Comments before the first row that may name its columns; DeePMD writes a remark below the names.
_MOST_COMMENTS = 8
_SEPARATORS = bytes.maketrans(b",;\t", b"   ")
_MLFLOW_LINE = re.compile(rb"[1-9]\d{11,13} +(?:[-+]?\d[-+.\de]*|-?inf|nan)(?: +-?\d{1,16})?\r?\n", re.IGNORECASE)

_FOREIGN = "not a line of numbers"
_MISFIT = "line with more or fewer numbers than the first"


class Numbers(Linewise):
    """The format `numbers`; see `lrwatch.formats.base.Format`."""

    SAVED: ClassVar[tuple[str, ...]] = (*Linewise.SAVED, "_layout", "_width", "_pending", "_refused", "_comments")

    name: ClassVar[str] = "numbers"
    evidence: ClassVar[int] = _DECIDING_LINES

    def __init__(self) -> None:
        super().__init__()
        self._layout: Layout = ""
        self._width = 0
        # Lines from before the layout was known. They are text, because JSON has no NaN.
        self._pending: list[str] = []
        self._refused = False  # other text came before the layout was known
        self._comments: list[str] = []  # the last comments before the first row
        self._final = False

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether the first line is MLflow's (time in milliseconds, value, step); see `Format.claims`."""
        return _MLFLOW_LINE.match(head) is not None

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete lines; see `Format.feed`."""
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
        """Put the records in some lines into `found`, and return their number."""
        lines = text.translate(_SEPARATORS).split(b"\n")[:-1]
        if b"#" in text:
            if not self._layout:
                comments = takewhile(lambda line: not line.strip() or line.lstrip().startswith(b"#"), text.split(b"\n"))
                if not self._pending and (named := [line for line in comments if line.strip()]):
                    said = [line.decode("utf-8", "replace")[:_LONGEST_COMMENT] for line in named]
                    self._comments = [*self._comments, *said][-_MOST_COMMENTS:]
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
        """Decide the layout if there are `enough` lines, and return the lines that can be read with it."""
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
            self._layout = "times" if _has_times(first) else "steps" if _has_steps(first) else "values"
        self._width = len(first[0])
        return lines

    def _names(self) -> Sequence[str]:
        """Return the metric of each column; "" is none."""
        named = next((found for said in reversed(self._comments) if (found := _named(said, self._width))), ())
        if named and self._layout != "mlflow":
            has_place = any(role(name) in ("step", "epoch") for name in named)
            return named if has_place or self._layout != "steps" else ["step", *named[1:]]
        values = [UNNAMED, *(f"{UNNAMED}{number}" for number in range(2, self._width + 1))]
        if self._layout == "mlflow":
            return ("", UNNAMED, "step")
        if self._layout == "times":
            return ["", "step", *values]
        return ["step", *values] if self._layout == "steps" else values

    def _columns(self, lines: list[bytes], errors: Counter[str]) -> Sequence[Sequence[float]]:
        """Return the numbers in `lines`, column by column."""
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


def _named(comment: str, width: int) -> Sequence[str]:
    """Return the names that a comment gives to the columns; none if it has another number of words."""
    words = comment.strip().strip("#").strip()
    for names in ([name.strip().strip('"') for name in re.split("[,;\t]", words)], words.split()):
        if len(names) == width and all(name and not name[0].isdigit() and len(name) <= _LONGEST_NAME for name in names):
            return names
    return ()


def _row(line: bytes) -> list[float] | None:
    """Return the numbers in a line, or None if it has anything else."""
    cells = line.split()
    try:
        return list(map(float, cells))
    except ValueError:
        row = [number(cell.decode("utf-8", "replace")) for cell in cells]
        return [value for value in row if value is not None] if None not in row else None


def _is_mlflow(row: Sequence[float]) -> bool:
    *_, step = row if len(row) == 3 else row[:1]
    return len(row) in (2, 3) and row[0] > _MILLISECONDS and row[0].is_integer() and step.is_integer()


def _has_times(rows: Sequence[Sequence[float]]) -> bool:
    """Return whether rows begin with the time in seconds, whole or not, and the step."""
    if min(map(len, rows)) < 3 or not all(_SECONDS[0] < row[0] < _SECONDS[1] for row in rows):
        return False
    return _has_steps([row[1:] for row in rows]) and len({row[1] for row in rows}) > 1


def _has_steps(rows: Sequence[Sequence[float]]) -> bool:
    firsts = [row[0] for row in rows]
    return (
        min(map(len, rows)) > 1 and all(map(float.is_integer, firsts)) and firsts[0] >= 0 and firsts == sorted(firsts)
    )
