"""Finished compressed logs: gzip, bzip2 and xz, recognised by their first bytes.

They are decompressed piece by piece, so that memory stays bounded whatever they hold. One that breaks off, or is damaged,
gives what precedes the damage; several members behind one another are one log.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeAlias

from lrwatch.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Self

# Decompressed bytes after which a log is given up: eight times the largest known logs. A gzip bomb of some MB
# would otherwise keep a processor busy for days.
MAX_DECOMPRESSED_BYTES = 16 << 30
# Compressed bytes that are read at once.
_PIECE_BYTES = 1 << 16
# Members behind one another that hold nothing: a megabyte has fifty thousand of them, and each costs as much as a line.
_MAX_EMPTY_MEMBERS = 10_000
# Memory that the dictionary of an xz file may take; its strongest preset needs 65 MiB.
_MAX_XZ_MEMORY = 256 << 20

_BROKEN_OFF = "compressed data break off"
_DAMAGED = "compressed data are damaged"
_TOO_LARGE = "decompressed log too large"


class _Decompressor(Protocol):
    """The interface that `bz2` and `lzma` share."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Return at most `max_length` bytes; unused input is kept inside."""

    @property
    def eof(self) -> bool:
        """The end of the member was reached."""

    @property
    def needs_input(self) -> bool:
        """There is no more output without more input."""

    @property
    def unused_data(self) -> bytes:
        """What lies behind the end of the member."""


# With the error that it raises where the data are damaged.
_Member: TypeAlias = "tuple[_Decompressor, type[Exception]]"


class _Gzip:
    """`zlib` with the interface of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        # An output that is as long as it may be can have more behind it, even where no input is left.
        self.needs_input = len(plain) < max_length and not self._inner.unconsumed_tail
        return plain

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


def _gzip() -> _Member:
    return _Gzip(), zlib.error


def _bzip2() -> _Member:
    import bz2

    return bz2.BZ2Decompressor(), OSError


def _xz() -> _Member:
    import lzma

    return lzma.LZMADecompressor(memlimit=_MAX_XZ_MEMORY), lzma.LZMAError


# First bytes, and how the rest is read. bz2 and lzma load where they are needed: not every Python has them.
_KINDS: dict[bytes, Callable[[], _Member]] = {b"\x1f\x8b\x08": _gzip, b"BZh": _bzip2, b"\xfd7zXZ\0": _xz}
_MAGIC_BYTES = max(map(len, _KINDS))


def is_compressed(path: str | os.PathLike[str]) -> bool:
    """Whether the file begins as a compressed one does. False where it cannot be read: reading it says why."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):  # opening a pipe would wait for its writer
            return False
        with Path(path).open("rb") as file:
            return _kind(file.read(_MAGIC_BYTES)) is not None
    except OSError:
        return False


def _kind(head: bytes) -> Callable[[], _Member] | None:
    return next((kind for magic, kind in _KINDS.items() if head.startswith(magic)), None)


def open_log(path: str | os.PathLike[str]) -> Decompressed:
    """Open a log to read its bytes, decompressed where it is compressed.

    Raises:
        OSError: It cannot be opened.
    """
    return Decompressed(Path(path).open("rb"), os.fspath(path))


class Decompressed:
    """The bytes of a file, decompressed where it is compressed.

    Args:
        file: Open at its beginning; it is closed with this.
        where: Its name, for errors.

    Attributes:
        errors: Number of survived errors, by reason: data that break off or are damaged.
        count: Decompressed bytes so far.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file = file
        self._where = where
        self._input = file.read(_PIECE_BYTES)
        self._plain = _kind(self._input) is None
        self._member: _Decompressor | None = None
        self._failure: type[Exception] = zlib.error
        self._ended = False
        self._empty = 0  # members behind one another without a byte
        self.errors: Counter[str] = Counter()
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, size: int) -> bytes:
        """Read `size` bytes, fewer only where the log ends.

        Raises:
            InputError: There are more than MAX_DECOMPRESSED_BYTES, or this Python cannot decompress them.
            OSError: The file cannot be read.
        """
        parts = []
        while size > 0 and (part := self._part(size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    @property
    def about(self) -> os.stat_result:
        """Status of the file at present."""
        return os.fstat(self._file.fileno())

    @property
    def left(self) -> int:
        """Unread bytes of the file."""
        return self.about.st_size - self._file.tell()

    def _part(self, size: int) -> bytes:
        """Between 1 and `size` bytes; none where the log ends."""
        if self._plain:
            part, self._input = self._input[:size], self._input[size:]
            return part or self._file.read(size)
        while not self._ended:
            member = self._member or self._next_member()
            if member is None:
                break
            data = b""
            if member.needs_input:
                data, self._input = self._input or self._file.read(_PIECE_BYTES), b""
                if not data:
                    self._end(_BROKEN_OFF)
                    break
            try:
                part = member.decompress(data, size)
            except self._failure:
                self._end(_DAMAGED)
                break
            if member.eof:
                self._member, self._input = None, member.unused_data
            if part:
                self._empty = 0
                self._count(len(part))
                return part
            self._empty += member.eof
            if self._empty > _MAX_EMPTY_MEMBERS:
                self._end(_DAMAGED)
        return b""

    def _next_member(self) -> _Decompressor | None:
        """Return the decompressor of the next member, or None where the log ends. NUL bytes between members are padding.

        Raises:
            InputError: The module that decompresses it is missing.
        """
        self._input = self._input.lstrip(b"\0")
        while len(self._input) < _MAGIC_BYTES and (more := self._file.read(_PIECE_BYTES)):
            self._input = (self._input + more).lstrip(b"\0")
        kind = _kind(self._input)
        if kind is None:
            self._end(_DAMAGED if self._input else "")
            return None
        try:
            self._member, self._failure = kind()
        except ImportError as error:
            raise InputError(
                expected="a Python that can decompress this log",
                found=str(error),
                where=self._where,
                hint="Decompress it first.",
            ) from None
        return self._member

    def _end(self, reason: str) -> None:
        self._ended = True
        if reason:
            self.errors[reason] += 1

    def _count(self, more: int) -> None:
        self.count += more
        if self.count > MAX_DECOMPRESSED_BYTES:
            self._end(_TOO_LARGE)
            raise InputError(
                expected=f"a log of at most {MAX_DECOMPRESSED_BYTES:,} bytes",
                found="more than that in a compressed file",
                where=self._where,
                hint="Decompress it and give its last part.",
            )
