"""The format `wandb`, offline files of Weights & Biases (`run-*.wandb`): one row for each record of `wandb.log`.

The records are protocol buffers, of which only the history is read: message `HistoryRecord` with items of a key (one,
or
several for a nested one, joined by dots here) and its value as JSON. Text that spells a number is one, so ``"NaN"`` and
``"Infinity"`` are samples as their bare spellings are; tables, pictures and histograms are none.

wandb counts the calls of `log` in `_step`. Trainers that log other things in between have a step of their own
(Lightning `trainer/global_step`, transformers `train/global_step`, many `step`), which places the record. From the
first such record on, `_step` is ignored, because the two count different things: a record without a step of its own is
placed by the last one. Numbers of a batch, which restart with each epoch, are no such step. Other keys that begin with
``_`` are wandb's own, and no metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role, step_rank
from lrwatch.core.sample import Batch
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns, StepAxis
from lrwatch.formats.json.lines import collect, decoded
from lrwatch.formats.wandb.framing import HEADER, WandbFraming

# Fields of wandb_internal.proto: Record.history; HistoryRecord.item and .step; HistoryItem; HistoryStep.num.
_HISTORY = 2
_ITEM, _STEP = 1, 2
_KEY, _NESTED_KEY, _VALUE_JSON = 1, 2, 16
_STEP_NUMBER = 1

# Wire types of protocol buffers, and bytes of those of fixed length. wandb has no groups.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_FIXED = {_FIXED64: 8, _FIXED32: 4}
# Bits of the longest varint, which has ten bytes.
_VARINT_BITS = 70

_OWN_STEP = "_step"
# Steps of a better rank count the run; others may count within an epoch.
_WORST_RANK = step_rank("batch")

_NO_RECORD = "not a record"
_TOO_LONG = "history record too long"
_NO_JSON = "value is not JSON"


class Wandb(Checkpointed):
    """The format `wandb`; see `lrwatch.formats.base.Format`. `Batch.lines` counts records of any kind."""

    SAVED: ClassVar[tuple[str, ...]] = ("_framing", "_axis", "_has_step")

    name: ClassVar[str] = "wandb"
    whole: ClassVar[bool] = False
    binary: ClassVar[bool] = True
    evidence: ClassVar[int] = 1

    def __init__(self) -> None:
        self._framing = WandbFraming()
        self._axis = StepAxis()
        self._has_step = False  # of its own

    @classmethod
    def claims(cls, head: bytes) -> bool:
        """Return whether `head` begins with the header; see `Format.claims`."""
        return head.startswith(HEADER)

    def feed(self, data: bytes, *, final: bool = False) -> tuple[Batch, int]:
        """Read the complete records; see `Format.feed`."""
        cut = self._framing.cut(data, final=final)
        errors = cut.errors
        lines = len(cut.complete) + len(cut.too_long) + errors.total()
        records = [self._placed(items) for record in cut.complete for items in _histories(record, errors)]
        errors[_TOO_LONG] += sum(map(_begins_history, cut.too_long))
        found = Columns()
        if records:
            collect(found, "", records, np.arange(len(records)))
        return self._axis.batch(len(records), found, lines=lines, errors=+errors), cut.consumed

    def _placed(self, record: dict[str, Any]) -> dict[str, Any]:
        """Return the record with one step at the most."""
        self._has_step |= any(
            key != _OWN_STEP and role(key) == "step" and step_rank(key) < _WORST_RANK and _is_number(value)
            for key, value in record.items()
        )
        return {
            key: value
            for key, value in record.items()
            if (not self._has_step if key == _OWN_STEP else role(key) != "step" or step_rank(key) < _WORST_RANK)
        }


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


class _MalformedError(ValueError):
    """The bytes are not a protocol-buffer message."""


def _fields(data: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Iterate over the fields of a message: number, start and end of the content; of a varint number, value and -1.

    Raises:
        _MalformedError: The bytes are not a message.
    """
    while at < end:
        tag, at = _varint(data, at, end)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at, end)
            yield tag >> 3, value, -1
            continue
        if kind == _BYTES:
            size, at = _varint(data, at, end)
        elif kind in _FIXED:
            size = _FIXED[kind]
        else:
            raise _MalformedError
        if at + size > end:
            raise _MalformedError
        yield tag >> 3, at, at + size
        at += size


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, _VARINT_BITS, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _MalformedError


def _histories(record: bytes, errors: Counter[str]) -> list[dict[str, Any]]:
    """Return the items of the history in a record; nothing if it holds something else."""
    try:
        return [
            _items(record, start, end, errors)
            for field, start, end in _fields(record, 0, len(record))
            if field == _HISTORY and end >= 0
        ]
    except _MalformedError:
        errors[_NO_RECORD] += 1
        return []


def _begins_history(beginning: bytes) -> bool:
    """Return whether the beginning of a record that is too long shows that it is a history."""
    try:
        tag, at = _varint(beginning, 0, len(beginning))
        if tag & 7 == _VARINT:  # the number of the record comes first
            _, at = _varint(beginning, at, len(beginning))
            tag, at = _varint(beginning, at, len(beginning))
    except _MalformedError:
        return False
    return tag >> 3 == _HISTORY


def _items(record: bytes, at: int, end: int, errors: Counter[str]) -> dict[str, Any]:
    """Return the items of a history, and its step as the item `_step`."""
    items: dict[str, Any] = {}
    step = 0
    for field, start, stop in _fields(record, at, end):
        if field == _ITEM and stop >= 0:
            name, value = _item(record, start, stop)
            if not name or (name.startswith("_") and name != _OWN_STEP):
                continue
            content = _value(value)
            if content is not None:
                items[name] = content
            elif value != b"null":  # wandb writes it for None
                errors[_NO_JSON] += 1
        elif field == _STEP and stop >= 0:
            for part, count, after in _fields(record, start, stop):
                if part == _STEP_NUMBER and after < 0:
                    step = count
    items.setdefault(_OWN_STEP, step)
    return items


def _item(record: bytes, at: int, end: int) -> tuple[str, bytes]:
    """Return name and JSON of an item."""
    keys: list[bytes] = []
    value = b""
    for field, start, stop in _fields(record, at, end):
        if stop >= 0:
            if field == _VALUE_JSON:
                value = record[start:stop]
            elif field in (_KEY, _NESTED_KEY):
                keys.append(record[start:stop])
    return b".".join(keys).decode("utf-8", "replace"), value


def _value(text: bytes) -> Any:
    """Decode the JSON of an item; an empty object if it is no metric, None if it is no JSON."""
    try:
        return float(text)
    except ValueError:
        content = decoded(text)
    if content is None:
        return number(text.decode("utf-8", "replace"))
    return {} if isinstance(content, dict) and "_type" in content else content
