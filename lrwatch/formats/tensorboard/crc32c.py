"""CRC-32C of many stretches of a buffer at once: the checksum of the records in TensorBoard's event files.

A CRC is linear over GF(2): the register after a stretch is the exclusive or of what each of its bytes contributes, and a
byte's contribution depends on nothing but its value and how many bytes follow. So the stretches are cut into blocks of
equal size, aligned at their ends, and numpy works on one byte position of all blocks at a time. The register of a block
is then moved on by the bytes that follow the block, by powers of two, and the blocks of a stretch are added up.

Polynomial and bit order: RFC 3720, appendix B.4 (Castagnoli, reflected). Masking: TensorFlow's record format.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Ints

Registers = npt.NDArray[np.uint32]
Bytes = npt.NDArray[np.uint8]

_POLYNOMIAL = 0x82F63B78
_ALL_ONES = 0xFFFFFFFF
# Added to a rotated checksum, so that data that hold their own checksum do not have a trivial one.
_MASK = 0xA282EAD8
# Bytes of a block. Shorter ones need more moving, longer ones more padding; a scalar event has some 50 bytes.
_BLOCK = 16
# Stretches that are worked on together: their blocks stay in cache.
_AT_ONCE = 4096


def _contributions() -> Registers:
    """Register (from 0) after a byte and then zeros: shape (_BLOCK zeros, 256 values of the byte)."""
    register = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        register = np.where(register & 1, (register >> 1) ^ np.uint32(_POLYNOMIAL), register >> 1)
    tables = [register]
    for _ in range(_BLOCK - 1):
        tables.append(tables[0][tables[-1] & 0xFF] ^ (tables[-1] >> 8))
    return np.array(tables, np.uint32)


_TABLES = _contributions()
_BYTE: list[int] = _TABLES[0].tolist()
# Bytes to keep in a first block of which so many bytes lie before its stretch.
_KEPT = np.where(np.arange(_BLOCK) < np.arange(_BLOCK)[:, None], 0, 0xFF).astype(np.uint8)


def _initial_bytes() -> Bytes:
    """The four bytes that take the register from 0 to all ones, where a CRC-32C begins."""
    by_top = {entry >> 24: number for number, entry in enumerate(_BYTE)}
    register = _ALL_ONES
    for _ in range(4):
        number = by_top[register >> 24]
        register = ((register ^ _BYTE[number]) << 8 & _ALL_ONES) | number
    return np.frombuffer(register.to_bytes(4, "little"), np.uint8)


_INITIAL = _initial_bytes()


@cache  # one entry for each power of two
def _moving(power: int) -> Registers:
    """Register after ``_BLOCK * 2**power`` zeros, by the four bytes of the one before: shape (4, 256)."""
    if power == 0:
        return _TABLES[_BLOCK - 1 : _BLOCK - 5 : -1]
    half = _moving(power - 1)
    return np.array([_moved(row, half) for row in half], np.uint32)


def _moved(registers: Registers, tables: Registers) -> Registers:
    moved: Registers = tables[0][registers & 0xFF]
    for number in (1, 2, 3):
        moved ^= tables[number][(registers >> np.uint32(8 * number)) & 0xFF]
    return moved


def crc32c(data: bytes) -> int:
    """CRC-32C of `data`. For a few bytes; see `crc32c_many`.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    register = _ALL_ONES
    for byte in data:
        register = _BYTE[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ _ALL_ONES


def masked(checksum: int) -> int:
    """A checksum as it is written into a record."""
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & _ALL_ONES


def masked_many(checksums: Registers) -> Registers:
    """`masked` of each."""
    rotated: Registers = (checksums >> np.uint32(15)) | (checksums << np.uint32(17))
    rotated += np.uint32(_MASK)
    return rotated


def crc32c_lengths(lengths: Registers) -> Registers:
    r"""CRC-32C of each number, written as the eight bytes (little-endian) of a record's length.

    >>> numbers = np.array([0, 7], np.uint32)
    >>> crc32c_lengths(numbers).tolist() == [crc32c(bytes(8)), crc32c(b"\x07" + bytes(7))]
    True
    """
    # The first four bytes meet the initial register, the others are zero.
    return np.invert(_moved(np.invert(lengths), _TABLES[7:3:-1]))


def crc32c_many(data: bytes, starts: Ints, lengths: Ints) -> Registers:
    """CRC-32C of stretches of `data`.

    Args:
        data: The buffer.
        starts: Offset of each stretch, shape (n,), ascending. The four bytes before a stretch belong to no other one.
        lengths: Bytes of each stretch, shape (n,), 0 or more.

    Returns:
        The checksums, shape (n,).
    """
    # Room in front, so that a first block and the initial bytes lie inside; in them the register begins.
    buffer = np.zeros(_BLOCK + 4 + len(data), np.uint8)
    buffer[_BLOCK + 4 :] = np.frombuffer(data, np.uint8)
    first = starts + _BLOCK
    for number, byte in enumerate(_INITIAL):
        buffer[first + number] = byte
    blocks = np.ndarray((len(buffer) - _BLOCK + 1,), f"V{_BLOCK}", buffer, strides=(1,))
    checksums = np.empty(len(starts), np.uint32)
    for begin in range(0, len(starts), _AT_ONCE):
        chosen = slice(begin, begin + _AT_ONCE)
        checksums[chosen] = _registers(blocks, first[chosen], lengths[chosen] + 4)
    return np.invert(checksums)


def _registers(blocks: npt.NDArray[np.void], starts: Ints, lengths: Ints) -> Registers:
    """Register, from 0, after each stretch. `blocks`: the block at each offset of the buffer, shape (offsets,)."""
    counts = -(-lengths // _BLOCK)
    ends = np.cumsum(counts)
    firsts = ends - counts
    following = np.repeat(ends, counts) - 1 - np.arange(ends[-1])
    content = blocks[np.repeat(starts + lengths - _BLOCK, counts) - following * _BLOCK]
    rows = content.view(np.uint8).reshape(-1, _BLOCK)
    rows[firsts] &= _KEPT[counts * _BLOCK - lengths]
    columns = np.ascontiguousarray(rows.T)
    registers = _TABLES[0][columns[-1]]
    for number in range(1, _BLOCK):
        registers ^= _TABLES[number][columns[-1 - number]]
    for power in range(int(counts.max() - 1).bit_length()):
        chosen = np.flatnonzero(following >> power & 1)
        registers[chosen] = _moved(registers[chosen], _moving(power))
    summed: Registers = np.bitwise_xor.reduceat(registers, firsts)
    return summed
