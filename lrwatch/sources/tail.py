"""Follows one file: bytes, and where they begin anew. Nothing that a file system does is an exception here."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.sources.fd_pool import OpenFiles
from lrwatch.sources.file_identity import Action, FileIdentity

# Bytes of one read: large enough that reading costs little, small enough that memory stays flat. More than the longest
# line of the formats, so that a read always holds a complete line or tells that there is none.
READ_BYTES = 4 << 20
# Directory entries that are looked through for a file that was renamed while nobody followed it.
_MAX_SIBLINGS = 10_000
# NUL bytes in a row from which on they are a hole and not the end of a binary record. A block of a file system is 512 at least.
_HOLE_BYTES = 512
# O_NONBLOCK: opening a pipe by mistake does not wait for its writer.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_BEGINNINGS = frozenset({Action.REPLACED, Action.TRUNCATED, Action.REWRITTEN})
_SAME = frozenset({Action.READ, Action.WAIT})

OPEN_FILES = OpenFiles()
"""The files that are open. One that was closed because of others is known again by its content, as after a restart."""


class Chunk(NamedTuple):
    """What was read.

    Attributes:
        data: The bytes from the first one on that was not consumed.
        anew: The stream began anew before `data`: forget what is unfinished. May come without data.
        why: `truncated`, `rewritten` or `replaced`, with `anew`; else "".
        last: Nothing will follow `data` in this stream, so an unterminated line is complete.
    """

    data: bytes = b""
    anew: bool = False
    why: str = ""
    last: bool = False


_NOTHING = Chunk()


class Tail:
    """Follows the file called `path`.

    Reading always begins at the first byte that was not consumed, so what the reader has not understood yet (half a
    line) lies in the file and nowhere else::

        chunk = tail.read()
        batch, used = format.feed(chunk.data, final=chunk.last)
        tail.consume(used)

    What was not consumed is presented again once the file has changed. To look at a file that has not costs one `stat`.

    A renamed or deleted file stays open until another takes its name, and is read to its end before that one. One that was
    renamed while it was not open is looked for in its directory.

    Args:
        path: The file; it need not exist yet.
        state: What `state` gave in an earlier life.

    Attributes:
        opens, rotations, truncations: How often a file was opened, another took its name, it began anew in place.
        errors: What was survived, by reason.
        problem: Why nothing can be read at present, as a sentence for people; "" when all is well.
        lag: Bytes that lie in the file and were not consumed, at the last look.
        at_end: Whether what was read last reaches to the end of the file.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.opens = self.rotations = self.truncations = self.lag = 0
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self.at_end = False
        self._name = os.fspath(path)
        self._file: int | None = None
        self._known = FileIdentity(state["mark"] if state else None)
        # Begun anew, and not told yet: why.
        self._anew: str = state["anew"] if state else ""
        self._seen: tuple[int, int] | None = None  # size and time of change when the content was compared
        self._quiet: tuple[int, ...] | None = None  # what has the name, when all of it had been read
        self._data = b""
        self._used = 0  # bytes of `_data` that were consumed
        self._told_last: int | None = None  # where the last bytes of a file that was renamed ended

    @property
    def offset(self) -> int:
        """Bytes of the present file that were consumed."""
        return self._known.offset

    def state(self) -> dict[str, Any]:
        """JSON-plain: how to go on from the first byte that was not consumed, in another life."""
        return {"mark": self._known.mark(), "anew": self._anew}

    def close(self) -> None:
        """Let the file go. Reading again opens it again."""
        OPEN_FILES.drop(self)
        if self._file is not None:
            os.close(self._file)
        self._file, self._seen = None, None

    def consume(self, count: int) -> None:
        """The next `count` bytes of what was read last are understood."""
        if not 0 <= count <= len(self._data) - self._used:
            raise ValueError(f"{count} bytes consumed of {len(self._data) - self._used} that were read")
        if count == 0:
            return
        self._known.advance(self._data, self._used, self._used + count)
        self._used += count
        self.lag -= count
        if self._used == len(self._data):
            self._data, self._used = b"", 0

    def again(self) -> None:
        """Let the next `read` present what was not consumed even if nothing has changed."""
        self._quiet = None

    def read(self, limit: int = READ_BYTES) -> Chunk:
        """Look at the file and read at most `limit` bytes. Never raises an OSError: see `problem` and `errors`."""
        try:
            return self._read(limit)
        except OSError as error:
            self._fail(error)
            return _NOTHING

    # ---- the file -------------------------------------------------------------------------------------------------

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        self._data, self._used = b"", 0
        if named is not None and self._quiet == _spot(named):
            return _NOTHING
        self._quiet = None
        if self._file is None:
            if named is None:
                return _NOTHING
            named = self._resume()
        OPEN_FILES.use(self)
        assert self._file is not None
        assert self._known.place is not None
        stays = named is not None and (named.st_dev, named.st_ino) == self._known.place[:2]
        about = named if named is not None and stays else os.fstat(self._file)
        if (begun := self._look(about)) is not None:
            self.truncations += 1
            self._begin(about, begun)
        data = self._bytes(limit, about.st_size)
        last = self.at_end and named is not None and not stays
        if last and (not data or self._told_last == self.offset + len(data)):
            about = self._switch()
            data, last, named = self._bytes(limit, about.st_size), False, None
        self._told_last = self.offset + len(data) if last else None
        self._data = data
        if not self._anew and not data and not last:
            chunk = _NOTHING
        else:
            chunk = Chunk(data, bool(self._anew), self._anew, last)
            self._anew = ""
        if named is not None:
            self.problem = ""
            if stays and self.at_end:
                self._quiet = _spot(about)
        return chunk

    def _named(self) -> os.stat_result | None:
        """The file that has the name now."""
        try:
            about = os.stat(self._name)  # noqa: PTH116 - twice as fast as a Path's, and this is most of the cost
        except (FileNotFoundError, NotADirectoryError):
            was = "was deleted or renamed" if self._known.place is not None else "does not exist yet"
            self.problem = f"{self.path} {was}; it is read as soon as it is there"
            return None
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.EINVAL, "not a regular file")
        return about

    def _open(self, path: str | os.PathLike[str]) -> int:
        file = os.open(path, _FLAGS)
        if not stat.S_ISREG(os.fstat(file).st_mode):  # changed since it was looked at
            os.close(file)
            raise OSError(errno.EINVAL, "not a regular file")
        return file

    def _resume(self) -> os.stat_result:
        """Open the file, or what became of the one that was followed before. -> what has the name."""
        self._file = self._open(self._name)
        self.opens += 1
        about = os.fstat(self._file)
        if self._known.place is None:
            self._known.begin(about)
            return about
        action = self._known.happened(self._file, about)
        if action is not Action.REPLACED:
            self._known.moved(about)
            if action in _SAME:
                self._seen = (about.st_size, about.st_mtime_ns)
        elif (renamed := self._renamed()) is not None:
            os.close(self._file)
            self._file = renamed
        else:
            self.rotations += 1
            self._begin(about, action)
        return about

    def _renamed(self) -> int | None:
        """The file that was followed before, open, if it still lies in the same directory."""
        place = self._known.place
        assert place is not None
        try:
            with os.scandir(self.path.parent) as entries:
                for _, entry in zip(range(_MAX_SIBLINGS), entries, strict=False):
                    # Of a file of which nothing was read only the number is known, which another may have by now.
                    likely = place.offset > 0 or entry.name.startswith(self.path.stem)
                    if likely and entry.inode() == place.inode and entry.is_file(follow_symlinks=False):
                        file = self._open(entry.path)
                        if self._known.happened(file, os.fstat(file)) in _SAME:
                            return file
                        os.close(file)
        except OSError as error:  # what was not read of the old file is lost, the new one can be read
            self.errors[f"renamed file: {_name(error)}"] += 1
        return None

    def _switch(self) -> os.stat_result:
        """The old file is read to its end: go on with the one that has its name now."""
        successor = self._open(self._name)
        about = os.fstat(successor)
        self.close()
        self._file = successor
        OPEN_FILES.use(self)
        self.opens += 1
        self.rotations += 1
        action = self._known.happened(successor, about)
        if action in _BEGINNINGS:
            self._begin(about, action)
        else:  # a copy with the same content
            self._known.moved(about)
        return about

    # ---- what is in it --------------------------------------------------------------------------------------------

    def _look(self, about: os.stat_result) -> Action | None:
        """Whether the open file began anew since the last look."""
        self.lag = max(0, about.st_size - self.offset)
        seen = (about.st_size, about.st_mtime_ns)
        if self._seen == seen:
            return None
        assert self._file is not None
        action = self._known.happened(self._file, about)
        self._seen = seen
        return action if action in _BEGINNINGS else None

    def _begin(self, about: os.stat_result, why: Action) -> None:
        """Go on from the beginning of the open file."""
        self._anew = why.value
        self._known.begin(about)
        self.lag = about.st_size

    def _bytes(self, limit: int, size: int) -> bytes:
        """From the offset on, up to `limit` bytes, without a hole at the end.

        A long run of NUL bytes is a hole, or a block that a network file system did not fill yet: one behind the offset
        is waited for while nothing follows it, and passed over when something does.
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
        self._known.passed(at)
        self.lag = max(0, size - at)
        return self._bytes(limit, size)

    def _fail(self, error: OSError) -> None:
        """Nothing can be read now; say why, and try from the same place the next time."""
        self._data, self._used, self._quiet = b"", 0, None
        self.errors[_name(error)] += 1
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


def _spot(about: os.stat_result) -> tuple[int, ...]:
    """What tells whether the file of a name is still the same, and as it was."""
    return (about.st_ino, about.st_size, about.st_mtime_ns, about.st_dev)


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")
