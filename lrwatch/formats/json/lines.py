"""The format `jsonl`, JSON lines: one JSON object per line, of any nesting.

``{"step": 12, "train": {"loss": 2.3}}`` gives the sample ``train.loss``. Booleans and text are no samples, but text
that spells a number is (``"0.5"``, ``"nan"``). NaN and the infinities count in any spelling, quoted or bare, although
bare ones are not JSON: a loss that is not a number matters most.

If the ``mode``, ``phase``, ``split`` or ``stage`` of a record names a validation, that word becomes a prefix of its
names: the ``loss`` of ``{"mode": "val", "loss": 0.5}`` is the metric ``val.loss``.

A record of a long table, ``{"step": 12, "tag": "loss", "value": 2.3}``, is one of the metric that it names.

The functions that turn JSON objects into columns serve the other formats of JSON too.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, ClassVar

import msgspec
import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Floats, Ints
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.counters import restarts
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.linewise import Linewise
from lrwatch.formats.processes import RANK_NAMES, FirstRound

# Bytes decoded at once: the objects of some 1,500 lines stay in the processor's cache, which doubles the speed.
_PIECE_BYTES = 1 << 16
# Deeper nesting, and lists longer than this (histograms, token ids), are no metrics.
MAX_DEPTH = 8
MAX_LIST = 8
# Keys of one object that are read; a record of metrics has some hundreds at the most.
MAX_KEYS = 4096

_NOT_AN_OBJECT = "not a JSON object"

# A bare NaN or infinity, where JSON wants a value. Put in quotes it is a string, which `number` reads. Inside a string
# the quotes would end that string before a letter, which no decoder accepts: a wrong match does no harm.
BARE = re.compile(rb"([:\[,]\s*)([-+]?(?:nan(?:\(ind\))?|inf(?:inity)?))(?=\s*[,}\]])", re.IGNORECASE)
QUOTED = rb'\1"\2"'

_HALF_A_PAIR = re.compile(
    rb"\\u[dD][89a-bA-B][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)

_MODES = ("mode", "phase", "split", "stage")
_MODE_KEYS = tuple(f'"{key}"'.encode() for key in _MODES)
NAME_COLUMNS = ("metric", "tag", "metric_name", "name", "key", "variable", "series")
"""Keys, or columns, of the name of a metric in a long table, which has its values in another one, the surest first."""
_VALUE = "value"
_LIST = "metrics"
_OF_LONG_TABLES = frozenset({_VALUE, _LIST})
VALIDATION_WORDS = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})

PLACES = frozenset({"step", "epoch"})
LOSSES = frozenset({"train_loss", "val_loss"})
PLACES_AND_LOSSES = PLACES | LOSSES

_decode_lines = msgspec.json.Decoder().decode_lines
_decode = msgspec.json.Decoder().decode


class JsonLines(Linewise):
    """The format `jsonl`; see `lrwatch.formats.base.Format`."""

    SAVED: ClassVar[tuple[str, ...]] = (*Linewise.SAVED, "_ranks")

    name: ClassVar[str] = "jsonl"
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        super().__init__()
        self._axis = EpochAxis()
        self._ranks = FirstRound()

    @property
    def holds(self) -> bool:
        """Whether records wait until the process to follow is known."""
        return bool(self._ranks.held)

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for piece in pieces(text):
            records = objects(piece, errors)
            if not records:
                continue
            keys = set[str]().union(*records)
            if not keys.isdisjoint(_OF_LONG_TABLES):
                records = list(map(by_name, records))
            if not keys.isdisjoint(_MODES):
                records = list(map(by_mode, records))
            if self._ranks.held or not keys.isdisjoint(RANK_NAMES):
                records = self._of_ranks(records)
            count += _collected(found, records, count)
        if self._final and self._ranks.held:
            count += _collected(found, self._of_ranks([], final=True), count)
        return count

    def _of_ranks(self, records: Sequence[dict[str, Any]], *, final: bool = False) -> list[dict[str, Any]]:
        """Return the records that wait no longer, those of other processes with their number before the names of metrics."""
        known = self._ranks.take([(_rank(record), record) for record in records], final=final)
        return [
            {key if role(key) in PLACES else prefix + key: value for key, value in record.items()}
            if (prefix := self._ranks.prefix(rank))
            else record
            for rank, record in known
        ]


def _rank(record: Mapping[str, Any]) -> int | None:
    """Return the number of the process that wrote a record, if it says one."""
    rank = next((record[name] for name in RANK_NAMES if name in record), None)
    return rank if type(rank) is int and rank >= 0 else None


def _collected(found: Columns, records: Sequence[dict[str, Any]], count: int) -> int:
    """Put the numbers in `records` into `found`, as rows from `count` on, and return their number."""
    if records:
        collect(found, "", records, np.arange(count, count + len(records)))
    return len(records)


def by_name(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of a long table with its value under its name; others as they are.

    >>> by_name({"step": 10, "tag": "loss", "value": 2.5})
    {'step': 10, 'loss': 2.5}
    >>> by_name({"step": 10, "metrics": [{"name": "loss", "value": 2.5}]})
    {'step': 10, 'loss': 2.5}
    """
    if (found := _named_value(record)) is not None:
        word, name, value = found
        return {**{key: value for key, value in record.items() if key not in (word, _VALUE)}, name: value}
    pairs = record.get(_LIST)
    if type(pairs) is not list or not all(isinstance(one, dict) for one in pairs):
        return record
    named = [_named_value(one) for one in pairs]
    if None in named:
        return record
    others = {key: value for key, value in record.items() if key != _LIST}
    return {**others, **{one[1]: one[2] for one in named if one is not None}}


def _named_value(record: Mapping[str, Any]) -> tuple[str, str, float] | None:
    """Return the key of the name of a value, the name, and the value; None if the record is no such pair."""
    value = record.get(_VALUE)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or "metadata" in record:
        return None
    word = next((key for key in NAME_COLUMNS if isinstance(record.get(key), str)), None)
    if word is None or number(record[word]) is not None or (isinstance(value, str) and number(value) is None):
        return None
    return word, record[word], value  # type: ignore[return-value]


def pieces(text: bytes) -> Iterator[bytes]:
    """Cut `text` into pieces of some lines, whose objects stay in the processor's cache."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + _PIECE_BYTES) + 1 or len(text)
        yield text[start:end]
        start = end


def objects(piece: bytes, errors: Counter[str]) -> list[dict[str, Any]]:
    """Decode the objects in the lines of `piece`, and count other lines as errors."""
    records = _at_once(piece)
    if records is None and BARE.search(piece):
        records = _at_once(BARE.sub(QUOTED, piece))
    if records is None:
        decoded = [_line(line) for line in piece.split(b"\n")[:-1]]
        records = [record for record in decoded if record is not None]
        if len(records) < len(decoded):
            errors[_NOT_AN_OBJECT] += len(decoded) - len(records)
    return records


def _at_once(piece: bytes) -> list[dict[str, Any]] | None:
    """Decode all lines of `piece` at once; None unless each of them is one object."""
    # The decoder also accepts an object over two lines, or two in one: then the result would depend on the cut.
    lines = piece.count(b"\n")
    if piece[:1] != b"{" or piece.count(b"\n{") != lines - 1 or piece.count(b"}\n") != lines:
        return None
    try:
        records: list[dict[str, Any]] = _decode_lines(piece)
    except (ValueError, RecursionError):
        return None
    return records if len(records) == lines else None


def _line(line: bytes) -> dict[str, Any] | None:
    """Decode the object in `line`, or return None."""
    if not line.lstrip().startswith(b"{"):
        return None
    record: dict[str, Any] | None = decoded(line)
    return record


def decoded(text: bytes) -> Any:
    """Decode JSON, with NaN and infinities in any spelling; None if `text` is not JSON."""
    decodings: tuple[Callable[[], Any], ...] = (
        lambda: _decode(text),
        lambda: _decode(BARE.sub(QUOTED, text)),
        lambda: json.loads(without_surrogates(text).decode("utf-8", "replace")),  # also numbers beyond a double
    )
    for decode in decodings:
        try:
            value = decode()
        except (ValueError, RecursionError):
            continue
        return value
    return None


def without_surrogates(text: bytes) -> bytes:
    r"""Return JSON with U+FFFD for each half of a pair of surrogates, which is no character and cannot be written anywhere.

    >>> without_surrogates(rb'{"\ud800": "\ud83d\ude00"}')
    b'{"\\ufffd": "\\ud83d\\ude00"}'
    """
    return _HALF_A_PAIR.sub(rb"\\ufffd", text)


def tells(record: Mapping[str, Any], roles: Container[str] = PLACES_AND_LOSSES, depth: int = 2) -> bool:
    """Return whether a record has a number that by its name is a step, an epoch or a loss.

    Args:
        record: A decoded object.
        roles: Roles of the names that count, in the place of those.
        depth: Levels of objects to search.
    """
    return any(
        role(key) in roles
        if isinstance(value, (int, float)) and not isinstance(value, bool)
        else role(key) in roles and number(value) is not None
        if isinstance(value, str)
        else depth > 1 and isinstance(value, dict) and tells(value, roles, depth - 1)
        for key, value in record.items()
    )


def named_by_mode(text: bytes, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the records in `text` with their names prefixed by `by_mode`."""
    return list(map(by_mode, records)) if any(key in text for key in _MODE_KEYS) else records


def by_mode(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record of a validation with its validation word before the names of its metrics; others as they are."""
    word = next((mode for key in _MODES if isinstance(mode := record.get(key), str) and mode in VALIDATION_WORDS), None)
    if word is None:
        return record
    # `iter` is left out, with which mmcv counts the batches of the validation, and so is what restarts with each epoch.
    return {
        key if role(key) in ("step", "epoch") else f"{word}.{key}": value
        for key, value in record.items()
        if key != "iter" and not restarts(key)
    }


def collect(found: Columns, prefix: str, records: Sequence[dict[str, Any]], rows: Ints, depth: int = MAX_DEPTH) -> None:
    """Put the numbers in `records` into `found`, column by column for records of the same shape.

    Args:
        found: Takes the numbers.
        prefix: Prefix of their names.
        records: Decoded objects, at least one.
        rows: Number of each record, shape (len(records),).
        depth: Levels of nesting that are followed.
    """
    keys = tuple(records[0])
    if len(keys) <= MAX_KEYS and set(map(len, records)) == {len(keys)}:
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
        shapes.setdefault(tuple(islice(record, MAX_KEYS)), []).append(i)
    if max(map(len, records)) > MAX_KEYS:
        records = [dict(islice(record.items(), MAX_KEYS)) for record in records]
    for which in shapes.values():
        collect(found, prefix, [records[i] for i in which], rows[which], depth)


def _columns(keys: tuple[str, ...], records: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Return the values of each key; a KeyError means that a record has other keys."""
    if len(keys) > 1:
        return list(zip(*map(itemgetter(*keys), records), strict=True))
    return [tuple(record[key] for record in records) for key in keys]


def _collect_column(found: Columns, name: str, column: Sequence[Any], rows: Ints, depth: int) -> None:
    """Put the numbers in `column`, the values of one key in the records `rows`, into `found`."""
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
