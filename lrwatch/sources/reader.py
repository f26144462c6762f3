"""One log of one run: bytes or rows from a source, samples from a format, each once, and the state of all for a restart.

What the source is depends on what lies in it: a log that grows is followed by a `Tail`, a document that is replaced as a
whole is read again each time by a `Document`, a database is asked for its new rows, and `-` is standard input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrwatch import formats
from lrwatch.core.sample import Batch
from lrwatch.formats.base import UNNAMED, Format
from lrwatch.sources.compressed import is_compressed
from lrwatch.sources.compressedtail import CompressedTail
from lrwatch.sources.database import Database, is_database
from lrwatch.sources.dedup import Deduplicator
from lrwatch.sources.document import Document
from lrwatch.sources.naming import metric_name
from lrwatch.sources.stdin import STDIN, Stdin
from lrwatch.sources.tail import Tail

# Bytes a read: large enough for the block parsers to be fast, small enough to stop within a second and to stay in cache.
CHUNK_BYTES = 2 * 1024 * 1024
# Rows of a database a read: about as many samples as a chunk has.
CHUNK_ROWS = 20_000
# A head that is not understood is looked at again when it has grown, a larger one by a tenth, or stands still: in all some ten
# times the work of a single look, however slowly the log grows.
SMALL_HEAD_BYTES = 4096
HEAD_GROWTH = 1.1


class LogReader:
    """Reads a log as it grows.

    Args:
        path: The log; `-` is standard input.
        format_name: "auto", or the name of a format.
        state: From `state`, to go on where an earlier reader stopped.

    Raises:
        ConfigError: No format has that name.
    """

    def __init__(self, path: Path, format_name: str = "auto", state: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._fixed = None if format_name == "auto" else format_name
        self._format: Format | None = None if self._fixed is None else formats.by_name(self._fixed)
        # Name and state of the format before the log began anew.
        self._former: tuple[str, Mapping[str, Any]] | None = None
        self._seen = Deduplicator()
        self._not_understood = 0  # bytes of the head that no format was found for
        self._skipped = 0  # bytes of the head that was not looked at since
        self._name = metric_name(path) or UNNAMED  # of the metric of a log that does not name it
        self._rows: Database | None = None
        if state is not None:
            if "seen" in state:  # a state of version 0.1 has none
                self._seen = Deduplicator.restore(state["seen"])
                self._former = state["former"]
            if state["format"] is not None:
                self._format = formats.restore(state["format"], state["format_state"])
        source, rows = (None, False) if state is None else (state["tail"], state.get("rows", False))
        self._whole = False  # what follows the log gives all of it each time
        self._bytes = self._source(None if rows else source)
        if rows:
            self._turn_to_rows(source)

    def _source(self, state: Mapping[str, Any] | None) -> Tail | Document | Stdin:
        """What follows a log of this format, or one of which the format is not known yet."""
        if self.path == STDIN:
            return Stdin(state=state)
        self._whole = self._format is not None and self._format.whole
        if self._whole:
            return Document(self.path, state)
        compressed = is_compressed(self.path) if state is None else "file" in state
        return CompressedTail(self.path, state) if compressed else Tail(self.path, state)

    @property
    def tail(self) -> Tail | Document | Stdin | Database:
        """Where the log comes from at present; its `errors`, `problem` and `lag` are those of the log."""
        return self._bytes if self._rows is None else self._rows

    @property
    def format(self) -> str | None:
        """Name of the format, or None while it is not known."""
        if self._rows is not None:
            return self._rows.name
        return None if self._format is None else self._format.name

    @property
    def repeated(self) -> int:
        """Samples that were read again because the log was rewritten, and not given again, since the process began."""
        return self._seen.repeated

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "tail": self.tail.state(),
            "rows": self._rows is not None,
            "format": None if self._format is None else self._format.name,
            "format_state": None if self._format is None else self._format.state(),
            "former": self._former,
            "seen": self._seen.state(),
        }

    def close(self) -> None:
        """Let go of the file."""
        self.tail.close()

    # ---- reading --------------------------------------------------------------------------------------------------

    def read(self, *, final: bool = False) -> tuple[Batch, int] | None:
        """The next samples and the bytes they took, or None when there is nothing new.

        Args:
            final: The log is complete: its last line counts even without an end, and its format is decided now.
        """
        if self._rows is not None:
            return self._read_rows(self._rows)
        source = self._bytes
        if final or self._skipped:
            source.again()
        chunk = source.read(CHUNK_BYTES)
        if chunk.anew:
            self._begin_anew()
        if not chunk.data:
            return None
        last = chunk.last or (final and (self._whole or source.at_end))
        if self._format is None:
            self._understand(chunk.data, last=last)
            if self.tail is not source:
                return self.read(final=final)
            if self._format is None:
                return None
        batch, used = self._format.feed(chunk.data, final=last)
        if used == 0:
            return None
        source.consume(used)
        return self._new(batch, whole=self._format.whole), used

    def _read_rows(self, rows: Database) -> tuple[Batch, int] | None:
        batch = rows.read(CHUNK_ROWS)
        return (self._named(batch), 0) if batch.lines else None

    def _new(self, batch: Batch, *, whole: bool) -> Batch:
        """What was not given yet. A document gives all its samples each time."""
        batch = self._named(batch)
        if not whole:
            return self._seen.new(batch)
        self._seen.begin_anew()
        new = self._seen.new(batch)
        if len(batch):  # one without samples is a moment in its writer's work
            self._seen.complete()
        return new

    def _named(self, batch: Batch) -> Batch:
        """Call the metric of a log that does not name it after its path."""
        name = self._name
        if UNNAMED not in batch.columns or name in batch.columns:
            return batch
        return replace(
            batch,
            columns={name if n == UNNAMED else n: column for n, column in batch.columns.items()},
            smoothing={name if n == UNNAMED else n: how for n, how in batch.smoothing.items()},
        )

    # ---- what the content asks for ----------------------------------------------------------------------------------

    def _begin_anew(self) -> None:
        self._not_understood = self._skipped = 0
        self._seen.begin_anew()
        if self._format is not None:
            self._former = (self._format.name, self._format.state())
        self._format = None if self._fixed is None or self._former is not None else formats.by_name(self._fixed)

    def _understand(self, head: bytes, *, last: bool) -> None:
        """Find the format, and turn to the source that it needs."""
        size, least = len(head), self._not_understood
        if size > SMALL_HEAD_BYTES:
            least = int(HEAD_GROWTH * least)
        if size <= least and size != self._skipped and not last:
            self._skipped = size
            return
        self._skipped = 0
        if self._fixed is None and is_database(head):
            self._turn_to_rows(None)
            return
        self._format = self._format_of(head, last=last)
        self._not_understood = 0 if self._format is not None else len(head)
        if self._format is not None and self._format.whole != self._whole and self.path != STDIN:
            self._turn_to_bytes()

    def _format_of(self, head: bytes, *, last: bool) -> Format | None:
        """The format of what begins with `head`, or None while it cannot be told."""
        found = formats.detect(head, final=last) if self._fixed is None else formats.by_name(self._fixed)
        if self._former is None or (found is not None and _names(found, head, last=last)):
            return found
        # A log that another than its writer truncated goes on without its header.
        if _names(formats.restore(*self._former), head, last=last):
            return formats.restore(*self._former)
        return found if self._fixed is None or last or len(head) >= formats.HEAD_BYTES else None

    def _turn_to_bytes(self) -> None:
        before = self._bytes
        before.close()
        self._bytes = self._source(None)
        self._bytes.errors.update(before.errors)

    def _turn_to_rows(self, state: Mapping[str, Any] | None) -> None:
        self._bytes.close()
        self._rows = Database(self.path, state)
        self._rows.errors.update(self._bytes.errors)


def _names(format_: Format, head: bytes, *, last: bool) -> bool:
    """Whether a format finds metrics with names in `head`."""
    return any(
        name != UNNAMED for name in formats.restore(format_.name, format_.state()).feed(head, final=last)[0].columns
    )
