"""The format `csv`: a header and rows, separated by commas, tabs or semicolons.

A header is recognised by its names, and so is a later one: a resumed run repeats it, and a logger that meets a new
metric writes another. Padded names, empty cells (Lightning fills only some columns of each row) and blank lines are
normal. A row with fewer cells than the header is counted and left out, because a torn row may end within a number. A run
that is resumed with more metrics writes longer rows below the old header: the cells that it does not name are `column5`
and so on. Where semicolons separate the cells, a comma in a number is a decimal one, as in the files of Excel and R.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Ints
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.counters import restarts
from lrwatch.formats.json.lines import VALIDATION_WORDS
from lrwatch.formats.linewise import Linewise

_SEPARATORS = (",", "\t", ";")
# Cells of a row beyond the header that are read.
_MOST_UNNAMED = 64
# Columns that are read; a log of metrics has some hundreds at the most.
MAX_COLUMNS = 4096
# A longer name is a sentence.
_LONGEST_NAME = 128
_NAME = re.compile(r"[^\W\d][^{}=\"]*|")  # begins with a letter or an underscore; empty is the index of a data frame
_ASSIGNED = re.compile(r":\s+[-+.]?\d")  # `lr: 0.1` is no name
# Columns that say to which split a row belongs, and the longest number of a process.
SPLIT_COLUMNS = ("split", "phase", "mode", "stage", "subset", "dataset")
_LONGEST_RANK = 8
_COMMON_ROLES = frozenset({"step", "epoch", "lr", "train_loss", "val_loss"})

_NO_HEADER = "line before the header"
_MISFIT = "row does not fit the header"
_HIDDEN = f"column beyond the first {MAX_COLUMNS:,}"
_LONGER = "row with more cells than the header names"
_DECIMAL_COMMA = re.compile(r"\s*[-+]?(?:\d*,\d+|\d+(?:\.\d{3})+,\d+)(?:[eE][-+]?\d+)?\s*")


class Csv(Linewise):
    """The format `csv`; see `lrwatch.formats.base.Format`."""

    SAVED: ClassVar[tuple[str, ...]] = (*Linewise.SAVED, "_separator", "_header", "_hidden", "_longer", "_rank")

    name: ClassVar[str] = "csv"
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._separator = ""
        self._header: list[str] = []
        self._hidden = 0  # names of the header beyond MAX_COLUMNS
        self._rank: int | None = None  # the lowest number of a process so far
        self._longer = False  # there was a row with more cells than the header

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        lines = text.decode("utf-8", "replace").split("\n")[:-1]
        start = 0
        for i, line in enumerate(lines):
            # After the first header, only a line that begins with a letter can be another.
            if self._header and not (line[0].isalpha() or line[0] in '"_ #\ufeff'):
                continue
            header = line[0] == "#" or self._header_in(line)
            if not header:
                continue
            count += self._rows(lines[start:i], found, count, errors)
            start = i + 1
            if header is not True:
                self._separator, names = header
                self._header, self._hidden = names[:MAX_COLUMNS], max(0, len(names) - MAX_COLUMNS)
                if self._hidden:
                    errors[_HIDDEN] += self._hidden
        count += self._rows(lines[start:], found, count, errors)
        return count

    def _header_in(self, line: str) -> tuple[str, list[str]] | None:
        """Return separator and names if `line` is a header; after the first one, it needs a well-known name."""
        for separator in sorted(_SEPARATORS, key=line.count, reverse=True):
            names = [name.strip() for name in _cells(line.lstrip("\ufeff"), separator)]
            if len(names) < 2 or not any(names):
                continue
            if all(
                len(name) <= _LONGEST_NAME
                and _NAME.fullmatch(name)
                and number(name) is None
                and _ASSIGNED.search(name) is None
                for name in names
            ):
                has_common_name = any(role(name) in _COMMON_ROLES for name in names)
                return (separator, names) if has_common_name or not self._header else None
        return None

    def _rows(self, lines: Sequence[str], found: Columns, first_row: int, errors: Counter[str]) -> int:
        """Put the rows in `lines` into `found`, and return their number."""
        if not lines:
            return 0
        if not self._header:
            errors[_NO_HEADER] += len(lines)
            return 0
        longest = width = len(self._header) + self._hidden
        rows = [_cells(line, self._separator) for line in lines]
        if set(map(len, rows)) != {width}:
            rows = [row for row in rows if len(row) >= width]
            if len(rows) < len(lines):
                errors[_MISFIT] += len(lines) - len(rows)
            if not self._longer and any(any(row[width:]) for row in rows):
                self._longer = True
                errors[_LONGER] += 1  # once: such rows are read
            longest = max(map(len, rows), default=0)
        numbers = np.arange(first_row, first_row + len(rows))
        named = [row[: len(self._header)] for row in rows] if longest > len(self._header) else rows
        for prefix, which in self._owners(named).items():
            owned = named if which is None else [named[i] for i in which]
            places = numbers if which is None else numbers[which]
            for name, cells in zip(self._header, zip(*owned, strict=True), strict=False):
                if name and not (prefix and restarts(name)):
                    self._collect(found, _of_owner(prefix, name), cells, places)
        for column in range(width, min(longest, width + _MOST_UNNAMED)):
            which = [i for i, row in enumerate(rows) if len(row) > column]
            self._collect(found, f"column{column + 1}", [rows[i][column] for i in which], numbers[which])
        return len(rows)

    def _owners(self, rows: Sequence[Sequence[str]]) -> Mapping[str, list[int] | None]:
        """Return the rows by the prefix of their metrics, that of a validation or of a process beside the lowest; None is all."""
        names = [name.lower() for name in self._header]
        split = next((names.index(name) for name in SPLIT_COLUMNS if name in names), None)
        rank = names.index("rank") if "rank" in names else None
        if split is None and rank is None:
            return {"": None}
        owners: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            word = row[split].strip().lower() if split is not None else ""
            prefix = f"{word}." if word in VALIDATION_WORDS else ""
            if rank is not None and (spelled := row[rank].strip()).isdecimal() and len(spelled) < _LONGEST_RANK:
                self._rank = int(spelled) if self._rank is None else min(self._rank, int(spelled))
                if int(spelled) != self._rank:
                    prefix = f"rank{int(spelled)}.{prefix}"
            owners.setdefault(prefix, []).append(i)
        return owners

    def _collect(self, found: Columns, name: str, cells: Sequence[str], rows: Ints) -> None:
        if self._separator == ";" and any("," in cell for cell in cells):
            cells = [
                cell.replace(".", "").replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells
            ]
        _collect(found, name, cells, rows)


def _of_owner(prefix: str, name: str) -> str:
    return prefix + name if prefix and role(name) not in ("step", "epoch") else name


def _cells(line: str, separator: str) -> list[str]:
    if '"' not in line:
        return line.split(separator)
    try:
        return next(csv.reader([line], delimiter=separator))
    except csv.Error:  # a cell beyond the library's limit
        return []


def _collect(found: Columns, name: str, cells: Sequence[str], rows: Ints) -> None:
    """Put the numbers in `cells`, one column of `rows`, into `found`."""
    try:
        found.add(name, rows, np.fromiter(map(float, cells), np.float64, len(cells)))
    except ValueError:
        values = [number(cell.strip(" []") if "[" in cell else cell) if cell else None for cell in cells]
        which = [i for i, value in enumerate(values) if value is not None]
        if which:
            found.add(name, rows[which], [value for value in values if value is not None])
