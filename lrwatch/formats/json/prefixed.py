"""The format `prefixed`: JSON objects behind a prefix of text, among lines of text.

fairseq, Torch7, MLPerf, Composer and loggers of services write it. The object in
``2021-07-01 12:00:00 | INFO | train_inner | {"epoch": 1, "loss": "11.2", "num_updates": "100"}`` is a record, read as
one of JSON lines, if it has a step, an epoch or a loss; a configuration has none. Lines without an object are no
errors.

MLPerf writes one value per line:
``:::MLLOG {"key": "train_loss", "value": 0.75, "metadata": {"epoch_num": 1, "step_num": 10}}`` is the metric
``train_loss`` at step 10. A key without a place is a setting, unless it is a loss.

Several processes may print the same record into one log, each behind a prefix of its own: it counts once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from lrwatch.core.names import role
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.json.lines import PLACES, collect, named_by_mode, objects, pieces, tells
from lrwatch.formats.linewise import Linewise

# Distinct records that are remembered to recognise a repetition: processes that print the same are seldom further
# apart.
_REMEMBERED = 128

# Up to the end of the line; text behind the object is cut off later.
_OBJECT = re.compile(rb'\{[ \t]*"[^\n]*')
# The keys of a record of MLPerf.
_MLLOG = frozenset({"key", "value", "metadata"})
# The place of a value of MLPerf that has neither a step nor an epoch.
_SAMPLES = "samples_count"


class Prefixed(Linewise):
    """The format `prefixed`; see `lrwatch.formats.base.Format`."""

    name: ClassVar[str] = "prefixed"
    # One object may be a configuration with a first epoch in it.
    evidence: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self._axis = EpochAxis()
        self._recent: dict[str, None] = {}

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for piece in pieces(text):
            cut = (line[: line.rfind(b"}") + 1] for line in _OBJECT.findall(piece))
            lines = [line for line in cut if line]
            if not lines:
                continue
            records = [
                plain
                for record in named_by_mode(piece, objects(b"\n".join(lines) + b"\n", errors))
                if tells(plain := _plain(record)) and self._is_new(plain)
            ]
            if records:
                collect(found, "", records, np.arange(count, count + len(records)))
                count += len(records)
        return count

    def _is_new(self, record: Mapping[str, Any]) -> bool:
        """Return whether a record is no repetition. Records without a place may be alike by chance: all are new."""
        if not tells(record, PLACES):
            return True
        digest = blake2b(repr(record).encode("utf-8", "replace"), digest_size=8).hexdigest()
        if digest in self._recent:
            return False
        self._recent[digest] = None
        if len(self._recent) > _REMEMBERED:
            del self._recent[next(iter(self._recent))]
        return True

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values; see `Checkpointed.state`."""
        return {**super().state(), "recent": list(self._recent)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._recent = dict.fromkeys(state["recent"])


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record; one of MLPerf becomes a metric and a place."""
    if not record.keys() >= _MLLOG:
        return record
    key, metadata = record["key"], record["metadata"]
    if not isinstance(key, str) or not isinstance(metadata, dict):
        return record
    place = {name: value for name, value in metadata.items() if role(name) in PLACES and tells({name: value}, PLACES)}
    if not place and _SAMPLES in metadata:
        place = {"step": metadata[_SAMPLES]}
    return {**place, key: record["value"]}
