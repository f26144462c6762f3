"""The shapes in which a JSON document holds the history of a run, and their content as samples.

======================  ================================================================================================
records                 a list of objects, or an object that has one up to two levels down (Hugging Face `log_history`)
columns                 an object of lists: the history of Keras, the results of a booster. Its list of steps or epochs
                        places them, otherwise the position in the lists, which counts epochs
Sacred                  each metric with its own steps, times and values
CatBoost                records whose values have their names in another part of the document
one record              an object with a loss in it, and none of the above
others                  see `formats.json.shapes`
======================  ================================================================================================

A document may hold several of these (`{"train": [...], "val": [...]}`). Then their keys become prefixes of the names,
and the rows are in the order of their steps.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lrwatch.core.names import primary, role
from lrwatch.core.sample import Batch
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.json.large import LazyList, pieces
from lrwatch.formats.json.lines import LOSSES, MAX_LIST, PLACES, by_mode, collect, tells
from lrwatch.formats.json.shapes import reshaped

# Levels of a document that are searched for its history: deeper ones hold configurations.
_DEPTH = 2
# Records at the beginning of a list that decide whether it is a log.
_DECIDING_RECORDS = 16
# Keys that only mean that their value is a history.
_NEUTRAL = frozenset({
    "log_history", "history", "iterations", "logs", "log", "records", "metrics", "results", "epochs", "steps", "data", "entries",
})  # fmt: skip
# The largest whole number that JSON holds exactly; a greater one is no step.
_LARGEST_STEP = 2**53

_LISTS = (list, LazyList)

EMPTY = Batch(np.empty(0, np.int64), {})


def history(document: Any) -> Batch:
    """Return all samples of a document, in the order of their steps; none if it holds no history."""
    parts = list(_parts(document, "", _DEPTH))
    if not parts and _is_one_record(document):
        parts = [_table("", [document])]
    return _merged(parts)


def is_history(document: Any, *, one_line: bool, ended: bool) -> bool:
    """Return whether a document, or the beginning of one, is the history of a run and not a record of JSON lines.

    Args:
        document: The decoded document.
        one_line: The document is on one line.
        ended: This line has its end.
    """
    if isinstance(document, _LISTS):
        return _are_records(document) or reshaped(document) is not document
    if not isinstance(document, dict):
        return False
    if _is_trainer_state(document) or _is_catboost(document) or _is_sacred(document):
        return True
    if one_line and tells(document, depth=1):
        # A record has its place beside its values. A document lacks the line end that each record has.
        return not ended and any(len(value) > MAX_LIST for value in _series(document).values())
    has_parts = next(_parts(document, "", _DEPTH), None) is not None
    return has_parts or (not one_line and _is_one_record(document))


def _parts(document: Any, name: str, depth: int) -> Iterator[Batch]:
    """Iterate over the histories in a document, or in a part of one whose key is `name`."""
    document = reshaped(document)
    if isinstance(document, _LISTS):
        if _are_records(document):
            yield _table(name, document)
    elif not isinstance(document, dict):
        return
    elif _is_trainer_state(document):
        yield _trainer_state(document)
    elif _is_catboost(document):
        yield _table(name, _listed(document, "iterations"), _with_names(document))
    elif _is_sacred(document):
        yield _sacred(document)
    else:
        series = _series(document)
        if series:
            yield _columns(name, series)
        for key, value in document.items():
            if key not in series and (depth or isinstance(value, _LISTS)):
                yield from _parts(value, name if key in _NEUTRAL else _joined(name, key), depth - 1)


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


# ---- records --------------------------------------------------------------------------------------------------------


def _same(record: dict[str, Any]) -> dict[str, Any]:
    return record


def _are_records(values: Sequence[Any]) -> bool:
    return any(isinstance(value, dict) and tells(value) for value in values[:_DECIDING_RECORDS])


def _is_one_record(document: Any) -> bool:
    return isinstance(document, dict) and not _is_trainer_state(document) and tells(document, LOSSES, _DEPTH)


def _table(name: str, values: Sequence[Any], change: Callable[[dict[str, Any]], dict[str, Any]] = _same) -> Batch:
    """Return the samples of a list of records.

    Args:
        name: Prefix of the names of their metrics.
        values: The records; what is none is counted.
        change: Changes each record first.
    """
    found = Columns()
    count = 0
    for piece in pieces(values):
        records = [by_mode(change(value)) for value in piece if isinstance(value, dict)]
        if name:
            records = [
                {key if role(key) in PLACES else _joined(name, key): value for key, value in record.items()}
                for record in records
            ]
        if records:
            collect(found, "", records, np.arange(count, count + len(records)))
            count += len(records)
    errors = {"not a record": len(values) - count} if len(values) > count else None
    return EpochAxis().batch(count, found, errors=errors)


def _is_trainer_state(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get("log_history"), _LISTS)


def _trainer_state(document: Mapping[str, Any]) -> Batch:
    batch = _table("", document["log_history"])
    # The loss is the mean over the steps since the last record.
    averaged = "loss" in batch.columns and document.get("logging_steps") != 1
    stated = document.get("max_steps")
    total = batch.total_steps
    if batch.axis == "step" and isinstance(stated, int) and batch.rows and batch.steps.max() <= stated < _LARGEST_STEP:
        total = stated
    return replace(batch, smoothing={"loss": "window"} if averaged else {}, total_steps=total)


def _is_catboost(document: Mapping[str, Any]) -> bool:
    meta = document.get("meta")
    return isinstance(meta, dict) and ("learn_metrics" in meta or "test_metrics" in meta)


def _with_names(document: Mapping[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return what gives an iteration of CatBoost the names of its metrics, which the document has in another place."""
    names: dict[str, list[str]] = {}
    for kind in ("learn", "test"):
        metrics = _listed(document["meta"], f"{kind}_metrics")
        for part in _listed(document["meta"], f"{kind}_sets") or [kind]:
            names[str(part)] = [str(metric.get("name")) for metric in metrics if isinstance(metric, dict)]

    def named(iteration: dict[str, Any]) -> dict[str, Any]:
        return {
            key: dict(zip(names[key], value, strict=False)) if key in names and isinstance(value, list) else value
            for key, value in iteration.items()
        }

    return named


def _listed(document: Mapping[str, Any], key: str) -> Sequence[Any]:
    value = document.get(key)
    return value if isinstance(value, _LISTS) else []


# ---- columns --------------------------------------------------------------------------------------------------------


def _number(value: Any) -> float | None:
    """Return the number in an element of a list; those of numpy are objects with their type."""
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, str):
        return number(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _series(document: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Return the lists of an object that are the history of its metrics; none if there is no metric to watch."""
    series = {key: value for key, value in document.items() if isinstance(value, _LISTS) and _are_numbers(value)}
    watched = [key for key in series if role(key) in LOSSES]
    if not watched and primary(series) is None and not any(f"val_{key}" in series for key in series):
        return {}
    length = max(len(series[key]) for key in watched or series)
    # A validation may come less often. Other lists of other lengths are settings; a difference of one is a write in
    # progress.
    return {key: value for key, value in series.items() if key in watched or abs(len(value) - length) <= 1}


def _are_numbers(values: Sequence[Any]) -> bool:
    kinds = set(map(type, values))
    if kinds <= {int, float, type(None)}:
        return not kinds <= {type(None)}
    return bool not in kinds and all(value is None or _number(value) is not None for value in values)


def _columns(name: str, series: Mapping[str, Sequence[Any]]) -> Batch:
    found = Columns()
    length = max(map(len, series.values()))
    is_placed = False
    for key, values in series.items():
        key = key.removesuffix("s") if key in ("epochs", "steps") else key
        is_place = role(key) in PLACES
        is_placed |= is_place
        numbers = [_number(value) for value in values]
        rows = [row for row, value in enumerate(numbers) if value is not None]
        found.add(key if is_place else _joined(name, key), rows, [value for value in numbers if value is not None])
    if is_placed:
        return EpochAxis().batch(length, found)
    columns = found.finish()
    return Batch(np.arange(length), {key: columns[key] for key in sorted(columns)}, "epoch")


def _is_sacred(document: Mapping[str, Any]) -> bool:
    """Return whether an object has metrics with steps of their own. A beginning may have only those of the first."""
    values = list(document.values())
    return (
        bool(values) and all(isinstance(value, dict) for value in values) and isinstance(values[0].get("steps"), _LISTS)
    )


def _sacred(document: Mapping[str, Any]) -> Batch:
    """Return one row per step, and more if a metric has several values at it."""
    places: dict[str, list[tuple[int, int]]] = {}
    numbers: dict[str, list[float]] = {}
    for name, column in document.items():
        steps, repeats = _listed(column, "steps"), Counter[int]()
        for i, (step, value) in enumerate(zip(steps, _listed(column, "values"), strict=False)):
            if (spelled := _number(value)) is not None:
                step = _step(step, i)
                places.setdefault(name, []).append((step, repeats[step]))
                numbers.setdefault(name, []).append(spelled)
                repeats[step] += 1
    order = sorted({place for column in places.values() for place in column})
    row = {place: i for i, place in enumerate(order)}
    found = Columns()
    for name in sorted(places):
        found.add(name, [row[place] for place in places[name]], numbers[name])
    return Batch(np.array([step for step, _ in order], np.int64), found.finish())


def _step(value: Any, otherwise: int) -> int:
    step = _number(value)
    return int(step) if step is not None and 0 <= step <= _LARGEST_STEP else otherwise


# ---- several --------------------------------------------------------------------------------------------------------


def _merged(parts: Sequence[Batch]) -> Batch:
    """Return all rows, in the order of their steps if all have the same axis."""
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    steps = np.concatenate([part.steps for part in parts])
    same = len({part.axis for part in parts}) == 1
    order = np.argsort(steps, kind="stable") if same else np.arange(len(steps))
    row = np.empty_like(order)
    row[order] = np.arange(len(order))
    found = Columns()
    errors = Counter[str]()
    start = 0
    for part in parts:
        for name, column in part.columns.items():
            found.add(name, row[start + column.rows], column.values)
        errors.update(part.errors)
        start += part.rows
    columns = found.finish()
    stated = {part.total_steps for part in parts if part.total_steps}
    smoothing = {name: kind for part in parts for name, kind in part.smoothing.items()}
    return Batch(
        steps[order],
        {name: columns[name] for name in sorted(columns)},
        parts[0].axis,
        errors=dict(errors),
        smoothing=smoothing,
        total_steps=stated.pop() if same and len(stated) == 1 else 0,
    )
