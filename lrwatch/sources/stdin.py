"""Follow standard input: `train.py | lrwatch run -`."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lrwatch.sources.tail import READ_BYTES, Chunk

STDIN = Path("-")
"""The path that stands for standard input."""

# Bytes that wait for the daemon. It looks every second, and a pipe holds 64 KiB: without a buffer of its own the trainer
# would stand still between two looks. No trainer writes as much between two looks of a busy daemon.
MAX_WAITING_BYTES = 64 << 20
# Bytes taken from the pipe at once: its capacity.
_PIECE_BYTES = 64 << 10


class Stdin:
    """Follow a pipe, with the interface of `lrwatch.sources.tail.Tail`.

    A thread takes what the trainer writes as soon as it is written. Nothing is lost: when MAX_WAITING_BYTES wait because
    lrwatch was stopped (SIGSTOP) or hangs, the pipe fills, and the trainer blocks at its next line until lrwatch continues
    or ends. Write to a file where that must not happen. The input is not copied to any output.

    A pipe cannot be read twice. Unconsumed input is lost when lrwatch ends; after a restart the first chunk reports a
    reset.

    Args:
        file: File descriptor to read. It is not closed.
        state: What `state` returned before a restart.

    Attributes:
        path: `-`.
        opens, rotations, truncations: As `Tail` has them; here they never change.
        errors: Number of survived errors, by reason.
        problem: Why nothing can be read at present, a sentence; "" when all is well.
        offset: Bytes consumed since the start.
        at_end: Whether the last read reached the end of the stream.
    """

    def __init__(self, file: int = 0, state: Mapping[str, Any] | None = None) -> None:
        self.path = STDIN
        self.opens = self.rotations = self.truncations = self.offset = 0
        self.errors: Counter[str] = Counter()
        self.problem = ""
        self.at_end = False
        self._file = file
        self._reset = "replaced" if state is not None else ""
        self._presented: tuple[int, bool] | None = (
            None  # bytes waiting at the last read, and whether the stream had ended
        )
        self._reported_end = False
        self._data = bytearray()
        self._ended = self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def lag(self) -> int:
        """Unconsumed bytes taken from the pipe."""
        return len(self._data)

    @property
    def ended(self) -> bool:
        """Whether the stream has ended and was presented to its end."""
        return self._reported_end

    def state(self) -> dict[str, Any]:
        """Return a JSON-plain mark that there was a stream. There is no offset to continue from."""
        return {"restartable": False}

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds` for something to read, or the end, and return whether there is."""
        self._start()
        with self._changed:
            return self._changed.wait_for(lambda: self._presented != (len(self._data), self._ended), seconds)

    def again(self) -> None:
        """Let the next `read` present the unconsumed bytes even if nothing came since."""
        self._presented = None

    def read(self, limit: int = READ_BYTES) -> Chunk:
        """Return the waiting bytes, at most `limit`, without blocking."""
        self._start()
        with self._changed:
            waits = (len(self._data), self._ended)
            if waits == self._presented:
                return Chunk()
            data = bytes(memoryview(self._data)[:limit])
            self.at_end = self._ended and len(data) == len(self._data)
            self._presented = waits if len(data) == len(self._data) else None
        self._reported_end |= self.at_end
        chunk = Chunk(data, bool(self._reset), self._reset, self.at_end)
        self._reset = ""
        return chunk

    def consume(self, count: int) -> None:
        """Mark the first `count` bytes of the last read as consumed.

        Raises:
            ValueError: The last read has fewer bytes.
        """
        with self._changed:
            if not 0 <= count <= len(self._data):
                raise ValueError(f"{count} bytes consumed of {len(self._data)} that were read")
            del self._data[:count]
            if self._presented is not None:
                self._presented = (self._presented[0] - count, self._presented[1])
            self._changed.notify_all()
        self.offset += count

    def close(self) -> None:
        """Stop reading. The thread ends with the next bytes, or with the process."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    # ---- the thread -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._take, name="lrwatch-stdin", daemon=True)
            self._thread.start()

    def _take(self) -> None:
        """Move bytes from the pipe into the buffer until the end."""
        while not self._closed:
            try:
                piece = os.read(self._file, _PIECE_BYTES)
            except OSError as error:  # closed or not readable: nothing more will come
                self.errors[errno.errorcode.get(error.errno or 0, "OSError")] += 1
                self.problem = f"standard input cannot be read ({error.strerror or error})"
                piece = b""
            with self._changed:
                self._data += piece
                self._ended = not piece
                self._changed.notify_all()
                if not piece:
                    return
                self._changed.wait_for(lambda: self._closed or len(self._data) < MAX_WAITING_BYTES)
