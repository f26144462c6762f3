"""The framing of Weights & Biases' offline files: bytes into records whose checksums hold.

The file is a log of LevelDB (doc/log_format.md of its sources) behind a header of seven bytes: blocks of 32 KiB with
fragments in them, each its CRC-32, length (2 bytes, little-endian) and kind (whole record, first, middle or last part).
Unlike LevelDB's, the checksum is the usual CRC-32 of zlib over the kind and the data, and is not masked. The end of a
file that is being written may be torn or still be zeros:

==============================================  ==================================================================
what is there                                   what happens
==============================================  ==================================================================
an incomplete fragment or record                it waits
a fragment that does not hold, in the last      it waits; only the bytes up to the end of its block are in doubt
block
the same, with bytes of a further block behind  the rest of its block is skipped and counted once, and with it the
                                                parts of the record in further blocks
a record over `MAX_RECORD_BYTES`                it is skipped as it arrives, which bounds memory
nothing will follow (final)                     everything is consumed, what is not a record is counted
==============================================  ==================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from struct import Struct
from typing import ClassVar, NamedTuple
from zlib import crc32

from lrwatch.core.checkpoint import Checkpointed

HEADER = b":W&B\xe1\xbe\x00"
"""Name, magic number and version."""

_BLOCK_BYTES = 32 << 10
_FRAGMENT = Struct("<IHB")
_WHOLE, _FIRST, _MIDDLE, _LAST = range(1, 5)
# Longer records are pictures, tables and configurations. With its frames a record has to fit into one read.
MAX_RECORD_BYTES = (1 << 20) - 2 * _BLOCK_BYTES

NO_HEADER = "no W&B header"
DAMAGED = "damaged record"
UNFINISHED = "unfinished record"


class WandbRecords(NamedTuple):
    """The records found by one cut.

    Attributes:
        complete: The records.
        too_long: The beginnings of the records that were too long.
        consumed: Number of bytes of the input that need not be presented again.
        errors: Reason to count, for `Batch.errors`.
    """

    complete: list[bytes]
    too_long: list[bytes]
    consumed: int
    errors: Counter[str]


@dataclass
class WandbFraming(Checkpointed):
    """Cutter of bytes into records.

    Attributes:
        offset: Number of bytes of the file that were consumed.
        passing: The next fragments belong to a record that is skipped.
        foreign: The file did not begin with the header.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("offset", "passing", "foreign")

    offset: int = 0
    passing: bool = False
    foreign: bool = False

    def cut(self, data: bytes, *, final: bool) -> WandbRecords:
        """Find the complete records at the beginning of `data`."""
        cut = WandbRecords([], [], 0, Counter())
        if self.offset == 0 and not self.foreign:
            head = data[: len(HEADER)]
            if head != HEADER and (len(head) == len(HEADER) or not HEADER.startswith(head) or (final and head)):
                self.foreign = True
                cut.errors[NO_HEADER] += 1
            elif len(head) < len(HEADER):
                return cut
        consumed = len(data) if self.foreign else self._walk(data, cut)
        if final and consumed < len(data):
            cut.errors[UNFINISHED] += 1
            consumed = len(data)
        self.offset += consumed
        return cut._replace(consumed=consumed)

    def _walk(self, data: bytes, cut: WandbRecords) -> int:
        """Follow the fragments, put the records into `cut`, and return the number of bytes to consume."""
        at = done = 0 if self.offset else len(HEADER)
        parts: list[bytes] = []
        length = 0
        while True:
            left = _BLOCK_BYTES - (self.offset + at) % _BLOCK_BYTES
            if left < _FRAGMENT.size:  # no fragment fits: the rest of the block is empty
                if at + left > len(data):
                    return done
                at += left
                done = done if parts else at
                continue
            begin = at + _FRAGMENT.size
            if begin > len(data):
                return done
            checksum, size, kind = _FRAGMENT.unpack_from(data, at)
            end = begin + size
            fits = _WHOLE <= kind <= _LAST and end <= at + left
            if fits and end > len(data):
                return done
            if not fits or crc32(data[begin - 1 : end]) != checksum:
                if at + left >= len(data):
                    return done
                cut.errors[DAMAGED] += 1
                self.passing = True
                parts, length = [], 0
                at = done = at + left
                continue
            begins = kind in (_WHOLE, _FIRST)
            if (begins and parts) or not (begins or parts or self.passing):
                cut.errors[DAMAGED] += 1
                self.passing = not begins
            if begins:
                self.passing = False
                parts, length, done = [], 0, at
            at = end
            if not self.passing:
                parts.append(data[begin:end])
                length += size
                if length > MAX_RECORD_BYTES:
                    cut.too_long.append(parts[0])
                    self.passing = True
                    parts, length = [], 0
                elif kind in (_WHOLE, _LAST):
                    cut.complete.append(b"".join(parts))
                    parts, length = [], 0
            if kind in (_WHOLE, _LAST):
                self.passing = False
            done = done if parts else at
