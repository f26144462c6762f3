"""Explanation of the samples that a log gives, or of their absence: line by line, in words.

An explanation is a loop over the same `LogReader` as every other reading, so that it cannot disagree with what `run` and
`read` find. The reader feeds the format one line at a time; the samples that come back tell which lines gave some. The
reasons of the other lines are guessed from the lines alone. Logs that are not made of lines (records, documents, databases)
are read in blocks.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from lrwatch.core.names import primary
from lrwatch.core.sample import Axis, Batch
from lrwatch.explain import hints
from lrwatch.explain.tally import NO_HISTORY, NO_SCALAR, FoundMetric, Reason, Tally, shown
from lrwatch.formats import FORMATS
from lrwatch.sources.compressed import is_compressed
from lrwatch.sources.document_tail import DocumentTail
from lrwatch.sources.reader import LogReader, beginning, must_be_readable

# Lines of a log that are fed one by one, which takes some 0.1 to 0.3 ms each: those at its beginning, where the header and
# the first losses are, and those at its end, where what is wrong now is. All that is in a log of 1 MB.
HEAD_LINES = 8_000
TAIL_LINES = 2_000
# Bytes of a log of records that are read, so that an explanation takes seconds for any log.
MAX_RECORD_BYTES = 4 << 20
# Bytes of the beginning that the other formats are tried on.
_TRIED_BYTES = 1 << 18
# Metrics that a sentence names.
_NAMED = 8


@dataclass(slots=True)
class Explanation:
    """What lrwatch reads in a log, and the reasons.

    Attributes:
        format: Name of the format, or None.
        chosen: Reason for this format, a sentence.
        others: What each of the other formats finds in the beginning, in words.
        unit: What was examined one by one: `line`, `record` or `row` (of a database).
        looked, gave: How many of them were examined, and how many gave samples.
        complete: Whether that was all of the log.
        axis: What steps count.
        metrics: In the order in which they came.
        reasons: Most frequent first.
        notes: What is remarkable although it gave samples, a sentence each.
        watched: The metric that would be watched, or None.
        advice: What to do, or "".
    """

    format: str | None = None
    chosen: str = ""
    others: dict[str, str] = field(default_factory=dict)
    unit: str = "line"
    looked: int = 0
    gave: int = 0
    complete: bool = True
    axis: Axis = "record"
    metrics: list[FoundMetric] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    watched: str | None = None
    advice: str = ""


def explain(path: str | os.PathLike[str], format_name: str = "auto") -> Explanation:
    """Explain a log.

    Args:
        path: The file.
        format_name: Name of its format; `auto` finds it by the content.

    Returns:
        The explanation. Of a long log it covers the beginning and, of lines, the end.

    Raises:
        InputError: The file is missing or cannot be read.
        ConfigError: There is no such format.
    """
    reader = LogReader(Path(path), format_name)
    must_be_readable(path)
    try:
        head = beginning(path)
        reader.find_format(final=True)
        explanation, tally = Explanation(unit=reader.unit), Tally(reader.format)
        explanation.complete = _read(reader, tally, head)
        explanation.format = reader.format
        _conclude(tally, explanation, head)
        if reader.unit == "row":
            explanation.chosen = "the first bytes prove it"
        else:
            explanation.chosen = _choice(reader, tally, head)
            explanation.others = _others(head, explanation.format)
        explanation.notes.extend(_damage(reader, is_compressed_log=is_compressed(path)))
        explanation.advice = reader.tail.problem or explanation.advice
    finally:
        reader.close()
    return explanation


def _read(reader: LogReader, tally: Tally, head: bytes) -> bool:
    """Read a log, or a part of a long one, into `tally`. Return whether that was all."""
    if reader.format is None:
        return _read_foreign_lines(tally, head)
    if reader.unit == "line":
        return _read_lines(reader, tally, b"\n" if b"\n" in head else b"\r")
    if reader.unit == "row":
        while (given := reader.read(final=True)) is not None:
            tally.add_rows(given[0])
        tally.add_row_errors(reader.tail.errors)
        return True
    size = 0
    while size < MAX_RECORD_BYTES and (given := reader.read(final=True)) is not None:
        batch, used = given
        size += used
        tally.add_records(batch)
    tally.end_records(NO_HISTORY if isinstance(reader.tail, DocumentTail) else NO_SCALAR)
    return reader.tail.lag == 0


def _read_lines(reader: LogReader, tally: Tally, line_end: bytes) -> bool:
    """Read the first lines and the last ones. `line_end`: ends the lines that are numbered, as editors number them."""
    number: int | None = 1
    skipped: bytes | None = b""
    for part in (HEAD_LINES, TAIL_LINES):
        if part == TAIL_LINES:
            skipped = reader.skip_to_end(TAIL_LINES)
            number = None if number is None or skipped is None else number + skipped.count(line_end)
        for line, batch in islice(_lines(reader), part):
            tally.add_line(number, line, batch)
            number = None if number is None else number + line.endswith(line_end)
    tally.end_lines()
    return skipped == b"" and reader.tail.lag == 0


def _lines(reader: LogReader) -> Iterator[tuple[bytes, Batch]]:
    """Yield all further lines of a log, with their samples."""
    while True:
        ended = True
        with closing(reader.read_lines(final=True)) as lines:
            for line in lines:
                ended = False
                yield line
        if ended:
            return


def _read_foreign_lines(tally: Tally, data: bytes) -> bool:
    """Count the lines of a log that no format understands; it is shorter than a head."""
    line_end = b"\n" if b"\n" in data else b"\r"
    lines = data.splitlines(keepends=True)
    number = 1
    for i, line in enumerate(lines):
        if i < HEAD_LINES or i >= len(lines) - TAIL_LINES:
            tally.add_line(number, line, None)
        number += line.endswith(line_end)
    tally.end_lines()
    return len(lines) <= HEAD_LINES + TAIL_LINES


def _conclude(tally: Tally, explanation: Explanation, head: bytes) -> None:
    """Put what was found into `explanation`."""
    explanation.looked, explanation.gave, explanation.axis = tally.looked, tally.gave, tally.axis
    explanation.metrics = list(tally.metrics.values())
    explanation.reasons = sorted(tally.reasons.values(), key=lambda reason: -reason.lines)
    explanation.watched = primary(tally.metrics)
    if explanation.watched is not None:
        explanation.notes = tally.lines_without(explanation.watched)
        return
    if hints.NO_NAME in tally.reasons:
        tally.reasons[hints.NO_NAME].hint = tally.name_hint()
    explanation.advice = _advice(explanation, head)


def _choice(reader: LogReader, tally: Tally, head: bytes) -> str:
    """Return the reason for the format, a sentence."""
    format_ = reader.format_type
    if format_ is None:
        return ""
    if format_.claims(head):
        return "the first bytes prove it"
    if not tally.metrics:
        return "nothing in it decided"
    if not tally.evidence:
        return "it finds the most numbers, though none that is clearly a step or a loss"
    line = tally.evidence[min(format_.evidence, len(tally.evidence)) - 1]
    return f"{'a line near the end' if line.number is None else f'line {line.number}'} decided: {shown(line.text)}"


def _damage(reader: LogReader, *, is_compressed_log: bool) -> Iterator[str]:
    if is_compressed_log:
        yield "it is compressed, and was decompressed for this"
        yield from (f"{reason}; what precedes that was read" for reason in reader.tail.errors)


def _others(head: bytes, chosen: str | None) -> dict[str, str]:
    """Return what the other formats find in the beginning, in words."""
    found = {}
    cut = head[: head.rfind(b"\n", 0, _TRIED_BYTES) + 1 or _TRIED_BYTES]
    for format_ in FORMATS:
        if format_.name == chosen or not head:
            continue
        batch, _ = format_().feed(head if format_.whole else cut, final=True)
        errors = [f"{count} x {reason}" for reason, count in Counter(batch.errors).most_common(1)]
        samples = f"{batch.rows} records with {len(batch.columns)} metrics" if len(batch) else "nothing"
        found[format_.name] = ", ".join([samples, *errors])
    return found


def _advice(explanation: Explanation, head: bytes) -> str:
    """Return what to do where there is nothing to watch."""
    names = [metric.name for metric in explanation.metrics if metric.role == "other"][:_NAMED]
    if names:
        several = "one of " if len(names) > 1 else ""
        return f"Nothing looks like a loss. Name what to watch, {several}{', '.join(names)}: --metric NAME."
    if explanation.metrics:
        names = [metric.name for metric in explanation.metrics][:_NAMED]
        return f"It has only {', '.join(names)}, and no loss beside it."
    if not head.strip():
        return "The file is empty, or its writer has not flushed yet. Nothing is wrong with it so far."
    if explanation.format is None and (what := hints.foreign(head)) is not None:
        return f"This is {what[0]}. {what[1]}"
    if not head.strip(b"\0 \r\n"):
        return "It holds zero bytes only: room that its writer has reserved, or a disk that lost what was written."
    if any(reason.text == NO_HISTORY for reason in explanation.reasons):
        return "This document is a configuration or a result. Give the log that was written beside it."
    if explanation.unit != "line":
        return "Nothing was logged in it yet, or its writer has not flushed. Look for another file beside it."
    return (
        "Print a line with a name for each number, such as `step 10 loss 2.5`, or say what one line says with "
        "`lrwatch read FILE --teach`, which writes it as a [watch] pattern into the configuration."
    )
