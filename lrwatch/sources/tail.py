"""Follow one growing file: its new bytes, and where it was replaced. Nothing that a file system does is an exception here."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.sources.fd_pool import FdPool
from lrwatch.sources.file_identity import Action, FileIdentity
from lrwatch.sources.log_identity import rotated_of

# Bytes of one read: large enough that reading costs little, small enough that memory stays flat. More than the longest
# line of the formats, so that a read always holds a complete line or tells that there is none.
READ_BYTES = 4 << 20
# Directory entries that are searched for a file that was renamed while it was not open.
_MAX_SIBLINGS = 10_000
# NUL bytes in a row from which on they are a hole and not the end of a binary record. A block of a file system is 512 at least.
_HOLE_BYTES = 512
# O_NONBLOCK: opening a pipe by mistake does not wait for its writer.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_BEGINNINGS = frozenset({Action.REPLACED, Action.TRUNCATED, Action.REWRITTEN})
_SAME = frozenset({Action.READ, Action.WAIT})

FD_POOL = FdPool()
"""The open files. One that was evicted is recognised by its content when it is opened again, as after a restart."""


class Chunk(NamedTuple):
    """Result of one read.

    Attributes:
        data: The bytes from the first unconsumed one on.
        reset: The stream started over before `data`: drop what is unfinished. May come without data.
        reason: `truncated`, `rewritten` or `replaced`, with `reset`; else "".
        last: Nothing will follow `data` in this stream, so an unterminated line is complete.
    """

    data: bytes = b""
    reset: bool = False
    reason: str = ""
    last: bool = False


_NOTHING = Chunk()


class Tail:
    """Follow the file called `path`.

    Reading always begins at the first unconsumed byte, so an incomplete line lies in the file and nowhere else::

        chunk = tail.read()
        batch, used = format.feed(chunk.data, final=chunk.last)
        tail.consume(used)

    Unconsumed bytes are presented again once the file has changed. To poll an unchanged file costs one `stat`.

    A renamed or deleted file stays open until another takes its name, and is read to its end before that one. One that was
    renamed while it was not open is searched for in its directory. Where it is known under which name its writer keeps the
    file before (`rotated_of`), that one is read first unless it was read already.

    Args:
        path: The file; it need not exist yet.
        state: What `state` returned before a restart.

    Attributes:
        opens, rotations, truncations: How often a file was opened, was replaced by another, was rewritten in place.
        errors: Number of survived errors, by reason.
        problem: Why nothing can be read at present, a sentence; "" when all is well.
        may_pass: Whether that is an error of the disk, which may be over at the next read.
        lag: Unconsumed bytes in the file at the last read.
        at_end: Whether the last read reached the end of the file.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.opens = self.rotations = self.truncations = self.lag = 0
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self.may_pass = self.at_end = False
        self._name = os.fspath(path)
        # Version of the file that was read to its end last, by which it is known under its later name: see `_unread`.
        self._finished: tuple[int, ...] | None = tuple(state["finished"]) if state and state.get("finished") else None
        self._file: int | None = None
        self._identity = FileIdentity(state["bookmark"] if state else None)
        self._reset: str = state["reset"] if state else ""  # reason of a reset that no chunk reported yet
        self._compared: tuple[int, int] | None = None  # size and time of change when the content was compared
        self._idle: tuple[int, ...] | None = None  # what has the name, when all of it had been read
        self._data = b""
        self._used = 0  # bytes of `_data` that were consumed
        self._reported_end: int | None = None  # where the last bytes of a renamed file ended

    @property
    def offset(self) -> int:
        """Consumed bytes of the present file."""
        return self._identity.offset

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state to continue from the first unconsumed byte after a restart."""
        state: dict[str, Any] = {"bookmark": self._identity.bookmark(), "reset": self._reset}
        return state | {"finished": list(self._finished)} if self._finished else state

    def close(self) -> None:
        """Close the file. The next read opens it again."""
        FD_POOL.drop(self)
        if self._file is not None:
            os.close(self._file)
        self._file, self._compared = None, None

    def consume(self, count: int) -> None:
        """Mark the next `count` bytes of the last read as consumed.

        Raises:
            ValueError: The last read has fewer bytes.
        """
        if not 0 <= count <= len(self._data) - self._used:
            raise ValueError(f"{count} bytes consumed of {len(self._data) - self._used} that were read")
        if count == 0:
            return
        self._identity.advance(self._data, self._used, self._used + count)
        self._used += count
        self.lag -= count
        if self._used == len(self._data):
            self._data, self._used = b"", 0

    def again(self) -> None:
        """Let the next `read` present the unconsumed bytes even if nothing has changed."""
        self._idle = None

    def read(self, limit: int = READ_BYTES) -> Chunk:
        """Read at most `limit` bytes. Never raises an OSError: see `problem` and `errors`."""
        try:
            return self._read(limit)
        except OSError as error:
            self._fail(error)
            return _NOTHING

    def skip(self, count: int) -> None:
        """Move `count` bytes on from the first unconsumed byte, without reading them."""
        self._identity.skip_to(self.offset + count)
        self._data, self._used, self._idle = b"", 0, None
        self.lag -= count

    # ---- the file -------------------------------------------------------------------------------------------------

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data, self._used = b"", 0
        if named is not None and self._idle == _version(named):
            return _NOTHING
        self._idle = None
        if self._file is None:
            if named is None:
                return _NOTHING
            named = self._resume()
        FD_POOL.use(self)
        assert self._file is not None
        assert self._identity.position is not None
        stays = named is not None and (named.st_dev, named.st_ino) == self._identity.position[:2]
        about = named if named is not None and stays else os.fstat(self._file)
        if (action := self._restarted(about)) is not None:
            self.truncations += 1
            self._begin(about, action)
        data = self._bytes(limit, about.st_size)
        last = self.at_end and named is not None and not stays
        if last and (not data or self._reported_end == self.offset + len(data)):
            about = self._switch()
            data, last, named = self._bytes(limit, about.st_size), False, None
        self._reported_end = self.offset + len(data) if last else None
        self._data = data
        if not self._reset and not data and not last:
            chunk = _NOTHING
        else:
            chunk = Chunk(data, bool(self._reset), self._reset, last)
            self._reset = ""
        if named is not None:
            self.problem, self.may_pass = "", False
            if stays and self.at_end:
                self._idle = _version(about)
        return chunk

    def _named(self) -> os.stat_result | None:
        """Return the file that has the name now.

        Raises:
            OSError: It is no regular file, or cannot be read.
        """
        try:
            about = os.stat(self._name)  # noqa: PTH116 - twice as fast as a Path's, and this is most of the cost
        except (FileNotFoundError, NotADirectoryError):
            was = "was deleted or renamed" if self._identity.position is not None else "does not exist yet"
            self.problem = f"{self.path} {was}; it is read as soon as it is there"
            self.may_pass = False
            return None
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.EINVAL, "not a regular file")
        return about

    def _open(self, path: str | os.PathLike[str]) -> int:
        file = os.open(path, _FLAGS)
        if not stat.S_ISREG(os.fstat(file).st_mode):  # changed since its `stat`
            os.close(file)
            raise OSError(errno.EINVAL, "not a regular file")
        return file

    def _resume(self) -> os.stat_result:
        """Open the file, or the renamed one that was followed before, and return the status of what has the name."""
        self._file = self._open(self._name)
        self.opens += 1
        about = os.fstat(self._file)
        if self._identity.position is None:
            self._identity.begin(about)
            self._step_back()
            return about
        action = self._identity.compare(self._file, about)
        if action in _BEGINNINGS and rotated_of(self.path) is not None:
            action = Action.REPLACED  # a file of this writer only grows: the inode is used again
        if action is not Action.REPLACED:
            self._identity.relocate(about)
            if action in _SAME:
                self._compared = (about.st_size, about.st_mtime_ns)
        elif (renamed := self._renamed()) is not None:
            os.close(self._file)
            self._file = renamed
        else:
            self.rotations += 1
            self._begin(about, action)
            self._step_back()
        return about

    def _step_back(self) -> None:
        """Begin with the file before the one that was opened, where there is one that was not read."""
        if (path := self._unread()) is None:
            return
        file = self._open(path)
        assert self._file is not None
        os.close(self._file)
        self._file = file
        self._identity.begin(os.fstat(file))

    def _unread(self) -> Path | None:
        """Return where the writer keeps the file before this one, if that was not read to its end."""
        if (rotated := rotated_of(self.path)) is None:
            return None
        try:
            about = rotated.stat()
        except OSError:  # there is none
            return None
        return rotated if stat.S_ISREG(about.st_mode) and _version(about) != self._finished else None

    def _renamed(self) -> int | None:
        """Return the file that was followed before, open, if it still lies in the same directory."""
        position = self._identity.position
        assert position is not None
        try:
            with os.scandir(self.path.parent) as entries:
                for _, entry in zip(range(_MAX_SIBLINGS), entries, strict=False):
                    # Of a file that was never read only the inode is known, which another file may have by now.
                    likely = position.offset > 0 or entry.name.startswith(self.path.stem)
                    if likely and entry.inode() == position.inode and entry.is_file(follow_symlinks=False):
                        file = self._open(entry.path)
                        if self._identity.compare(file, os.fstat(file)) in _SAME:
                            return file
                        os.close(file)
        except OSError as error:  # the unread rest of the old file is lost, the new one can be read
            self.errors[f"renamed file: {_name(error)}"] += 1
        return None

    def _switch(self) -> os.stat_result:
        """Continue with the next file, mostly the one that has the name now; the old one is read to its end."""
        assert self._file is not None
        if rotated_of(self.path) is not None:
            self._finished = _version(os.fstat(self._file))
        successor = self._open(self._unread() or self._name)
        about = os.fstat(successor)
        self.close()
        self._file = successor
        FD_POOL.use(self)
        self.opens += 1
        self.rotations += 1
        action = self._identity.compare(successor, about)
        if action in _BEGINNINGS:
            self._begin(about, action)
        else:  # a copy with the same content
            self._identity.relocate(about)
        return about

    # ---- its content --------------------------------------------------------------------------------------------

    def _restarted(self, about: os.stat_result) -> Action | None:
        """Return what kind of new beginning the open file had since the last read, if any."""
        self.lag = max(0, about.st_size - self.offset)
        version = (about.st_size, about.st_mtime_ns)
        if self._compared == version:
            return None
        assert self._file is not None
        action = self._identity.compare(self._file, about)
        self._compared = version
        return action if action in _BEGINNINGS else None

    def _begin(self, about: os.stat_result, reason: Action) -> None:
        """Continue from the beginning of the open file."""
        self._reset = reason.value
        self._identity.begin(about)
        self.lag = about.st_size

    def _bytes(self, limit: int, size: int) -> bytes:
        """Return up to `limit` bytes from the offset on, without a hole at the end.

        A long run of NUL bytes is a hole, or a block that a network file system did not fill yet. While nothing follows it,
        reading waits; otherwise it is skipped.

        Raises:
            OSError: The file cannot be read.
        """
        assert self._file is not None
        at = self.offset
        data = os.pread(self._file, max(0, min(limit, size - at)), at)
        self.at_end = at + len(data) >= size
        if not data or data[-1]:
            return data
        whole = data.rstrip(b"\0")
        if len(data) - len(whole) < _HOLE_BYTES or (whole and not self.at_end):
            return data
        if whole:
            return whole
        while not data.strip(b"\0"):
            try:
                at = os.lseek(self._file, at + len(data), os.SEEK_DATA)  # a hole of any size is passed at once
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but NUL bytes up to the end
                    self.at_end = True
                    return b""
                raise
            data = os.pread(self._file, limit, at)
        at += len(data) - len(data.lstrip(b"\0"))
        self.errors["hole of NUL bytes passed over"] += 1
        self._identity.skip_to(at)
        self.lag = max(0, size - at)
        return self._bytes(limit, size)

    def _fail(self, error: OSError) -> None:
        """Report that nothing can be read now; the next read tries from the same offset."""
        self._data, self._used, self._idle = b"", 0, None
        self.errors[_name(error)] += 1
        self.may_pass = error.errno not in (errno.EISDIR, errno.EINVAL, errno.EACCES, errno.EPERM)
        match error.errno:
            case errno.EISDIR:
                self.problem = f"{self.path} is a directory; a log file was expected"
            case errno.EINVAL:
                self.problem = f"{self.path} is not a regular file; a log file was expected"
            case errno.EACCES | errno.EPERM:
                self.problem = f"{self.path} may not be read by this user; change its permissions"
            case _:
                self.problem = f"{self.path} cannot be read ({error.strerror or error}); it is tried again"
        self.close()


def _version(about: os.stat_result) -> tuple[int, ...]:
    """Return what tells whether the file of a name is still the same and unchanged."""
    return (about.st_ino, about.st_size, about.st_mtime_ns, about.st_dev)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")
