"""Follows one file: bytes, and where they begin anew. Nothing that a file system does is an exception here."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lrwatch.sources.tailstate import HEAD_BYTES, TRAIL_BYTES, Action, Look, Mark, decide, fingerprint

# Bytes of one read: large enough that reading costs little, small enough that memory stays flat. More than the longest
# line of the formats, so that a read always holds a complete line or tells that there is none.
READ_BYTES = 4 << 20
# Directory entries that are looked through for a file that was renamed while nobody followed it.
_MAX_SIBLINGS = 10_000
# O_NONBLOCK: opening a pipe by mistake does not wait for its writer.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK

_BEGINNINGS = frozenset({Action.REPLACED, Action.TRUNCATED, Action.REWRITTEN})


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


class Tail:
    """Follows the file called `path`.

    Reading always begins at the first byte that was not consumed, so what the reader has not understood yet (half a
    line) lies in the file and nowhere else::

        chunk = tail.read()
        batch, used = format.feed(chunk.data, final=chunk.last)
        tail.consume(used)

    A renamed or deleted file stays open until another takes its name, and is read to its end before that one. One that was
    renamed while nobody followed it is looked for in its directory.

    Args:
        path: The file; it need not exist yet.
        state: What `state` gave in an earlier life.

    Attributes:
        opens, rotations, truncations: How often a file was opened, another took its name, it began anew in place.
        errors: What was survived, by reason.
        problem: Why nothing can be read at present, as a sentence for people; "" when all is well.
        lag: Bytes that lie in the file and were not consumed, at the last look.
    """

    def __init__(self, path: str | os.PathLike[str], state: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.opens = self.rotations = self.truncations = self.lag = 0
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self._file: int | None = None
        self._mark = Mark(**state["mark"]) if state and state["mark"] else None
        # Begun anew, and not told yet: why.
        self._anew: str = state["anew"] if state else ""
        # The stretches that the mark has the hashes of; None while they were not read since a restart.
        self._head: bytes | None = b"" if self._mark is None else None
        self._trail = b""
        self._seen: tuple[int, int] | None = None  # size and time of change at the last look
        self._data = b""
        self._told_last: int | None = None  # where the last bytes of a file that was renamed ended

    @property
    def offset(self) -> int:
        """Bytes of the present file that were consumed."""
        return self._mark.offset if self._mark else 0

    def state(self) -> dict[str, Any]:
        """JSON-plain: how to go on from the first byte that was not consumed, in another life."""
        return {"mark": None if self._mark is None else self._mark.as_json(), "anew": self._anew}

    def close(self) -> None:
        """Let the file go. Reading again opens it again."""
        if self._file is not None:
            os.close(self._file)
        self._file, self._seen = None, None

    def consume(self, count: int) -> None:
        """The first `count` bytes of what was read last are understood."""
        if not 0 <= count <= len(self._data):
            raise ValueError(f"{count} bytes consumed of {len(self._data)} that were read")
        if count == 0:
            return
        assert self._mark is not None
        assert self._head is not None  # the file was looked at when these bytes were read
        used, self._data = self._data[:count], self._data[count:]
        self._head += used[: HEAD_BYTES - len(self._head)]
        self._trail = (self._trail + used[-TRAIL_BYTES:])[-TRAIL_BYTES:]
        self._mark_at(self._mark.device, self._mark.inode, self._mark.offset + count)
        self.lag -= count

    def read(self, limit: int = READ_BYTES) -> Chunk:
        """Look at the file and read at most `limit` bytes. Never raises an OSError: see `problem` and `errors`."""
        self._data = b""
        try:
            return self._read(limit)
        except OSError as error:
            self._fail(error)
            return Chunk()

    # ---- the file -------------------------------------------------------------------------------------------------

    def _read(self, limit: int) -> Chunk:
        named = self._named()
        if self._file is None:
            if named is None:
                return Chunk()
            self._resume()
        assert self._file is not None
        about = os.fstat(self._file)
        moved_on = named is not None and not os.path.samestat(named, about)
        if (begun := self._look(about)) is not None:
            self.truncations += 1
            self._begin(about, begun)
        data = self._bytes(limit)
        drained = len(data) < limit and moved_on
        if drained and (not data or self._told_last == self.offset + len(data)):
            self._switch()
            data, drained = self._bytes(limit), False
        self._told_last = self.offset + len(data) if drained else None
        self._data = data
        chunk = Chunk(data, bool(self._anew), self._anew, drained)
        self._anew = ""
        if named is not None:
            self.problem = ""
        return chunk

    def _named(self) -> os.stat_result | None:
        """The file that has the name now."""
        try:
            about = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            was = "was deleted or renamed" if self._mark is not None else "does not exist yet"
            self.problem = f"{self.path} {was}; it is read as soon as it is there"
            return None
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EISDIR if stat.S_ISDIR(about.st_mode) else errno.EINVAL, "not a regular file")
        return about

    def _open(self, path: Path) -> int:
        file = os.open(path, _FLAGS)
        if not stat.S_ISREG(os.fstat(file).st_mode):  # changed since it was looked at
            os.close(file)
            raise OSError(errno.EINVAL, "not a regular file")
        return file

    def _resume(self) -> None:
        """Open the file, or what became of the one that was followed before."""
        self._file = self._open(self.path)
        self.opens += 1
        about = os.fstat(self._file)
        if self._mark is None:
            self._mark_at(about.st_dev, about.st_ino, 0)
            return
        action = decide(self._mark, self._looked(self._file, about))
        if action is not Action.REPLACED:
            self._mark_at(about.st_dev, about.st_ino, self._mark.offset, keep=True)
            return
        if (renamed := self._renamed()) is not None:
            os.close(self._file)
            self._file = renamed
        else:
            self.rotations += 1
            self._begin(about, action)

    def _renamed(self) -> int | None:
        """The file that was followed before, open, if it still lies in the same directory."""
        assert self._mark is not None
        try:
            with os.scandir(self.path.parent) as entries:
                for _, entry in zip(range(_MAX_SIBLINGS), entries, strict=False):
                    # Of a file of which nothing was read only the number is known, which another may have by now.
                    likely = self._mark.offset > 0 or entry.name.startswith(self.path.stem)
                    if likely and entry.inode() == self._mark.inode and entry.is_file(follow_symlinks=False):
                        file = self._open(Path(entry.path))
                        if decide(self._mark, self._looked(file, os.fstat(file))) in (Action.READ, Action.WAIT):
                            return file
                        os.close(file)
        except OSError as error:  # what was not read of the old file is lost, the new one can be read
            self.errors[f"renamed file: {_name(error)}"] += 1
        return None

    def _switch(self) -> None:
        """The old file is read to its end: go on with the one that has its name now."""
        successor = self._open(self.path)
        self.close()
        self._file = successor
        self.opens += 1
        self.rotations += 1
        about = os.fstat(successor)
        action = decide(self._mark, self._looked(successor, about))
        if action in _BEGINNINGS:
            self._begin(about, action)
        elif self._mark is not None:  # a copy with the same content
            self._mark_at(about.st_dev, about.st_ino, self._mark.offset, keep=True)

    # ---- what is in it --------------------------------------------------------------------------------------------

    def _look(self, about: os.stat_result) -> Action | None:
        """Whether the open file began anew since the last look."""
        self.lag = max(0, about.st_size - self.offset)
        if self._seen == (about.st_size, about.st_mtime_ns):
            return None
        assert self._file is not None
        action = decide(self._mark, self._looked(self._file, about))
        self._seen = (about.st_size, about.st_mtime_ns)
        return action if action in _BEGINNINGS else None

    def _looked(self, file: int, about: os.stat_result) -> Look:
        """An open file, with the hashes to compare with the mark."""
        if self._mark is None:
            return Look(about.st_dev, about.st_ino, about.st_size, "", "")
        head = os.pread(file, self._mark.head_length, 0)
        trail = os.pread(file, self._mark.trail_length, self._mark.offset - self._mark.trail_length)
        look = Look(about.st_dev, about.st_ino, about.st_size, fingerprint(head), fingerprint(trail))
        if self._head is None and decide(self._mark, look) in (Action.READ, Action.WAIT):
            self._head, self._trail = head, trail
        return look

    def _begin(self, about: os.stat_result, why: Action) -> None:
        """Go on from the beginning of the open file."""
        self._anew = why.value
        self._head, self._trail = b"", b""
        self._mark_at(about.st_dev, about.st_ino, 0)
        self.lag = about.st_size

    def _mark_at(self, device: int, inode: int, offset: int, *, keep: bool = False) -> None:
        if keep and self._mark is not None:
            mark = self._mark
            self._mark = Mark(
                device, inode, offset, mark.head_length, mark.head_hash, mark.trail_length, mark.trail_hash
            )
            return
        head = self._head or b""
        self._mark = Mark(
            device, inode, offset, len(head), fingerprint(head), len(self._trail), fingerprint(self._trail)
        )

    def _bytes(self, limit: int) -> bytes:
        """From the offset on, up to `limit` bytes, without NUL bytes at the end.

        A run of NUL bytes is a hole, or a block that a network file system did not fill yet: what lies behind the offset
        is waited for while nothing follows it, and passed over when something does.
        """
        assert self._file is not None
        assert self._mark is not None
        data = os.pread(self._file, limit, self._mark.offset)
        whole = data.rstrip(b"\0")
        if whole or not data:
            return whole
        at = self._mark.offset
        while not data.strip(b"\0"):
            try:
                at = os.lseek(self._file, at + len(data), os.SEEK_DATA)  # a hole of any size is passed at once
            except OSError as error:
                if error.errno == errno.ENXIO:  # nothing but NUL bytes up to the end
                    return b""
                raise
            data = os.pread(self._file, limit, at)
        at += len(data) - len(data.lstrip(b"\0"))
        self.errors["hole of NUL bytes passed over"] += 1
        self._trail = b""
        self._mark_at(self._mark.device, self._mark.inode, at)
        return self._bytes(limit)

    def _fail(self, error: OSError) -> None:
        """Nothing can be read now; say why, and try from the same place the next time."""
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


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "OSError")
