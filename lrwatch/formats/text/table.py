"""The columns of a table in text: which name belongs to which number of a row.

Names may have several words, and stand on two lines. In a table with pipes the cells tell the columns. In another one
the names are cut where two blanks are, or else at each blank; where neither gives as many names as a row has numbers,
each word belongs to the number that it stands above.

A header whose cells are splits (``Training | Validation``) heads rows that begin with the name of a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role
from lrwatch.formats.base import number
from lrwatch.formats.text.recipe import Recipe, Slot

SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing", "dev", "eval", "evaluation"})

# Lines of one header.
_MOST_LINES = 3
# Names of the parts of the loss in early versions of YOLOv5.
_YOLO_PARTS = frozenset({"box", "obj", "cls", "dfl", "total"})
# What short names of columns mean: those of spaCy.
_SHORT = {"#": "step", "e": "epoch"}
# Roles of columns that belong to no split.
_OF_ALL = frozenset({"step", "epoch", "lr", "time"})
_TELLING = frozenset({"step", "epoch", "train_loss", "val_loss"})

Word = tuple[int, int, str]
"""Start, end and text of a word or a cell of a header."""


@dataclass
class Table(Checkpointed):
    """The header of a table, and its rows.

    Attributes:
        heads: The lines of the header: whether they have pipes, and their words.
        names: The names of the columns of the last row.
        begun: There was a row below this header.
        split: Prefix of the names, by the split that the header stands below.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("heads", "names", "begun", "split")

    heads: list[list[Any]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    begun: bool = True
    split: str = ""

    def take_header(self, recipe: Recipe, line: bytes, split: str = "") -> None:
        """Take a line of names: another header, or the next line of this one. `split` is the prefix of the metrics below."""
        words = [[cell.start, cell.end, _text(line, cell)] for cell in recipe.cells]
        head = [recipe.framed, words]
        whole = any(role(_text(line, cell)) in ("step", "epoch") for cell in recipe.cells)
        below = bool(self.heads) and not self.begun and all(_are_splits(words) for _, words in self.heads)
        whole = whole and not below
        if self.begun or whole or len(self.heads) >= _MOST_LINES or not self._fits(recipe.framed, len(words)):
            if self.heads != [head]:  # else it is written again, and its columns are known
                self.heads, self.names = [head], []
            self.split = split
        elif head not in self.heads:
            self.heads.append(head)
            self.names = []
        self.begun = False

    def _fits(self, framed: bool, count: int) -> bool:
        return all(before[0] == framed and (not framed or len(before[1]) == count) for before in self.heads)

    def values(self, recipe: Recipe, line: bytes) -> dict[str, float]:
        """Return the values of a row by their names; none if no header fits."""
        self.begun = True
        if not self.heads:
            return {}
        cells, split = recipe.cells, self.split
        if not recipe.framed and (word := _text(line, cells[0]).lower()) in SPLITS:  # `! Validation  1  35.2  0.005`
            cells, split = cells[1:], "" if word.startswith("train") else "test." if word.startswith("test") else "val."
        if recipe.framed and number(_text(line, cells[0])) is None and (first := _text(line, cells[0])):
            if first.lower() == "value" and [word[2].lower() for word in self.heads[-1][1][:1]] == ["name"]:
                names = [word[2] for word in self.heads[-1][1][1:]]
                return _numbers(names, cells[1:], line) if len(names) == len(cells) - 1 else {}
            return self._of_splits(cells, line)
        if len(self.names) != len(cells) or self._has_gaps(recipe, len(cells)):
            self.names = self._resolve(cells) if bool(self.heads[0][0]) == recipe.framed else []
        shown = cells[-len(self.names) :] if self.names else ()
        values = _numbers(self.names, shown, line) if _tells(tuple(self.names)) else {}
        if not split:
            return values
        return {name if role(name) in _OF_ALL else split + name: value for name, value in values.items()}

    def _has_gaps(self, recipe: Recipe, count: int) -> bool:
        """Return whether a row leaves columns empty, so that the next row with as many numbers may fill others."""
        return not recipe.framed and any(len(_apart(words)) > count for _, words in self.heads)

    def _of_splits(self, cells: Sequence[Slot], line: bytes) -> dict[str, float]:
        splits = [word[2] for word in self.heads[-1][1]]
        splits = splits[-(len(cells) - 1) :]
        if len(splits) != len(cells) - 1 or not all(split.lower() in SPLITS for split in splits):
            return {}
        metric = _text(line, cells[0])
        return _numbers([f"{split}.{metric}" for split in splits], cells[1:], line)

    def _resolve(self, cells: Sequence[Slot]) -> list[str]:
        heads = tuple((framed, tuple(tuple(word) for word in words)) for framed, words in self.heads)
        return list(_resolved(heads, tuple(cells)))


@lru_cache(64)
def _resolved(heads: tuple[tuple[bool, tuple[Word, ...]], ...], cells: tuple[Slot, ...]) -> list[str]:
    """Return the name of each of the columns that `cells` are in; `heads` are the lines of the header."""
    lines = [_columns(framed, words, cells) for framed, words in heads]
    width = max(map(len, lines), default=0)
    for i, (framed, words) in enumerate(heads):
        if not framed and len(lines[i]) < width == len(cells) and _are_splits(words):
            lines[i] = _above(words, cells, next(line for line in lines if len(line) == width))
    lines = [line for line in lines if len(line) == width]
    names = [" ".join(part for part in parts if part) for parts in zip(*lines, strict=True)]
    losses = any(role(name) in ("train_loss", "val_loss") for name in names)
    names = [_SHORT.get(name.lower(), name) if losses else name for name in names]
    parts = _YOLO_PARTS if "gpu_mem" in map(str.lower, names) else frozenset()
    return [f"{name}_loss" if name in parts else name for name in names]


def _are_splits(words: Sequence[Sequence[Any]]) -> bool:
    return all(word[2].lower() in SPLITS for word in words)


def _above(words: Sequence[Word], cells: Sequence[Slot], names: Sequence[str]) -> list[str]:
    """Return for each column the split that it stands below, as in a line `Train  Train  Valid` or one above several columns."""
    nearest = [min(words, key=lambda word: abs(word[0] + word[1] - cell.start - cell.end))[2] for cell in cells]
    return [
        "" if role(name) in ("step", "epoch", "time") else split for split, name in zip(nearest, names, strict=True)
    ]


def _columns(framed: bool, words: Sequence[Word], cells: Sequence[Slot]) -> list[str]:
    """Return the texts of one line of a header, one a column; fewer than `cells` if the first of them have no name."""
    texts = [text for _, _, text in words]
    if framed or len(texts) == len(cells):
        return texts if len(texts) <= len(cells) else []
    apart = _apart(words)
    if len(apart) == len(cells):
        return [text for _, _, text in apart]
    if len(texts) < len(cells):
        return texts
    columns = [""] * len(cells)
    ends: dict[int, Word] = {}  # the last word of each column
    for word in words:
        start, end, text = word
        at = min(range(len(cells)), key=lambda i: max(cells[i].start - end, start - cells[i].end, 0))
        if (before := ends.get(at)) is not None and start - before[1] > 1:  # two columns, one of which has no cell here
            if abs(start + end - cells[at].start - cells[at].end) > abs(
                sum(before[:2]) - cells[at].start - cells[at].end
            ):
                continue
            columns[at] = ""
        columns[at], ends[at] = f"{columns[at]} {text}".strip(), word
    return columns if all(columns) else []


def _apart(words: Sequence[Sequence[Any]]) -> list[Word]:
    """Return the names of a header, which are cut where two blanks are."""
    apart: list[Word] = []
    for start, end, text in words:
        if apart and start - apart[-1][1] < 2:
            apart[-1] = (apart[-1][0], end, f"{apart[-1][2]} {text}")
        else:
            apart.append((start, end, text))
    return apart


def _numbers(names: Sequence[str], cells: Sequence[Slot], line: bytes) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, cell in zip(names, cells, strict=False):
        if not name:
            continue
        spelled_number = line[cell.start : cell.end]
        if spelled_number.startswith(b"["):
            values.update(_of_list(name, spelled_number))
            continue
        try:
            values[name] = float(spelled_number)
        except ValueError:
            if b":" in spelled_number:  # a time
                continue
            spelled = _text(line, cell).rstrip("%")
            if role(name) in ("epoch", "step"):
                spelled = spelled.partition("/")[0]
            if (value := number(spelled)) is not None:
                values[name] = value
    return values


def _of_list(name: str, cell: bytes) -> dict[str, float]:
    """Return the numbers of a list in a cell: `name` if it is one, else `name.0` and so on."""
    numbers = [number(part) for part in cell.strip(b"[]").decode("utf-8", "replace").replace(",", " ").split()]
    return {name if len(numbers) == 1 else f"{name}.{i}": value for i, value in enumerate(numbers) if value is not None}


@lru_cache(64)
def _tells(names: tuple[str, ...]) -> bool:
    return any(role(name) in _TELLING for name in names)


def _text(line: bytes, cell: Slot) -> str:
    return line[cell.start : cell.end].decode("utf-8", "replace")
