"""Schemas of the SQLite databases of experiment trackers: MLflow and Trackio."""

from __future__ import annotations

import math
import sys
from collections import Counter
from hashlib import blake2b
from typing import Any, NamedTuple

from lrwatch.formats.base import number
from lrwatch.formats.json.lines import decoded

_NO_NUMBER = "value is not a number"
_NO_OBJECT = "not a JSON object"
_TOO_LONG = "row too long"


class Schema(NamedTuple):
    """A tracker's schema.

    Attributes:
        name: Name of the tracker.
        columns: Columns of the table `metrics` that identify the schema.
        query: Selects rowid, id and name of the run, step, metric ("" where `value` is an object of many), value.
    """

    name: str
    columns: frozenset[str]
    query: str


MLFLOW = Schema(
    "mlflow",
    frozenset({"key", "value", "run_uuid", "step", "is_nan"}),
    "SELECT m.rowid, m.run_uuid, r.name, m.step, m.key, CASE WHEN m.is_nan THEN 'nan' ELSE m.value END"
    " FROM metrics m LEFT JOIN runs r ON r.run_uuid = m.run_uuid",
)
# More than 1 MiB of JSON in one row is a table or a picture: it is not decoded.
TRACKIO = Schema(
    "trackio",
    frozenset({"run_id", "run_name", "step", "metrics"}),
    "SELECT m.rowid, m.run_id, m.run_name, m.step, '', CASE WHEN length(m.metrics) <= 1048576 THEN m.metrics END"
    " FROM metrics m",
)
# Before version 0.24 a run had a name and no id.
_TRACKIO_BY_NAME = Schema("trackio", TRACKIO.columns - {"run_id"}, TRACKIO.query.replace("m.run_id", "m.run_name", 1))
SCHEMAS = (MLFLOW, TRACKIO, _TRACKIO_BY_NAME)

Record = tuple[int, Any, Any, Any, Any, Any]
"""A row that a query selects."""


def row_hash(row: Record) -> str:
    """Return a hash that identifies a row."""
    # Not the name of the run, which its user may change.
    return blake2b(repr((row[0], row[1], *row[3:])).encode("utf-8", "replace"), digest_size=16).hexdigest()


def values_of(metric: Any, value: Any, errors: Counter[str]) -> dict[str, Any]:
    """Return the metrics of a row, and count in `errors` why it has none."""
    if metric:
        spelled = number(str(value)) if isinstance(value, (str, int, float)) else None
        if spelled is None:
            errors[_NO_NUMBER] += 1
            return {}
        # MLflow stores an infinity as the largest double.
        return {str(metric): math.copysign(math.inf, spelled) if abs(spelled) == sys.float_info.max else spelled}
    if value is None:
        errors[_TOO_LONG] += 1
        return {}
    content = decoded(value.encode() if isinstance(value, str) else value) if isinstance(value, (str, bytes)) else None
    if not isinstance(content, dict):
        errors[_NO_OBJECT] += 1
        return {}
    # Tables, pictures and histograms are objects that say their type.
    return {key: part for key, part in content.items() if not (isinstance(part, dict) and "_type" in part)}
