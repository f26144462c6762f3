"""The format `prefixed`: JSON objects behind a prefix of text, among lines of text.

fairseq, Torch7, MLPerf, Composer and loggers of services write it. The object in
``2021-07-01 12:00:00 | INFO | train_inner | {"epoch": 1, "loss": "11.2", "num_updates": "100"}`` is a record, read as
one of JSON lines, if it has a step, an epoch or a loss; a configuration has none. Lines without an object are no
errors.

MLPerf writes one value per line:
``:::MLLOG {"key": "train_loss", "value": 0.75, "metadata": {"epoch_num": 1, "step_num": 10}}`` is the metric
``train_loss`` at step 10. A key without a place is a setting, unless it is a loss.

Several processes may print the same record into one log, each behind a prefix of its own: it counts once. What they print
apart is kept apart, as in text (`formats.text.ranks`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, ClassVar

import numpy as np

from lrwatch.core.names import role
from lrwatch.core.sample import Batch
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.json.lines import MAX_DEPTH, PLACES, collect, named_by_mode, objects, pieces, tells
from lrwatch.formats.linewise import Linewise
from lrwatch.formats.text.presets import rank_of
from lrwatch.formats.text.ranks import PrintingRanks

# Distinct records that are remembered to recognise a repetition: processes that print the same are seldom further
# apart.
_REMEMBERED = 128

# Up to the end of the line; text behind the object is cut off later.
_OBJECT = re.compile(rb'\{[ \t]*"[^\n]*')
# A prefix that may be that of a process.
_MAY_BE_RANKED = re.compile(rb"\n(?:[\[<(](?:[A-Za-z]|\d+[\],])|\d+[_:.]|[A-Za-z][\w-]*[-_ ]?\d+|[A-Z]+\t\d)")
# The keys of a record of MLPerf.
_MLLOG = frozenset({"key", "value", "metadata"})
# The place of a value of MLPerf that has neither a step nor an epoch.
_SAMPLES = "samples_count"


class Prefixed(Linewise):
    """The format `prefixed`; see `lrwatch.formats.base.Format`."""

    SAVED: ClassVar[tuple[str, ...]] = (*Linewise.SAVED, "_ranks")

    name: ClassVar[str] = "prefixed"
    # One object may be a configuration with a first epoch in it.
    evidence: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self._axis = EpochAxis()
        self._recent: dict[str, None] = {}
        self._ranks = PrintingRanks()
        self._final = False

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete lines; see `Format.feed`."""
        self._final = final
        return super().feed(data, final=final)

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        count = 0
        for piece in pieces(text):
            ranks: list[int | None] = []
            if self._ranks.known or _MAY_BE_RANKED.search(b"\n" + piece):
                matches = list(_OBJECT.finditer(piece))
                ranks = [rank_of(_prefix(match) + b"{") for match in matches if b"}" in match[0]]
                objects_in = [match[0] for match in matches]
            else:
                objects_in = _OBJECT.findall(piece)
            cut = (line[: line.rfind(b"}") + 1] for line in objects_in)
            lines = [line for line in cut if line]
            if not lines:
                continue
            decoded = objects(b"\n".join(lines) + b"\n", errors)
            if ranks and len(ranks) != len(decoded):  # not all are objects
                one_by_one = [objects(line + b"\n", Counter()) for line in lines]
                ranks = [rank for rank, found_in in zip(ranks, one_by_one, strict=True) for _ in found_in]
            decoded = named_by_mode(piece, decoded)
            if ranks:
                records = list(self._of_ranks(ranks, decoded))
            else:
                records = [one for record in decoded if tells(one := _plain(record)) and self._is_new(one)]
            if records:
                collect(found, "", records, np.arange(count, count + len(records)))
                count += len(records)
        if self._final and (held := self._ranks.finish()):
            collect(found, "", held, np.arange(count, count + len(held)))
            count += len(held)
        return count

    def _of_ranks(self, ranks: Sequence[int | None], records: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield the records that count, in the order in which that is known."""
        for rank, record in zip(ranks, records, strict=True):
            if tells(plain := _plain(record)) and self._is_new(plain):
                yield from [plain] if rank is None else self._ranks.take(rank, dict(_values(plain)))

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


def _prefix(match: re.Match[bytes]) -> bytes:
    """Return what stands before an object in its line."""
    return match.string[match.string.rfind(b"\n", 0, match.start()) + 1 : match.start()]


def _values(record: Mapping[str, Any], prefix: str = "", depth: int = MAX_DEPTH) -> Iterator[tuple[str, float]]:
    """Iterate over the names and numbers of a record, of any nesting."""
    for name, value in record.items():
        if isinstance(value, dict):
            if depth:
                yield from _values(value, f"{prefix}{name}.", depth - 1)
        elif isinstance(value, str):
            if (spelled := number(value)) is not None:
                yield prefix + name, spelled
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, float(value)


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
