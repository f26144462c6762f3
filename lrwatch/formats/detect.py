"""The table of formats, and which of them a log has: the content decides."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from lrwatch.core.names import role
from lrwatch.errors import ConfigError
from lrwatch.formats.base import Format
from lrwatch.formats.csv import Csv
from lrwatch.formats.json.document import JsonDocument
from lrwatch.formats.json.lines import JsonLines
from lrwatch.formats.json.prefixed import Prefixed
from lrwatch.formats.linewise import Linewise
from lrwatch.formats.numbers import Numbers
from lrwatch.formats.pattern import Pattern
from lrwatch.formats.tensorboard.format import TfEvents
from lrwatch.formats.text import Text
from lrwatch.formats.wandb.format import Wandb
from lrwatch.formats.wrapped import Wrapped


class _Wrapped(Wrapped):
    """The format `wrapped`, with any other format inside."""

    def _find(self, head: bytes, *, final: bool) -> Format | None:
        return detect(head, final=final)

    def _restored(self, name: str, state: Mapping[str, Any]) -> Format:
        return restore(name, state)


FORMATS: tuple[type[Format], ...] = (TfEvents, Wandb, JsonDocument, JsonLines, Csv, _Wrapped, Numbers, Prefixed, Text)
"""The strictest first: it wins where two formats understand a line."""

# Bytes at the beginning of a log that tell its format. Logs that begin with their own source code have their first loss
# after some 100 kB.
HEAD_BYTES = 1 << 20

# Metrics of MLPerf that are no loss by name.
_ERRORS = frozenset({"eval_error", "eval_accuracy", "eval_loss"})
# Lines that each format is given at once during detection; at the beginning those that most logs need, a header and a record.
_PIECE_LINES, _FIRST_LINES = 64, 2


def by_name(name: str) -> Format:
    """Return a new reader of the format called `name`.

    `pattern:` followed by a regular expression is a format too (`lrwatch.formats.pattern`); several stand on a line each.

    Raises:
        ConfigError: There is no such format, or the pattern cannot be used.
    """
    kind, colon, patterns = name.partition(":")
    if kind == Pattern.name and colon:
        return Pattern(patterns.split("\n"))
    for format_ in FORMATS:
        if format_.name == name:
            return format_()
    names = [format_.name for format_ in FORMATS]
    nearest = difflib.get_close_matches(name, names, 1)
    raise ConfigError(
        expected=f"auto, one of {', '.join(names)}, or {Pattern.name}:REGEX",
        found=repr(name),
        where="format",
        hint=f"Did you mean {nearest[0]}?" if nearest else "With auto the content decides.",
    )


def restore(name: str, state: Mapping[str, Any]) -> Format:
    """Return the reader called `name` as it was when it gave `state`."""
    restored = Pattern(state["patterns"]) if name == Pattern.name else by_name(name)
    restored.restore(state)
    return restored


def detect(head: bytes, *, final: bool = False) -> Format | None:
    """Find the format of a log by its content.

    The first record with a step or a loss that a format understands decides, so that the answer is the same for a log that
    is being written and for the finished one.

    Args:
        head: The beginning of the log; only the first HEAD_BYTES are examined.
        final: Nothing follows `head`.

    Returns:
        A new reader, to be fed `head` again, or None while the content is not enough. After HEAD_BYTES without an answer
        it is the one that finds most numbers; with `final`, None says that there are none.
    """
    if len(head) > HEAD_BYTES:
        head, final = head[:HEAD_BYTES], False
    for format_ in FORMATS:
        if format_.claims(head):
            return format_()
    if (first := _first_to_understand(head, _line_ends(head))) is not None:
        if first is Text and (rows := _rows_below_comments(head, final=final)) is not None:
            return Numbers() if rows else None
        return Text() if first in (JsonLines, Prefixed) and _has_more_as_text(head, first) else first()
    if not final and len(head) < HEAD_BYTES:
        return None
    by_lines = [format_ for format_ in FORMATS if not format_.binary]
    numbers = [len(format_().feed(head, final=final)[0]) for format_ in by_lines]
    if any(numbers):
        return by_lines[numbers.index(max(numbers))]()
    return None if final else Text()


def _rows_below_comments(head: bytes, *, final: bool) -> int | None:
    """Return the rows of a log that begins with comments and numbers, 0 while that is not sure; None of another log."""
    lines = head.split(b"\n") if head.lstrip().startswith(b"#") else []
    if all(not line.strip() or line.lstrip().startswith(b"#") for line in lines):
        return None
    batch, _ = Numbers().feed(head, final=final)
    return None if batch.errors and not batch.rows else batch.rows


def _has_more_as_text(head: bytes, format_: type[Format]) -> bool:
    """Return whether a log of JSON objects tells more as lines of text, where `text` reads all losses in the objects as well.

    There are losses in other lines, or the place stands before the object: `step 10: {"loss": 2.5}`.
    """
    objects, lines = (reader.feed(head)[0] for reader in (format_(), Text()))
    in_json, in_text = (
        {
            name: len(column.values)
            for name, column in batch.columns.items()
            if role(name) in ("train_loss", "val_loss") or name in _ERRORS
        }
        for batch in (objects, lines)
    )
    more = [name for name in in_text if name not in in_json]
    places = objects.axis == "record" and lines.axis != "record"
    return (places or any(in_text[name] > 1 for name in more)) and all(
        in_text.get(name, 0) >= n for name, n in in_json.items()
    )


def _line_ends(head: bytes) -> list[int]:
    """Offsets of the ends of the lines in `head`."""
    ends = []
    at = 0
    for line in head.splitlines(keepends=True):
        at += len(line)
        ends.append(at)
    if ends and not head.endswith((b"\n", b"\r")):
        ends.pop()
    return ends


class _Candidate:
    """A format that reads the head, piece by piece, until it understands enough of it."""

    def __init__(self, format_: type[Format], head: bytes) -> None:
        self.format = format_
        self._head = head
        self._reader = format_()
        self._at = self._rows = 0
        self._has_loss = False

    def understands(self, end: int) -> bool:
        """Whether the head up to `end` is enough."""
        batch, used = self._reader.feed(self._head[self._at : end])
        self._at += used
        if isinstance(self._reader, Linewise) and self._reader.holds:  # what waits shows as well what is understood
            batch, _ = restore(self.format.name, self._reader.state()).feed(b"", final=True)
        else:
            self._rows += batch.rows
        self._has_loss |= any(role(name) in ("train_loss", "val_loss") for name in batch.columns)
        return max(self._rows, batch.rows) >= self.format.evidence and (batch.axis != "record" or self._has_loss)

    def copy(self) -> _Candidate:
        """Return an independent copy in the same state."""
        copied = _Candidate(self.format, self._head)
        copied._reader.restore(self._reader.state())
        copied._at, copied._rows, copied._has_loss = self._at, self._rows, self._has_loss
        return copied


def _first_to_understand(head: bytes, ends: list[int]) -> type[Format] | None:
    """Return the format that needs the fewest lines of `head`; of several the first in the table."""

    def lines_needed(before: _Candidate, lines: list[int]) -> int:
        return next(i for i, end in enumerate(lines) if before.understands(end))

    candidates = [_Candidate(format_, head) for format_ in FORMATS if not format_.binary]
    for start, end in pairwise([0, *range(_FIRST_LINES, len(ends) + _PIECE_LINES, _PIECE_LINES)]):
        if not (lines := ends[start:end]):
            break
        before = [candidate.copy() for candidate in candidates]
        enough = [b for b, c in zip(before, candidates, strict=True) if c.understands(lines[-1])]
        if enough:
            return min(enough, key=lambda candidate: lines_needed(candidate, lines)).format
    return None
