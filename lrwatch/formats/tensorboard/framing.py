"""The framing of TensorBoard's event files: bytes into records whose checksums hold.

A record is its length (8 bytes, little-endian), the masked CRC-32C of the length, its data, and the masked CRC-32C of
the data. The end of a file that is being written may be torn, and network file systems show blocks of zeros before they
show the data. So nothing at the end is called damaged while it may still become whole:

=======================================  =========================================================================
at the end of the data                   what happens
=======================================  =========================================================================
an incomplete record                     it waits
a checksum that does not hold            it waits until a valid header follows; then it is skipped and counted once
more than `_MAX_DAMAGED_BYTES` of that   it is given up and counted; the search for the next valid header begins
a record over `MAX_RECORD_BYTES`         it is skipped as it arrives, which bounds memory: it is no scalar
nothing will follow (final)              everything is consumed, what is not a record is counted
=======================================  =========================================================================

The masking is that of TensorFlow's record format; google-crc32c computes the checksums.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import ClassVar, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.sample import Ints

Words = npt.NDArray[np.uint32]
_Checksum = TypeVar("_Checksum", int, Words)

HEADER_BYTES = 12
_LENGTH_BYTES = 8
_FRAME_BYTES = HEADER_BYTES + 4
# Longer records are not parsed: with its frame a record has to fit into one read, and no known event holds a million
# scalars. Images, graphs and large histograms are longer.
MAX_RECORD_BYTES = (1 << 20) - 256
# Protocol buffers end at 2 GiB; a greater length is damage, though its checksum holds.
_MAX_LENGTH = 1 << 31
# A damaged stretch waits for no more than this, which bounds its growth. It is more than the longest record that is
# parsed, and no more than a line may have.
_MAX_DAMAGED_BYTES = 1 << 20
# Offsets that are searched together for a header: few at first, because the next record is mostly near; doubled each
# time.
_FIRST_WINDOW = 512
_LARGEST_WINDOW = 1 << 18
# TensorFlow adds it to a rotated checksum: data that contain their own checksum would have a trivial one otherwise.
_MASK = 0xA282EAD8

DAMAGED = "damaged record"
UNFINISHED = "unfinished record"


class EventFrames(NamedTuple):
    """The records found by one cut.

    Attributes:
        starts: Offset of the data of each valid record, shape (n,), ascending.
        lengths: Bytes of data of each, shape (n,).
        consumed: Number of bytes of the input that need not be presented again.
        passed: Number of records that were too long and were skipped.
        errors: Reason to count, for `Batch.errors`.
    """

    starts: Ints
    lengths: Ints
    consumed: int
    passed: int
    errors: Counter[str]


class _Walk(NamedTuple):
    """The chain of headers from a valid one on.

    Attributes:
        starts, lengths: The complete records.
        end: Offset where the chain stopped.
        gaps: Offsets where damaged stretches begin, each with a valid header behind it.
        passed: Number of records that were too long.
        open: At `end` is a valid header, or the end of a record that is too long.
    """

    starts: list[int]
    lengths: list[int]
    end: int
    gaps: set[int]
    passed: int
    open: bool


@dataclass
class EventFraming(Checkpointed):
    """Cutter of bytes into records.

    Attributes:
        skip: Bytes still to come of a record that is too long.
        lost: The next bytes belong to a damaged stretch that was given up and counted.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("skip", "lost")

    skip: int = 0
    lost: bool = False

    def cut(self, data: bytes, *, final: bool) -> EventFrames:
        """Find the complete records at the beginning of `data`."""
        begin = min(self.skip, len(data))
        self.skip -= begin
        if self.lost:
            found = next_header(data, begin)
            if found is None:
                self.lost = not final
                end = len(data) if final else max(0, len(data) - HEADER_BYTES + 1)
                return EventFrames(_ints([]), _ints([]), end, 0, Counter())
            self.lost, begin = False, found
        walk = self._walk(data, begin)
        starts, lengths = _ints(walk.starts), _ints(walk.lengths)
        good = _holding(data, walk.starts, walk.lengths)
        ends = starts + lengths + 4
        waits_for = walk.end
        if len(good) and not good[-1] and ends[-1] == walk.end and not walk.open:
            waits_for = walk.starts[-1] - HEADER_BYTES
        # A damaged record with a damaged stretch right behind it is one piece of damage.
        damaged_ends = set(ends[~good].tolist()) - ({walk.end} if waits_for < walk.end else set())
        errors = Counter({DAMAGED: len(damaged_ends | walk.gaps)})
        consumed = self._give_up(data, walk, waits_for, errors, final=final)
        return EventFrames(starts[good], lengths[good], consumed, walk.passed, +errors)

    def _walk(self, data: bytes, at: int) -> _Walk:
        """Follow the headers from `at` on, over damaged stretches, to the last one."""
        starts: list[int] = []
        lengths: list[int] = []
        gaps: set[int] = set()
        passed = 0
        is_open = False
        size = len(data)
        while at + HEADER_BYTES <= size:
            length = _length(data[at : at + HEADER_BYTES])
            if length is None:
                found = next_header(data, at + 1)
                if found is None:
                    is_open = False
                    break
                gaps.add(at)
                at = found
                continue
            end = at + length + _FRAME_BYTES
            is_open = True
            if length > MAX_RECORD_BYTES:
                passed += 1
                self.skip = max(0, end - size)
                at = min(end, size)
                continue
            if end > size:
                break
            starts.append(at + HEADER_BYTES)
            lengths.append(length)
            at = end
            is_open = False
        return _Walk(starts, lengths, at, gaps, passed, is_open)

    def _give_up(self, data: bytes, walk: _Walk, waits_for: int, errors: Counter[str], *, final: bool) -> int:
        """Return the bytes to consume: those before `waits_for`, and the damage behind it when its time is over."""
        rest = len(data) - waits_for
        damaged = waits_for < walk.end or not (walk.open or rest < HEADER_BYTES)
        if final:
            if self.skip or rest:
                errors[DAMAGED if damaged else UNFINISHED] += 1
            self.skip = 0
            return len(data)
        if damaged and rest > _MAX_DAMAGED_BYTES:
            errors[DAMAGED] += 1
            self.lost = True
            return len(data) - HEADER_BYTES + 1
        return waits_for


def next_header(data: bytes, at: int) -> int | None:
    """Find the first valid header in `data` from `at` on; None if there is none."""
    window = _FIRST_WINDOW
    while (count := min(window, len(data) - HEADER_BYTES + 1 - at)) > 0:
        part = np.frombuffer(data, np.uint8, count + HEADER_BYTES - 1, at)
        # A length is less than 2**32, so the upper half of its eight bytes is zero.
        zero = (part[4:] == 0).astype(np.uint8)
        likely = np.flatnonzero(zero[:count] & zero[1 : count + 1] & zero[2 : count + 2] & zero[3 : count + 3])
        if len(likely):
            offsets = likely + at
            valid = _words(data, offsets + _LENGTH_BYTES) == _masked(_checksums_of_lengths(_words(data, offsets)))
            valid &= _words(data, offsets) <= _MAX_LENGTH
            if valid.any():
                return int(offsets[valid.argmax()])
        at += count
        window = min(2 * window, _LARGEST_WINDOW)
    return None


@lru_cache(4096)  # one run writes few different lengths
def _length(header: bytes) -> int | None:
    """Return the length of the data behind a header, or None if it is not a header."""
    from google_crc32c import value

    length = int.from_bytes(header[:_LENGTH_BYTES], "little")
    checksum = int.from_bytes(header[_LENGTH_BYTES:], "little")
    return length if length <= _MAX_LENGTH and _masked(value(header[:_LENGTH_BYTES])) == checksum else None


def is_header(head: bytes) -> bool:
    """Return whether `head` begins with a valid header."""
    return len(head) >= HEADER_BYTES and _length(head[:HEADER_BYTES]) is not None


# ---- checksums ------------------------------------------------------------------------------------------------------


def _holding(data: bytes, starts: list[int], lengths: list[int]) -> npt.NDArray[np.bool_]:
    """Return whether the checksum of the data of each record holds, shape (n,)."""
    if not starts:
        return np.empty(0, np.bool_)
    from google_crc32c import value

    ends = [start + length for start, length in zip(starts, lengths, strict=True)]
    checksums = np.array([value(data[start:end]) for start, end in zip(starts, ends, strict=True)], np.uint32)
    holds: npt.NDArray[np.bool_] = _words(data, _ints(ends)) == _masked(checksums)
    return holds


def _masked(checksum: _Checksum) -> _Checksum:
    """Return a checksum, or each of an array of them, as TensorFlow writes it."""
    # An array stays one of uint32.
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & 0xFFFFFFFF  # type: ignore[return-value]


def _checksums_of_lengths(lengths: Words) -> Words:
    """Return the CRC-32C of each length, written as eight bytes.

    A stretch of zeros has a candidate at each offset, so all are computed at once: a CRC is linear, and each of the
    lower four bytes changes that of length 0 by a contribution of its own.
    """
    of_zero, contributions = _contributions()
    checksums = np.full(lengths.shape, of_zero, np.uint32)
    for number, contribution in enumerate(contributions):
        checksums ^= contribution[(lengths >> np.uint32(8 * number)) & 0xFF]
    return checksums


@cache
def _contributions() -> tuple[int, Words]:
    """Return the CRC-32C of eight zero bytes, and what each value of each lower byte changes in it: shape (4, 256)."""
    from google_crc32c import value

    of_zero = value(bytes(_LENGTH_BYTES))
    changes = [
        [value((byte << 8 * number).to_bytes(_LENGTH_BYTES, "little")) ^ of_zero for byte in range(256)]
        for number in range(4)
    ]
    return of_zero, np.array(changes, np.uint32)


def _words(data: bytes, offsets: Ints) -> Words:
    """Return the four bytes (little-endian) at each offset."""
    words: Words = np.ndarray((len(data) - 3,), "V4", data, strides=(1,))[offsets].view("<u4")
    return words


def _ints(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)
