"""An encoder of TensorBoard event files: records, and a small log with every kind of them."""

from __future__ import annotations

import struct


def masked_crc32c(data: bytes) -> int:
    """Compute the masked checksum of a record, bit by bit."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = (register >> 1) ^ (0x82F63B78 if register & 1 else 0)
    checksum = register ^ 0xFFFFFFFF
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def header(length: int) -> bytes:
    """Encode the length of a record and its checksum, which precede the data."""
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc32c(packed))


def record(data: bytes) -> bytes:
    """Frame a record."""
    return header(len(data)) + data + struct.pack("<I", masked_crc32c(data))


def varint(number: int) -> bytes:
    """Encode a number as a varint; a negative one as 64 bits."""
    number &= 0xFFFFFFFFFFFFFFFF
    packed = bytearray()
    while number > 0x7F:
        packed.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*packed, number])


def field(number: int, content: bytes) -> bytes:
    """Encode a field that holds bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def scalar(tag: str, value: float) -> bytes:
    """Encode a value as TensorFlow 1 and PyTorch do."""
    return field(1, field(1, tag.encode()) + b"\x15" + struct.pack("<f", value))


def tensor(tag: str, content: bytes, plugin: str = "") -> bytes:
    """Encode a value that is a tensor, given as the bytes of a TensorProto."""
    metadata = field(9, field(1, field(1, plugin.encode()))) if plugin else b""
    return field(1, field(1, tag.encode()) + field(8, content) + metadata)


def event(step: int, *values: bytes, time: float = 1.7e9) -> bytes:
    """Encode the record of an event."""
    place = b"\x10" + varint(step) if step else b""
    return record(b"\x09" + struct.pack("<d", time) + place + field(5, b"".join(values)))


VERSION = record(b"\x09" + struct.pack("<d", 1.7e9) + field(3, b"brain.Event:2"))

TFEVENTS = (
    VERSION
    + event(1, scalar("loss", 2.5), scalar("lr", 0.5))
    + event(2, scalar("loss", float("nan")))
    + event(3, tensor("loss", b"\x08\x01" + field(4, struct.pack("<f", 2.25)), "scalars"))
    + event(200, tensor("histogram", b"\x08\x02" + field(2, field(2, b"\x08\x03")) + field(4, bytes(24)), "histograms"))
    + event(201, scalar("loss", 2.0), scalar("loss", 2.125))
    + event(202, scalar("loss", 1.0))[:-1] + b"\xff"  # damaged
    + bytes(40)
    + event(203, scalar("loss", float("-inf")), scalar("val/loss", 1.75))
    + record(b"not an event")
    + event(204, scalar("loss", 1.5), scalar("val/loss", 1.625))
    + event(205, scalar("loss", 1.25))[:-9]  # torn
)  # fmt: skip
"""A small log with scalars of both kinds, something that is none, damage, a hole, and a torn end."""
