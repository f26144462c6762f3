"""JSON lines: one JSON object a line, of any nesting.

``{"step": 12, "train": {"loss": 2.3}}`` gives the sample ``train.loss``. Booleans and text are no samples, but text that
spells a number is (``"0.5"``, ``"nan"``). NaN and the infinities are read in any spelling, quoted or bare, although bare
ones are not JSON: a loss that is not a number is the one that matters most.

A record whose ``mode``, ``phase``, ``split`` or ``stage`` says that it is a validation has that word put in front of its
names: the ``loss`` of ``{"mode": "val", "loss": 0.5}`` is the metric ``val.loss``.

The functions that turn JSON objects into columns serve the other formats that are made of JSON too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, ClassVar

import msgspec
import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Floats, Ints
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.linewise import Linewise

# Bytes that are decoded at once: the objects of some 1,500 lines stay in the processor's cache, which doubles the speed.
_PIECE_BYTES = 1 << 16
# Deeper nesting, and lists longer than this (histograms, token ids), are no metrics.
MAX_DEPTH = 8
MAX_LIST = 8

_NOT_AN_OBJECT = "not a JSON object"

# A bare NaN or infinity, where JSON wants a value. Put in quotes it is a string, which `number` reads. Inside a string the
# same bytes would end that string in front of a letter, which no decoder accepts: so a wrong match is found out.
_BARE = re.compile(rb"([:\[,]\s*)([-+]?(?:nan(?:\(ind\))?|inf(?:inity)?))(?=\s*[,}\]])", re.IGNORECASE)
_QUOTED = rb'\1"\2"'

_MODES = ("mode", "phase", "split", "stage")
_MODE_KEYS = tuple(f'"{key}"'.encode() for key in _MODES)
_VALIDATION = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})

PLACES = frozenset({"step", "epoch"})
LOSSES = frozenset({"train_loss", "val_loss"})
PLACES_AND_LOSSES = PLACES | LOSSES

_decode_lines = msgspec.json.Decoder().decode_lines
_decode = msgspec.json.Decoder().decode


class JsonLines(Linewise):
    """The format `jsonl`."""

    name: ClassVar[str] = "jsonl"
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._axis = EpochAxis()

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for piece in pieces(text):
            records = objects(piece, errors)
            if not records:
                continue
            collect(found, "", named_by_mode(piece, records), np.arange(count, count + len(records)))
            count += len(records)
        return count


def pieces(text: bytes) -> Iterator[bytes]:
    """Some lines of `text` at a time, so many that their objects stay in the processor's cache."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + _PIECE_BYTES) + 1 or len(text)
        yield text[start:end]
        start = end


def objects(piece: bytes, errors: Counter[str]) -> list[dict[str, Any]]:
    """The objects in the lines of `piece`; whatever else lies there is counted."""
    records = _at_once(piece)
    if records is None and _BARE.search(piece):
        records = _at_once(_BARE.sub(_QUOTED, piece))
    if records is None:
        decoded = [_line(line) for line in piece.split(b"\n")[:-1]]
        records = [record for record in decoded if record is not None]
        if len(records) < len(decoded):
            errors[_NOT_AN_OBJECT] += len(decoded) - len(records)
    return records


def _at_once(piece: bytes) -> list[dict[str, Any]] | None:
    """The objects, if each line of `piece` is one."""
    # The decoder would also take an object over two lines, or two in one: then the result would depend on the cut.
    lines = piece.count(b"\n")
    if piece[:1] != b"{" or piece.count(b"\n{") != lines - 1 or piece.count(b"}\n") != lines:
        return None
    try:
        records: list[dict[str, Any]] = _decode_lines(piece)
    except (ValueError, RecursionError):
        return None
    return records if len(records) == lines else None


def _line(line: bytes) -> dict[str, Any] | None:
    """The object in `line`, or None."""
    if not line.lstrip().startswith(b"{"):
        return None
    record: dict[str, Any] | None = decoded(line)
    return record


def decoded(text: bytes) -> Any:
    """What the JSON in `text` says, with NaN and infinities in any spelling, or None where it is none."""
    decodings: tuple[Callable[[], Any], ...] = (
        lambda: _decode(text),
        lambda: _decode(_BARE.sub(_QUOTED, text)),
        lambda: json.loads(text.decode("utf-8", "replace")),  # also lone surrogates and numbers beyond a double
    )
    for decode in decodings:
        try:
            value = decode()
        except (ValueError, RecursionError):
            continue
        return value
    return None


def tells(record: Mapping[str, Any], roles: Container[str] = PLACES_AND_LOSSES, depth: int = 2) -> bool:
    """Whether a record has a number that is a step, an epoch or a loss (or of other `roles`), by its name."""
    return any(
        role(key) in roles
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else role(key) in roles and number(value) is not None
        if isinstance(value, str)
        else depth > 1 and isinstance(value, dict) and tells(value, roles, depth - 1)
        for key, value in record.items()
    )


def named_by_mode(text: bytes, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records in `text` with the names of their metrics behind their validation word, where they have one."""
    return list(map(by_mode, records)) if any(key in text for key in _MODE_KEYS) else records


def by_mode(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the names of its metrics behind its validation word, where it has one."""
    word = next((mode for key in _MODES if isinstance(mode := record.get(key), str) and mode in _VALIDATION), None)
    if word is None:
        return record
    # `iter` is the one step that is left out: mmcv counts the batches of the validation with it.
    return {
        key if role(key) in ("step", "epoch") else f"{word}.{key}": value
        for key, value in record.items()
        if key != "iter"
    }


def collect(found: Columns, prefix: str, records: Sequence[dict[str, Any]], rows: Ints, depth: int = MAX_DEPTH) -> None:
    """Put the numbers in `records` into `found`, those of records of the same shape together.

    Args:
        found: Where to.
        prefix: Of their names.
        records: Not empty.
        rows: The number of each record, shape (len(records),).
        depth: How much deeper a record may be nested.
    """
    keys = tuple(records[0])
    if set(map(len, records)) == {len(keys)}:
        try:
            columns = _columns(keys, records)
        except KeyError:
            pass
        else:
            for key, column in zip(keys, columns, strict=True):
                _collect_column(found, prefix + key, column, rows, depth)
            return
    shapes: dict[tuple[str, ...], list[int]] = {}
    for i, record in enumerate(records):
        shapes.setdefault(tuple(record), []).append(i)
    for which in shapes.values():
        collect(found, prefix, [records[i] for i in which], rows[which], depth)


def _columns(keys: tuple[str, ...], records: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The values of each key. Raises KeyError where a record has others."""
    if len(keys) > 1:
        return list(zip(*map(itemgetter(*keys), records), strict=True))
    return [tuple(record[key] for record in records) for key in keys]


def _collect_column(found: Columns, name: str, column: Sequence[Any], rows: Ints, depth: int) -> None:
    """Put the numbers in `column`, values of one key in the records `rows`, into `found`."""
    kinds = set(map(type, column))
    if kinds == {float} or kinds == {int, float}:
        found.add(name, rows, _floats(column))
        return
    if len(kinds) > 1:
        for kind in sorted(kinds, key=lambda kind: kind.__name__):
            which = [i for i, value in enumerate(column) if type(value) is kind]
            _collect_column(found, name, [column[i] for i in which], rows[which], depth)
        return
    kind = kinds.pop()
    if kind is int:
        found.add(name, rows, _floats(column))
    elif kind is str:
        spelled = {text: number(text) for text in set(column)}
        values = [spelled[text] for text in column]
        which = [i for i, value in enumerate(values) if value is not None]
        if which:
            found.add(name, rows[which], [value for value in values if value is not None])
    elif kind is list and depth:
        column = [dict(zip(_INDICES, value, strict=False)) if len(value) <= MAX_LIST else {} for value in column]
        collect(found, f"{name}.", column, rows, depth - 1)
    elif kind is dict and depth:
        collect(found, f"{name}.", column, rows, depth - 1)


_INDICES = tuple(str(i) for i in range(MAX_LIST))


def _floats(column: Sequence[Any]) -> Floats:
    try:
        return np.array(column, np.float64)
    except OverflowError:  # a whole number beyond a double, which as text is infinite
        return np.array([float(str(value)) for value in column])
