"""Further shapes of a history in a JSON document, as one of those that `formats.json.documents` reads.

======================  ================================================================================================
keyed records           an object of records whose keys are their places: ``{"epoch_1": {"loss": 2.5}, "epoch_2": ...}``
split table             ``{"columns": ["step", "loss"], "data": [[10, 2.5], ...]}`` of pandas
table of columns        ``{"loss": {"0": 2.5, "1": 2.25}, ...}``, the default of pandas
pairs                   an object of lists of steps and values: ``{"loss": [[10, 2.5], ...]}``
triples                 a list of times, steps and values, as TensorBoard exports it
======================  ================================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from lrwatch.core.names import role
from lrwatch.formats.base import UNNAMED
from lrwatch.formats.json.lines import LOSSES, tells

_KEY = re.compile(r"(?:(epoch|step|iter|iteration)[ _-]?)?(\d{1,12})", re.IGNORECASE)
# Records whose keys are bare numbers: fewer may be folds or devices.
_LEAST = 3


def reshaped(document: Any) -> Any:
    """Return a document, or a part of one, as records or as metrics with steps of their own; as it is if it has another shape.

    >>> reshaped({"epoch_1": {"loss": 2.5}, "epoch_2": {"loss": 2.25}})
    [{'epoch': 1, 'loss': 2.5}, {'epoch': 2, 'loss': 2.25}]
    >>> reshaped({"loss": [[10, 2.5], [20, 2.25]]})
    {'loss': {'steps': [10, 20], 'values': [2.5, 2.25]}}
    """
    if type(document) is list:
        return {UNNAMED: _column(document, 1)} if _are_places(document, 3) else document
    if not isinstance(document, dict):
        return document
    names, cells = document.get("columns"), document.get("data")
    if type(names) is list and type(cells) is list and all(type(row) is list for row in cells):
        return [dict(zip(map(str, names), row, strict=False)) for row in cells]
    if (records := _keyed(document)) is not None:
        return records
    if (rows := _by_columns(document)) is not None:
        return rows
    pairs = {key: value for key, value in document.items() if type(value) is list and _are_places(value, 2)}
    if pairs and any(role(key) in LOSSES for key in pairs):
        return {key: _column(value, 0) for key, value in pairs.items()}
    return document


def _keyed(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    found = [(match, value) for key, value in document.items() if (match := _KEY.fullmatch(key)) is not None]
    if not found or not all(isinstance(value, dict) and tells(value, LOSSES) for _, value in found):
        return None
    if found[0][0][1] is None and len(found) < _LEAST:
        return None
    numbers = [int(match[2]) for match, _ in found]
    rising = all(after == before + 1 for before, after in pairwise(numbers))
    return [
        {(match[1] or ("epoch" if rising else "step")).lower(): number, **value}
        for number, (match, value) in zip(numbers, found, strict=True)
    ]


def _by_columns(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    columns = list(document.values())
    if not columns or not all(isinstance(column, dict) and len(column) >= _LEAST for column in columns):
        return None
    keys = list(columns[0])
    if not all(key.isdecimal() and list(column) == keys for key in keys[:1] for column in columns):
        return None
    if not any(role(name) in LOSSES for name in document):
        return None
    return [{name: column[key] for name, column in document.items()} for key in keys]


def _are_places(rows: Sequence[Any], width: int) -> bool:
    """Return whether rows have `width` numbers each, of which the one before the value is a place that rises."""
    if not rows or not all(type(row) is list and len(row) == width for row in rows):
        return False
    places = [row[width - 2] for row in rows]
    whole = all(type(place) in (int, float) and place == place and 0 <= place == place // 1 for place in places)
    return whole and all(after > before for before, after in pairwise(places))


def _column(rows: Sequence[Sequence[Any]], at: int) -> dict[str, list[Any]]:
    return {"steps": [row[at] for row in rows], "values": [row[at + 1] for row in rows]}
