"""The format `csv`: a header and rows, separated by commas, tabs or semicolons.

A header is recognised by its names, and so is a later one: a resumed run repeats it, and a logger that meets a new
metric writes another. Padded names, empty cells (Lightning fills only some columns of each row) and blank lines are
normal. A row with fewer cells than the header is counted and left out, because a torn row may end within a number. A run
that is resumed with more metrics writes longer rows below the old header: the cells that it does not name are `column5`
and so on. A header may have two lines, the split above the metric. In a long table (`step,metric,value`) each row is a
value of the metric that it names. Where semicolons separate the cells, a comma in a number is a decimal one, as in the files of Excel and R.
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
from lrwatch.formats.json.lines import NAME_COLUMNS, VALIDATION_WORDS
from lrwatch.formats.linewise import Linewise
from lrwatch.formats.processes import RANK_NAMES, FirstRound

_SEPARATORS = (",", "\t", ";")
# Cells of a row beyond the header that are read.
_MOST_UNNAMED = 64
# Columns that are read; a log of metrics has some hundreds at the most.
MAX_COLUMNS = 4096
# A longer name is a sentence.
_LONGEST_NAME = 128
_NAME = re.compile(r"[^\W\d][^{}=\"]*|")  # begins with a letter or an underscore; empty is the index of a data frame
_ASSIGNED = re.compile(r":\s+[-+.]?\d")  # `lr: 0.1` is no name
_UNIT = re.compile(r"(.*\S)\s*(?:\[[^\]]*\]|\([^)]*\))")
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

    SAVED: ClassVar[tuple[str, ...]] = (
        *Linewise.SAVED, "_separator", "_header", "_hidden", "_fresh", "_longer", "_ranks",
    )  # fmt: skip

    name: ClassVar[str] = "csv"
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._separator = ""
        self._header: list[str] = []
        self._hidden = 0  # names of the header beyond MAX_COLUMNS
        self._fresh = False  # the last line was a header
        self._ranks = FirstRound()  # of rows
        self._longer = False  # there was a row with more cells than the header

    @property
    def holds(self) -> bool:
        """Whether records wait until the process to follow is known."""
        return bool(self._ranks.held)

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        lines = text.decode("utf-8", "replace").split("\n")[:-1]
        start = 0
        for i, line in enumerate(lines):
            # After the first header, only a line that begins with a letter can be another, or the next line of this one.
            if self._header and not (line[0].isalpha() or line[0] in '"_ #\ufeff,\t;'):
                continue
            fresh = self._fresh and i == start
            if self._header and not fresh and line[0] in _SEPARATORS:
                continue
            header = line[0] == "#" or self._header_in(line)
            if not header:
                continue
            count += self._rows(lines[start:i], found, count, errors, last=header is not True)
            start = i + 1
            if header is not True:
                separator, names = header
                if fresh and separator == self._separator and (joined := _joined(self._header, names)):
                    names = joined
                self._separator, self._fresh = separator, True
                self._header, self._hidden = names[:MAX_COLUMNS], max(0, len(names) - MAX_COLUMNS)
                if self._hidden:
                    errors[_HIDDEN] += self._hidden
        count += self._rows(lines[start:], found, count, errors, last=self._final)
        return count

    def _header_in(self, line: str) -> tuple[str, list[str]] | None:
        """Return separator and names if `line` is a header; after the first one, it needs a well-known name."""
        for separator in sorted(_SEPARATORS, key=line.count, reverse=True):
            names = [_without_unit(name.strip()) for name in _cells(line.lstrip("\ufeff"), separator)]
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

    def _rows(
        self, lines: Sequence[str], found: Columns, first_row: int, errors: Counter[str], *, last: bool = False
    ) -> int:
        """Put the rows in `lines` into `found`, and return their number; with `last`, the next row has another header."""
        if not lines and not (last and self._ranks.held):
            return 0
        if not self._header:
            errors[_NO_HEADER] += len(lines)
            return 0
        if lines:
            self._fresh = False
        longest = width = len(self._header) + self._hidden
        rows = [_cells(line, self._separator) for line in lines]
        if ragged := bool(set(map(len, rows)) - {width}):
            rows = [row for row in rows if len(row) >= width]
            if len(rows) < len(lines):
                errors[_MISFIT] += len(lines) - len(rows)
            if not self._longer and any(any(row[width:]) for row in rows):
                self._longer = True
                errors[_LONGER] += 1  # once: such rows are read
        names = [name.lower() for name in self._header]
        rank = next((names.index(name) for name in RANK_NAMES if name in names), None)
        ranks: list[int | None] = []
        if rank is not None:
            known = self._ranks.take([(_whole(row[rank]), row) for row in rows], final=last)
            ranks, rows = [number for number, _ in known], [row for _, row in known]
        if ragged or ranks:
            longest = max(map(len, rows), default=0)
        numbers = np.arange(first_row, first_row + len(rows))
        named = [row[: len(self._header)] for row in rows] if longest > len(self._header) else rows
        columns = _long_columns(names)
        for prefix, which in self._owners(named, names, ranks).items():
            owned = named if which is None else [named[i] for i in which]
            places = numbers if which is None else numbers[which]
            for i, (name, cells) in enumerate(zip(self._header, zip(*owned, strict=True), strict=False)):
                if columns is not None and i == columns[1]:
                    self._collect_by_name(found, prefix, owned, columns, places)
                elif name and not (prefix and restarts(name)):
                    self._collect(found, _of_owner(prefix, name), cells, places)
        for column in range(width, min(longest, width + _MOST_UNNAMED)):
            which = [i for i, row in enumerate(rows) if len(row) > column]
            self._collect(found, f"column{column + 1}", [rows[i][column] for i in which], numbers[which])
        return len(rows)

    def _owners(
        self, rows: Sequence[Sequence[str]], names: Sequence[str], ranks: Sequence[int | None]
    ) -> Mapping[str, list[int] | None]:
        """Return the rows by the prefix of their metrics, that of a validation or of a process beside the followed; None is all."""
        split = next((names.index(name) for name in SPLIT_COLUMNS if name in names), None)
        if split is None and not ranks:
            return {"": None}
        owners: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            word = row[split].strip().lower() if split is not None else ""
            prefix = f"{word}." if word in VALIDATION_WORDS else ""
            if ranks:
                prefix = self._ranks.prefix(ranks[i]) + prefix
            owners.setdefault(prefix, []).append(i)
        return owners

    def _collect_by_name(
        self, found: Columns, prefix: str, rows: Sequence[Sequence[str]], columns: tuple[int, int], places: Ints
    ) -> None:
        """Put the values of a long table into `found`: each row names its metric in a cell."""
        named: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            name = row[columns[0]].strip()
            if name in named or (name and len(named) < MAX_COLUMNS and len(name) <= _LONGEST_NAME):
                named.setdefault(name, []).append(i)
        for name, which in named.items():
            self._collect(found, prefix + name, [rows[i][columns[1]] for i in which], places[which])

    def _collect(self, found: Columns, name: str, cells: Sequence[str], rows: Ints) -> None:
        if self._separator == ";" and any("," in cell for cell in cells):
            cells = [
                cell.replace(".", "").replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells
            ]
        _collect(found, name, cells, rows)


def _without_unit(name: str) -> str:
    """Return the name of a column, that of a place without its unit.

    >>> _without_unit("Step [-]"), _without_unit("Loss [nats]")
    ('Step', 'Loss [nats]')
    """
    found = _UNIT.fullmatch(name) if name[-1:] in ("]", ")") and len(name) <= _LONGEST_NAME else None
    return found[1] if found is not None and role(found[1]) in ("step", "epoch") else name


def _long_columns(names: Sequence[str]) -> tuple[int, int] | None:
    """Return the columns of the name and the value of a metric in the header of a long table; None of another one."""
    names = [name.removeprefix("metric.") for name in names]
    name = next((names.index(name) for name in NAME_COLUMNS if name in names), None)
    return None if name is None or "value" not in names else (name, names.index("value"))


def _joined(above: Sequence[str], names: Sequence[str]) -> list[str] | None:
    """Return the names of a header of two lines, None if the lower line is a header by itself.

    >>> _joined(["", "train", "val"], ["step", "loss", "loss"]), _joined(["host", "gpu"], ["step", "loss"])
    (['step', 'train loss', 'val loss'], None)
    """
    if len(above) != len(names) or (all(names) and len(set(names)) == len(names)):
        return None
    return [f"{first} {second}".strip() for first, second in zip(above, names, strict=True)]


def _whole(cell: str) -> int | None:
    cell = cell.strip()
    return int(cell) if cell.isdecimal() and len(cell) < _LONGEST_RANK else None


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
