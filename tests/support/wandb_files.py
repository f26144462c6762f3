"""A small encoder of the offline files of Weights & Biases, written from their description."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping

HEADER = b":W&B\xe1\xbe\x00"
BLOCK = 32768


def varint(number: int) -> bytes:
    low = bytearray()
    while number > 0x7F:
        low.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*low, number])


def field(number: int, content: bytes | int) -> bytes:
    """Encode a field of a message: a varint, or bytes."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def history(items: Mapping[str, str], *, nested: bool = True, step: int | None = None) -> bytes:
    """Encode a record of a history: keys, nested ones with dots, and their values as JSON."""
    content = b""
    for key, value in items.items():
        names = b"".join(field(2, part.encode()) for part in key.split(".")) if nested else field(1, key.encode())
        content += field(1, names + field(16, value.encode()))
    if step is not None:
        content += field(2, field(1, step))
    return field(1, 7) + field(2, content)


def framed(records: list[bytes], data: bytes = HEADER) -> bytes:
    """Append framed `records` to a file that begins with `data`."""
    for record in records:
        begun = False
        while True:
            left = BLOCK - len(data) % BLOCK
            if left < 7:
                data += bytes(left)
                left = BLOCK
            part, record = record[: left - 7], record[left - 7 :]
            kind = (3 if record else 4) if begun else (2 if record else 1)
            data += struct.pack("<IHB", zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            begun = True
            if not record:
                break
    return data
