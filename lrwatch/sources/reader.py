"""The one way in which a log is read: bytes or rows from a source, samples from a format, each once.

`run`, `replay`, `report`, `read`, `read --explain`, `read_log`, `init` and `backtest` are loops over `LogReader`. It alone
finds the format, the database, the compression, the axis and the name of a metric that the log does not name, so that no
two of them can disagree. The content decides which source follows the log:

=======================  ===============================================================================================
a log that grows         `Tail`
a compressed log         `CompressedTail`
one document             `DocumentTail`, which presents all of it each time it changed
an SQLite database       `Database`, which reads the new rows
`-`                      `Stdin`
=======================  ===============================================================================================
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple, TypeAlias

from lrwatch import formats
from lrwatch.core.sample import Batch
from lrwatch.errors import InputError
from lrwatch.formats.base import UNNAMED, Format
from lrwatch.sources.compressed import is_compressed, open_log
from lrwatch.sources.compressed_tail import CompressedTail
from lrwatch.sources.database import Database, is_database
from lrwatch.sources.dedup import Deduplicator
from lrwatch.sources.document_tail import DocumentTail
from lrwatch.sources.metric_names import MetricNames
from lrwatch.sources.stdin import STDIN, Stdin
from lrwatch.sources.tail import Tail

# Bytes of one read: large enough for the block parsers to be fast, small enough to stop within a second and to stay in cache.
# More than the longest line, so that each read makes progress.
CHUNK_BYTES = 2 << 20
# Rows of one read of a database: about as many samples as a chunk has.
CHUNK_ROWS = 20_000
# A head without a known format is examined again when it has grown, a larger one when it has grown by a tenth or stands
# still: in all some ten times the work of a single look, however slowly the log grows.
SMALL_HEAD_BYTES = 4096
HEAD_GROWTH = 1.1
# Bytes at the end of a long log that `skip_to_end` leaves.
END_BYTES = 1 << 20

Unit = Literal["line", "record", "row"]
"""The parts in which a log is read: lines of text, records of a binary log or a document, rows of a database."""

_Bytes: TypeAlias = "Tail | Stdin"

_SOURCES: dict[str, Callable[[Path, Any], Tail | Stdin | Database]] = {
    Tail.__name__: Tail,
    CompressedTail.__name__: CompressedTail,
    DocumentTail.__name__: DocumentTail,
    Database.__name__: Database,
    Stdin.__name__: lambda _, state: Stdin(state=state),
}

# MLflow keeps each metric in a file of its own below this directory of a run, which 32 hexadecimal digits name.
_METRICS = "metrics"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


class _Given(NamedTuple):
    """Bytes for a format. `last`: nothing follows them."""

    format: Format
    data: bytes
    last: bool


class LogReader:
    """Read a log as it grows.

    Args:
        path: The log; `-` is standard input.
        format_name: "auto", or the name of a format.
        state: What `state` returned before a restart.

    Attributes:
        path: The log.
        tail: The source that follows the log at present, with its `errors`, `problem` and `lag`.

    Raises:
        ConfigError: No format has that name.
    """

    def __init__(self, path: Path, format_name: str = "auto", state: Mapping[str, Any] | None = None) -> None:
        self.path = path
        self._fixed = None if format_name == "auto" else format_name
        self._format: Format | None = None if self._fixed is None else formats.by_name(self._fixed)
        # Name and state of the format before the log started over.
        self._former: tuple[str, Mapping[str, Any]] | None = None
        self._deduplicator, self._names = Deduplicator(), MetricNames()
        self._undetected = 0  # bytes of the longest examined head without a known format
        self._unexamined = 0  # bytes of a longer head that was not examined since
        self._name = UNNAMED if path == STDIN else metric_name(path.absolute()) or UNNAMED
        self.tail: Tail | Stdin | Database
        if state is None:
            self.tail = self._source()
        else:
            self._restore(state)

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._deduplicator.restore(state["deduplicator"])
        self._names.restore(state["names"])
        self._former = state["former"]
        if state["format"] is not None:
            self._format = formats.restore(state["format"], state["format_state"])
        self.tail = _SOURCES[state["source"]](self.path, state["tail"])

    def _source(self) -> Tail | Stdin:
        """Return a source of bytes for the present format, or for one that is not known yet."""
        if self.path == STDIN:
            return Stdin()
        if self._format is not None and self._format.whole:
            return DocumentTail(self.path)
        return CompressedTail(self.path) if is_compressed(self.path) else Tail(self.path)

    def state(self) -> dict[str, Any]:
        """Return the JSON-plain state from which a reader continues behind the last given sample."""
        return {
            "source": type(self.tail).__name__,
            "tail": self.tail.state(),
            "format": None if self._format is None else self._format.name,
            "format_state": None if self._format is None else self._format.state(),
            "former": self._former,
            "deduplicator": self._deduplicator.state(),
            "names": self._names.state(),
        }

    def close(self) -> None:
        """Close the file."""
        self.tail.close()

    # ---- what is known of the log ---------------------------------------------------------------------------------

    @property
    def format(self) -> str | None:
        """Name of the format, or None while it is not known."""
        if isinstance(self.tail, Database):
            return self.tail.name
        return None if self._format is None else self._format.name

    @property
    def format_type(self) -> type[Format] | None:
        """Class of the format; None for a database, and while the format is not known."""
        return None if self._format is None else type(self._format)

    @property
    def unit(self) -> Unit:
        """The parts in which the log is read; lines while the format is not known."""
        if isinstance(self.tail, Database):
            return "row"
        return "record" if self._format is not None and self._format.binary else "line"

    @property
    def repeated(self) -> int:
        """Samples that were read again because the log was rewritten, and dropped, since the process began."""
        return self._deduplicator.repeated

    def find_format(self, *, final: bool = False) -> str | None:
        """Find the format without reading a sample, and return its name, or None while it is not known.

        Args:
            final: The log is complete: its format is decided now.
        """
        before = None
        while before is not self.tail and not isinstance(self.tail, Database):
            before = self.tail
            self._next(before, CHUNK_BYTES, final=final)
        return self.format

    # ---- reading --------------------------------------------------------------------------------------------------

    def read(self, *, final: bool = False, limit: int = CHUNK_BYTES) -> tuple[Batch, int] | None:
        """Read the next samples.

        Args:
            final: The log is complete: its last line counts even without an end, and its format is decided now.
            limit: Bytes to read at most, of a log of lines or records; more than a line has.

        Returns:
            The samples, and the bytes they took (0 for rows of a database), or None when there is nothing new.
        """
        source = self.tail
        if isinstance(source, Database):
            batch = source.read(CHUNK_ROWS)
            return (self._named(batch), 0) if batch.lines else None
        given = self._next(source, limit, final=final)
        if self.tail is not source:  # the content needs another
            return self.read(final=final, limit=limit)
        if given is None:
            return None
        batch, used = given.format.feed(given.data, final=given.last)
        if used == 0 and not batch.rows:
            return None
        source.consume(used)
        return self._new(batch, given.format), used

    def read_lines(self, *, final: bool = False) -> Generator[tuple[bytes, Batch], None, None]:
        """Read the next lines one by one: as `read` does, with the samples that each line completes.

        The log is one of lines (see `unit`), and its format is known (see `find_format`). What the caller does not take
        from the iterator stays unread.

        Args:
            final: The log is complete: its last line counts even without an end.

        Yields:
            A line with its end, and the samples.
        """
        source = self.tail
        assert not isinstance(source, Database)
        given = self._next(source, CHUNK_BYTES, final=final)
        if given is None:
            return
        lines = given.data.splitlines(keepends=True) or [b""]
        if not given.last and len(lines) > 1 and not lines[-1].endswith((b"\n", b"\r")):
            lines.pop()  # it is not complete yet
        used = end = 0
        try:
            for i, line in enumerate(lines, 1):
                end += len(line)
                last = given.last and i == len(lines)
                batch, taken = given.format.feed(given.data[used:end], final=last)
                used += taken
                if line or batch.rows:
                    yield line, self._new(batch, given.format)
        finally:
            source.consume(used)

    def skip_to_end(self, lines: int) -> bytes | None:
        """Skip what lies before the last lines of a log of lines.

        A log that is not compressed is not read for that; of a compressed one only the next CHUNK_BYTES are examined.

        Args:
            lines: How many lines to leave; fewer are left of END_BYTES at the end of a long log.

        Returns:
            The skipped lines, or None where they were not read.
        """
        source = self.tail
        assert not isinstance(source, Database)
        source.again()
        data = source.read(CHUNK_BYTES).data
        seeks = type(source) is Tail and source.lag > END_BYTES
        if seeks:
            assert isinstance(source, Tail)
            source.skip(source.lag - END_BYTES)
            data = source.read(CHUNK_BYTES).data
        found = data.splitlines(keepends=True)
        skipped = b"".join(found[: max(int(seeks), len(found) - lines)])  # after a jump the first line is not whole
        source.consume(len(skipped))
        return None if seeks else skipped

    def _next(self, source: _Bytes, limit: int, *, final: bool) -> _Given | None:
        """Read the next bytes and find their format; None when there are none, or the content needs another source."""
        if final or self._unexamined:
            source.again()
        chunk = source.read(limit)
        if chunk.reset:
            self._start_over()
        whole = isinstance(source, DocumentTail)
        last = chunk.last or (final and (whole or source.at_end))
        if chunk.data and self._format is None:
            self._detect(chunk.data, last=last)
        if self._format is None or self.tail is not source or (not chunk.data and (whole or not last)):
            return None
        return _Given(self._format, chunk.data, last)

    def _new(self, batch: Batch, format_: Format) -> Batch:
        """Return the samples that were not given yet. A document has all its samples each time."""
        batch = self._named(batch)
        if not format_.whole:
            return self._deduplicator.new(batch)
        self._deduplicator.rewind()
        new = self._deduplicator.new(batch)
        if len(batch):  # one without samples is a moment in its writer's work
            self._deduplicator.complete()
        return new

    def _named(self, batch: Batch) -> Batch:
        """Call the metric of a log that does not name it after the path of the log. No log has any number of metrics."""
        batch, name = self._names.bounded(batch), self._name
        if UNNAMED not in batch.columns or name in batch.columns:
            return batch
        return replace(
            batch,
            columns={name if n == UNNAMED else n: column for n, column in batch.columns.items()},
            smoothing={name if n == UNNAMED else n: how for n, how in batch.smoothing.items()},
        )

    # ---- the format and its source --------------------------------------------------------------------------------

    def _start_over(self) -> None:
        """Expect the log from its beginning."""
        self._undetected = self._unexamined = 0
        self._deduplicator.rewind()
        if self._format is not None:
            self._former = (self._format.name, self._format.state())
        self._format = None if self._fixed is None or self._former is not None else formats.by_name(self._fixed)

    def _detect(self, head: bytes, *, last: bool) -> None:
        """Find the format, and turn to the source that it needs."""
        size, least = len(head), self._undetected
        if size > SMALL_HEAD_BYTES:
            least = int(HEAD_GROWTH * least)
        if size <= least and size != self._unexamined and not last:
            self._unexamined = size
            return
        self._unexamined = 0
        if self._fixed is None and is_database(head):
            self._turn_to(Database(self.path))
            return
        self._format = self._format_of(head, last=last)
        self._undetected = 0 if self._format is not None else len(head)
        if (
            self._format is not None
            and self._format.whole != isinstance(self.tail, DocumentTail)
            and self.path != STDIN
        ):
            self._turn_to(self._source())

    def _format_of(self, head: bytes, *, last: bool) -> Format | None:
        """Return the format of a log that begins with `head`, or None while the content is not enough."""
        found = formats.detect(head, final=last) if self._fixed is None else formats.by_name(self._fixed)
        if self._former is None or (found is not None and _names_metrics(found, head, last=last)):
            return found
        # A log that another than its writer truncated continues without its header.
        if _names_metrics(formats.restore(*self._former), head, last=last):
            return formats.restore(*self._former)
        return found if self._fixed is None or last or len(head) >= formats.HEAD_BYTES else None

    def _turn_to(self, source: Tail | Stdin | Database) -> None:
        self.tail.close()
        source.errors.update(self.tail.errors)
        self.tail = source


def _names_metrics(format_: Format, head: bytes, *, last: bool) -> bool:
    """Whether a format finds metrics with names in `head`."""
    return any(
        name != UNNAMED for name in formats.restore(format_.name, format_.state()).feed(head, final=last)[0].columns
    )


def metric_name(path: str | os.PathLike[str]) -> str | None:
    """Return the metric that a path names, or None.

    MLflow keeps each metric in a file of its own below the directory `metrics` of a run; slashes in the name of the metric
    are directories. A run has a name of 32 hexadecimal digits; where the path has none, the last `metrics` counts.

    >>> metric_name("mlruns/0/ea71e54bc850434eaa5170c17d564de6/metrics/train/loss")
    'train/loss'
    >>> metric_name("metrics/run.log"), metric_name("runs/a/metrics.csv")
    ('run.log', None)
    """
    parts = PurePath(path).parts
    places = [i for i, part in enumerate(parts[:-1]) if part == _METRICS]
    if not places:
        return None
    of_a_run = [i for i in places if i and _RUN_ID.fullmatch(parts[i - 1])]
    return "/".join(parts[(of_a_run[:1] or places[-1:])[0] + 1 :])


def beginning(path: str | os.PathLike[str], size: int = formats.HEAD_BYTES) -> bytes:
    """Return the first `size` bytes of a log, decompressed where it is compressed.

    Raises:
        OSError: It cannot be read.
        InputError: This Python cannot decompress it.
    """
    with open_log(path) as file:
        return file.read(size)


def must_be_readable(path: str | os.PathLike[str]) -> None:
    """Raise an error where a finished log cannot be read. `LogReader` itself would wait for it.

    Raises:
        InputError: It is missing, no regular file, or may not be read by this user.
    """
    hint = "Check the path and its permissions."
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISREG(mode):  # opening a pipe would wait for its writer
            with Path(path).open("rb"):
                return
        found = "a directory" if stat.S_ISDIR(mode) else "no regular file"
    except OSError as error:
        found = error.strerror or str(error)
        hint = "Give the path of an existing file." if isinstance(error, FileNotFoundError) else hint
    raise InputError(expected="a log file that can be read", found=found, where=os.fspath(path), hint=hint)
