"""One event of TensorBoard in protocol-buffer wire format: its step and its scalars.

The parser knows the messages Event, Summary, Summary.Value, SummaryMetadata, TensorProto and TensorShapeProto of
TensorFlow, as far as scalars need them. It skips unknown fields and groups. A scalar is a `simple_value`, or a tensor
of one number whose plugin is `scalars` or not named; histograms, images and text have none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lrwatch.formats.base import UNNAMED

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
# Bytes of the longest varint: 64 bits, seven per byte.
_LONGEST_VARINT = 10
_FIXED = {_FIXED32: "<f", _FIXED64: "<d"}

# Number of a tensor's type -> struct code of its content, and the number of the typed field that may hold it instead.
_TYPES = {
    1: ("<f", 5), 2: ("<d", 6), 3: ("<i", 7), 4: ("<B", 7), 5: ("<h", 7), 6: ("<b", 7), 9: ("<q", 10), 10: ("<?", 11),
    14: ("bfloat16", 13), 17: ("<H", 7), 19: ("<e", 13), 22: ("<I", 16), 23: ("<Q", 17),
}  # fmt: skip
_SIGNED = frozenset({3, 5, 6, 9})
_HALF_FIELD = 13


class MalformedError(ValueError):
    """The bytes are not a protocol-buffer message."""


class Scalar(NamedTuple):
    """A scalar of an event.

    Attributes:
        tag: Its name.
        value: Its value.
        at: Offset of the bytes that hold the value and nothing else, or -1 if there are no such bytes.
        code: Format of these bytes for `struct`.
    """

    tag: str
    value: float
    at: int = -1
    code: str = ""


class Event(NamedTuple):
    """The parsed content of an event.

    Attributes:
        step: Its step; may be negative.
        scalars: In the order of the record. Of several values of one tag the last one counts.
        step_at: Offset of the bytes of the step and of the byte after them; equal if there is no step, which means 0.
        wall_at: Offset of the eight bytes of the time, or -1.
    """

    step: int
    scalars: list[Scalar]
    step_at: tuple[int, int] = (0, 0)
    wall_at: int = -1


class _Field(NamedTuple):
    number: int
    wire: int
    start: int
    end: int


def parse(record: bytes) -> Event:
    """Parse the data of a record.

    Raises:
        MalformedError: The data are not a protocol-buffer message.
    """
    step, step_at, wall_at = 0, (0, 0), -1
    scalars: list[Scalar] = []
    for number, wire, start, end in _fields(record, 0, len(record)):
        if number == 1 and wire == _FIXED64:
            wall_at = start
        elif number == 2 and wire == _VARINT:
            step, step_at = _signed(_varint(record, start)), (start, end)
        elif number == 5 and wire == _BYTES:
            for part in _fields(record, start, end):
                if part.number == 1 and part.wire == _BYTES:
                    found = _value(record, part.start, part.end)
                    if found is not None:
                        scalars.append(found)
    return Event(step, scalars, step_at, wall_at)


def _value(record: bytes, start: int, end: int) -> Scalar | None:
    """Return the scalar in a Summary.Value, or None if it holds something else."""
    tag, plugin = b"", b""
    content: _Field | None = None
    for part in _fields(record, start, end):
        if part.number == 1 and part.wire == _BYTES:
            tag = record[part.start : part.end]
        elif 2 <= part.number <= 6 or part.number == 8:  # one of the kinds of values: the last one is it
            content = part
        elif part.number == 9 and part.wire == _BYTES:
            plugin = _plugin(record, part.start, part.end)
    name = tag.decode("utf-8", "replace") or UNNAMED
    match content:
        case (2, wire, at, _) if wire == _FIXED32:
            return Scalar(name, _number(record, at, "<f"), at, "<f")
        case (8, wire, at, after) if wire == _BYTES and plugin in (b"", b"scalars"):
            return _tensor(name, record, at, after)
    return None


def _plugin(record: bytes, start: int, end: int) -> bytes:
    """Return the name of the plugin in a SummaryMetadata."""
    name = b""
    for data in _fields(record, start, end):
        if data.number == 1 and data.wire == _BYTES:
            for part in _fields(record, data.start, data.end):
                if part.number == 1 and part.wire == _BYTES:
                    name = record[part.start : part.end]
    return name


def _tensor(name: str, record: bytes, start: int, end: int) -> Scalar | None:
    """Return the number in a TensorProto, or None unless it holds one number."""
    kind, elements = 0, 1
    content: _Field | None = None
    listed: list[_Field] = []
    for part in _fields(record, start, end):
        if part.number == 1 and part.wire == _VARINT:
            kind = _varint(record, part.start)
        elif part.number == 2 and part.wire == _BYTES:
            elements = _elements(record, part.start, part.end)
        elif part.number == 4 and part.wire == _BYTES:
            content = part
        elif part.number >= 5 and part.start < part.end:
            listed.append(part)
    if kind not in _TYPES or elements != 1:
        return None
    code, field = _TYPES[kind]
    if content is not None and content.start < content.end:
        size = 2 if code == "bfloat16" else struct.calcsize(code)
        return _fixed(name, record, content.start, code) if content.end - content.start == size else None
    listed = [part for part in listed if part.number == field]
    if not listed:
        return Scalar(name, 0.0)  # zeros at the end are left out when a tensor is packed
    return _listed(name, record, listed[0], kind) if len(listed) == 1 else None


def _listed(name: str, record: bytes, part: _Field, kind: int) -> Scalar | None:
    """Return the number in a typed field of a TensorProto, packed (as bytes) or not; None unless it is one number."""
    code, field = _TYPES[kind]
    if code in _FIXED.values():
        size = struct.calcsize(code)
        fits = _FIXED.get(part.wire) == code or (part.wire == _BYTES and part.end - part.start == size)
        return _fixed(name, record, part.start, code) if fits else None
    if part.wire not in (_VARINT, _BYTES) or _after_varint(record, part.start, part.end) != part.end:
        return None
    number = _varint(record, part.start)
    if field == _HALF_FIELD:
        return Scalar(name, _number((number & 0xFFFF).to_bytes(2, "little"), 0, code))
    return Scalar(name, float(_signed(number) if kind in _SIGNED else number))


def _elements(record: bytes, start: int, end: int) -> int:
    """Return the number of elements by a TensorShapeProto; negative or 0 if it is unknown."""
    elements = 1
    for dimension in _fields(record, start, end):
        if dimension.number == 2 and dimension.wire == _BYTES:
            size = 0
            for part in _fields(record, dimension.start, dimension.end):
                if part.number == 1 and part.wire == _VARINT:
                    size = _signed(_varint(record, part.start))
            elements *= size
        elif dimension.number == 3 and dimension.wire == _VARINT and _varint(record, dimension.start):
            return 0
        if elements not in (0, 1):
            return 0  # the product of hostile sizes has any number of digits
    return elements


def _fixed(name: str, record: bytes, at: int, code: str) -> Scalar:
    value = _number(record, at, code)
    return Scalar(name, value) if code == "bfloat16" else Scalar(name, value, at, code)


def _number(data: bytes, at: int, code: str) -> float:
    if code == "bfloat16":  # the upper half of a float32
        data, at, code = b"\0\0" + data[at : at + 2], 0, "<f"
    return float(struct.unpack_from(code, data, at)[0])


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


def _varint(record: bytes, at: int) -> int:
    """Return the lower 64 bits of the varint at `at`, which has been checked to end."""
    number = record[at]
    if number < 0x80:
        return number
    number &= 0x7F
    shift = 7
    while True:
        at += 1
        byte = record[at]
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFFFFFFFFFFFFFF
        shift += 7


def _after_varint(record: bytes, at: int, end: int) -> int:
    """Return the offset behind the varint at `at`.

    Raises:
        MalformedError: The varint has no end.
    """
    for behind in range(at + 1, min(end, at + _LONGEST_VARINT) + 1):
        if record[behind - 1] < 0x80:
            return behind
    raise MalformedError("a varint without end")


def _fields(record: bytes, at: int, end: int) -> Iterator[_Field]:
    """Iterate over the fields of a message between two offsets, without those in groups.

    Raises:
        MalformedError: The bytes are no message.
    """
    depth = 0
    while at < end:
        start = _after_varint(record, at, end)
        key = _varint(record, at)
        wire = key & 7
        if wire == _VARINT:
            at = _after_varint(record, start, end)
        elif wire == _BYTES:
            begin = _after_varint(record, start, end)
            at = begin + _varint(record, start)
            start = begin
        elif wire == _FIXED32:
            at = start + 4
        elif wire == _FIXED64:
            at = start + 8
        elif wire in (_GROUP, _END_GROUP):
            depth += 1 if wire == _GROUP else -1
            at = start
        else:
            raise MalformedError(f"wire type {wire}")
        if at > end or depth < 0 or key < 8:
            raise MalformedError("a field that does not end where its message does")
        if depth == 0 and wire != _END_GROUP:
            yield _Field(key >> 3, wire, start, at)
    if depth:
        raise MalformedError("a group without end")
