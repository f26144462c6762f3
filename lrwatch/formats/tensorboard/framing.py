"""The framing of TensorBoard's event files: bytes into records whose checksums hold.

A record is its length (8 bytes, little-endian), the masked CRC-32C of those, its data, and the masked CRC-32C of the data.
The end of a file that is being written may be torn, and network file systems show blocks of zeros before they show the
data. So nothing at the end is called damaged while it may still become whole:

=======================================  =========================================================================
at the end of what there is              what happens
=======================================  =========================================================================
a record that is not complete            it is waited for
a checksum that does not hold            waited for, until a valid header follows: then passed over and counted once
more than `_MAX_DAMAGED_BYTES` of that   given up and counted; the next valid header is looked for
a record over `MAX_RECORD_BYTES`         passed over as it comes, so that memory stays bounded: it is no scalar
nothing will follow (final)              all is consumed, what is not a record is counted
=======================================  =========================================================================
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Ints
from lrwatch.formats.tensorboard.crc32c import crc32c, crc32c_lengths, crc32c_many, masked, masked_many

HEADER_BYTES = 12
_FRAME_BYTES = HEADER_BYTES + 4
# Longer records are not looked into: with its frame one has to fit into a read, and an event of a million scalars is not
# known. Images, graphs and large histograms are longer.
MAX_RECORD_BYTES = (1 << 20) - 256
# Protocol buffers end at 2 GiB; a length above that is damage, though its checksum holds.
_MAX_LENGTH = 1 << 31
# Waited for at most, so that a damaged stretch does not grow without bound. More than the longest record that is looked
# into, and no more than a line may have.
_MAX_DAMAGED_BYTES = 1 << 20
# Offsets that are tried together for a header: few at first, because the next record is mostly near; doubled each time.
_FIRST_WINDOW = 512
_LARGEST_WINDOW = 1 << 18

DAMAGED = "damaged record"
UNFINISHED = "unfinished record"


class Frames(NamedTuple):
    """What one cut gave.

    Attributes:
        starts: Offset of the data of each valid record, shape (n,), ascending.
        lengths: Bytes of data of each, shape (n,).
        consumed: How many bytes of the input are done with.
        passed: Records that were too long and were passed over.
        errors: Reason to count, for `Batch.errors`.
    """

    starts: Ints
    lengths: Ints
    consumed: int
    passed: int
    errors: Counter[str]


class _Walk(NamedTuple):
    """Headers from a valid one on.

    Attributes:
        starts, lengths: The complete records.
        end: Where it stopped.
        gaps: Offsets where damaged stretches begin, each with a valid header behind it.
        passed: Records that were too long.
        open: At `end` is a valid header, or the end of a record that is too long.
    """

    starts: list[int]
    lengths: list[int]
    end: int
    gaps: set[int]
    passed: int
    open: bool


@dataclass(slots=True)
class Framing:
    """Cuts bytes into records. Its attributes are state that must survive a restart.

    Attributes:
        skip: Bytes that are still to come of a record that is too long.
        lost: The bytes that come next belong to a damaged stretch that was given up and counted.
    """

    skip: int = 0
    lost: bool = False

    def cut(self, data: bytes, *, final: bool) -> Frames:
        """The complete records at the beginning of `data`."""
        begin = min(self.skip, len(data))
        self.skip -= begin
        if self.lost:
            found = next_header(data, begin)
            if found is None:
                self.lost = not final
                end = len(data) if final else max(0, len(data) - HEADER_BYTES + 1)
                return Frames(_ints([]), _ints([]), end, 0, Counter())
            self.lost, begin = False, found
        walk = self._walk(data, begin)
        starts, lengths = _ints(walk.starts), _ints(walk.lengths)
        good = _holding(data, starts, lengths)
        ends = starts + lengths + 4
        waits_for = walk.end
        if len(good) and not good[-1] and ends[-1] == walk.end and not walk.open:
            waits_for = walk.starts[-1] - HEADER_BYTES
        # A damaged record with a damaged stretch right behind it is one piece of damage.
        damaged_ends = set(ends[~good].tolist()) - ({walk.end} if waits_for < walk.end else set())
        errors = Counter({DAMAGED: len(damaged_ends | walk.gaps)})
        consumed = self._give_up(data, walk, waits_for, errors, final=final)
        return Frames(starts[good], lengths[good], consumed, walk.passed, +errors)

    def _walk(self, data: bytes, at: int) -> _Walk:
        """Go from header to header, over damaged stretches, as far as there are headers."""
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
        """Bytes to consume: up to what is waited for, and more when it is not waited for any longer."""
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
    """Offset of the first valid header in `data` from `at` on."""
    window = _FIRST_WINDOW
    while (count := min(window, len(data) - HEADER_BYTES + 1 - at)) > 0:
        part = np.frombuffer(data, np.uint8, count + HEADER_BYTES - 1, at)
        # A length is less than 2**32, so the upper half of its eight bytes is zero.
        zero = (part[4:] == 0).astype(np.uint8)
        likely = np.flatnonzero(zero[:count] & zero[1 : count + 1] & zero[2 : count + 2] & zero[3 : count + 3])
        if len(likely):
            offsets = likely + at
            valid = _words(data, offsets + 8) == masked_many(crc32c_lengths(_words(data, offsets)))
            valid &= _words(data, offsets) <= _MAX_LENGTH
            if valid.any():
                return int(offsets[valid.argmax()])
        at += count
        window = min(2 * window, _LARGEST_WINDOW)
    return None


@lru_cache(4096)  # the lengths that one run writes are few
def _length(header: bytes) -> int | None:
    """Length of the data behind a header, or None where it is not a header."""
    length = int.from_bytes(header[:8], "little")
    if length > _MAX_LENGTH or masked(crc32c(header[:8])) != int.from_bytes(header[8:], "little"):
        return None
    return length


def is_header(head: bytes) -> bool:
    """Whether `head` begins with a valid header."""
    return len(head) >= HEADER_BYTES and _length(head[:HEADER_BYTES]) is not None


def _holding(data: bytes, starts: Ints, lengths: Ints) -> npt.NDArray[np.bool_]:
    """Whether the checksum of the data of each record holds, shape (n,)."""
    if not len(starts):
        return np.empty(0, np.bool_)
    holds: npt.NDArray[np.bool_] = _words(data, starts + lengths) == masked_many(crc32c_many(data, starts, lengths))
    return holds


def _words(data: bytes, offsets: Ints) -> npt.NDArray[np.uint32]:
    """The four bytes (little-endian) at each offset."""
    words: npt.NDArray[np.uint32] = np.ndarray((len(data) - 3,), "V4", data, strides=(1,))[offsets].view("<u4")
    return words


def _ints(numbers: list[int]) -> Ints:
    return np.array(numbers, np.int64)
