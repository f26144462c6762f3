"""The formats of logs: bytes in, samples out. A new one is a file here and a line in `FORMATS`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from lrwatch.core.names import role
from lrwatch.core.sample import Batch
from lrwatch.errors import ConfigError
from lrwatch.formats.base import Format
from lrwatch.formats.csv import Csv
from lrwatch.formats.jsonl import JsonLines
from lrwatch.formats.text import Text

__all__ = ["FORMATS", "HEAD_BYTES", "Format", "by_name", "detect", "restore"]

FORMATS: tuple[type[Format], ...] = (JsonLines, Csv, Text)
"""The strictest first: it wins where two formats understand a line."""

# What is looked at to tell the format. Logs that begin with their own source code have their first loss after some 100 kB.
HEAD_BYTES = 1 << 20


def by_name(name: str) -> Format:
    """A new reader of the format called `name`.

    Raises:
        ConfigError: There is no such format.
    """
    for format_ in FORMATS:
        if format_.name == name:
            return format_()
    names = [format_.name for format_ in FORMATS]
    nearest = difflib.get_close_matches(name, names, 1)
    raise ConfigError(
        expected=f"auto or one of {', '.join(names)}",
        found=repr(name),
        where="format",
        hint=f"Did you mean {nearest[0]}?" if nearest else "With auto the content decides.",
    )


def restore(name: str, state: Mapping[str, Any]) -> Format:
    """The reader called `name` as it was when it gave `state`."""
    return type(by_name(name)).restore(state)


def detect(head: bytes, *, final: bool = False) -> Format | None:
    """The format of a log, by its content.

    The first record with a step or a loss that a format understands decides, so that the answer is the same for a log that
    is being written and for the finished one.

    Args:
        head: The beginning of the log; only the first HEAD_BYTES are looked at.
        final: Nothing will follow.

    Returns:
        A new reader, to be fed `head` again, or None while nothing can be told. After HEAD_BYTES without an answer it is
        the one that finds most numbers; with `final` None says that there are none.
    """
    for format_ in FORMATS:
        if format_.claims(head):
            return format_()
    decided = final or len(head) >= HEAD_BYTES
    head = head[:HEAD_BYTES]
    if (first := _first_to_understand(head, _line_ends(head))) is not None:
        return first()
    if not decided:
        return None
    numbers = [len(format_().feed(head, final=final)[0]) for format_ in FORMATS]
    if any(numbers):
        return FORMATS[numbers.index(max(numbers))]()
    return None if final else Text()


def _line_ends(head: bytes) -> list[int]:
    """Offsets behind the lines of `head`."""
    ends = []
    at = 0
    for line in head.splitlines(keepends=True):
        at += len(line)
        ends.append(at)
    if ends and not head.endswith((b"\n", b"\r")):
        ends.pop()
    return ends


def _first_to_understand(head: bytes, ends: list[int]) -> type[Format] | None:
    """The format that needs the fewest lines of `head`; of several the first in the table."""

    def understands(format_: type[Format], lines: int) -> bool:
        return _evidence(format_().feed(head[: ends[lines - 1]])[0]) >= format_.evidence

    def lines_needed(format_: type[Format]) -> int:
        low, high = too_few, enough
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (low, middle) if understands(format_, middle) else (middle, high)
        return high

    too_few, enough = 0, 1
    while too_few < len(ends):
        enough = min(enough, len(ends))
        candidates = [format_ for format_ in FORMATS if not format_.whole and understands(format_, enough)]
        if candidates:
            return min(candidates, key=lines_needed)
        too_few, enough = enough, 2 * enough
    return None


def _evidence(batch: Batch) -> int:
    """Number of records, where they have a step, an epoch or a loss."""
    has_place = batch.axis != "record"
    has_loss = any(role(name) in ("train_loss", "val_loss") for name in batch.columns)
    return batch.rows if has_place or has_loss else 0
