"""Why a log gives the samples that it gives, or none: line by line, in words.

Any format can be explained, because nothing is asked of it but to be fed: the lines of a sample of the log go to a fresh
reader one at a time, and what comes back tells which of them gave samples. What is wrong with the others is guessed from
the lines alone. Logs that are not made of lines (records, documents) are fed whole.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from lrwatch.core.names import primary
from lrwatch.core.sample import Axis, Batch
from lrwatch.explain import hints
from lrwatch.explain.tally import NO_HISTORY, Account, Metric, Reason
from lrwatch.formats import FORMATS, detect
from lrwatch.formats.base import Format

# Lines of a log that are fed one by one, which takes some 0.1 to 0.3 ms each: those at its beginning, where the header and
# the first losses are, and those at its end, where what is wrong now is. All that is in a log of 1 MB.
HEAD_LINES = 8_000
TAIL_LINES = 2_000
# Bytes of the beginning that the other formats are tried on.
_TRIED_BYTES = 1 << 18
# Metrics that a sentence names.
_NAMED = 8


@dataclass(slots=True)
class Explanation:
    """What lrwatch makes of a log, and why.

    Attributes:
        format: Name of the format, or None.
        chosen: Why this one, a sentence.
        others: What each of the other formats made of the beginning, in words.
        unit: What was looked at one by one: `line`, `record` or `row` (of a database).
        looked, gave: How many of them were looked at, and how many gave samples.
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
    metrics: list[Metric] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    watched: str | None = None
    advice: str = ""


def explain(head: bytes, tail: bytes = b"", *, complete: bool = True, reader: Format | None = None) -> Explanation:
    """Explain a log.

    Args:
        head: Its beginning; all of it where it is a document or of records.
        tail: Its end, from any byte on, where `head` is not all.
        complete: `head` is the whole log.
        reader: A fresh reader of its format, as `detect` gives it; without one the content decides.
    """
    reader = reader or detect(head, final=complete)
    explanation = Explanation(None if reader is None else reader.name, complete=complete)
    account = Account(reader)
    if reader is not None and _is_binary(reader, head):
        explanation.unit = "record"
        account.whole(head, final=complete)
    else:
        lines = _numbered(head)
        if not complete and lines:
            lines.pop()  # it may be torn
        rest = _numbered(tail)[1:] if tail else lines[HEAD_LINES:]
        explanation.complete = complete and len(rest) <= TAIL_LINES
        for number, line in lines[:HEAD_LINES]:
            account.line(number, line)
        for number, line in rest[-TAIL_LINES:]:
            account.line(None if tail else number, line)
        account.end()
    _conclude(account, explanation, head)
    if reader is not None:
        explanation.chosen = account.chosen(reader, head)
    explanation.others = _others(head, explanation.format)
    return explanation


def explain_batches(
    name: str | None, batches: Sequence[Batch], errors: Mapping[str, int], problem: str = ""
) -> Explanation:
    """Explain a log that is not made of bytes in a row, such as a database.

    Args:
        name: Name of its format.
        batches: All that was read.
        errors: Reason to number of rows that could not be used.
        problem: What is wrong with all of it, a sentence.
    """
    explanation = Explanation(name, "the first bytes prove it", unit="row")
    account = Account(None)
    for batch in batches:
        account.count(batch, None)
        account.gave += batch.rows
    for why, count in errors.items():
        account.blame(why, None, count)
    account.looked = account.gave + sum(errors.values())
    _conclude(account, explanation, b"a database")
    explanation.advice = problem or explanation.advice
    return explanation


def _is_binary(reader: Format, head: bytes) -> bool:
    return reader.whole or (reader.claims(head) and b"\0" in head[:64])


def _numbered(data: bytes) -> list[tuple[int, bytes]]:
    """Number and bytes of each line with its end. Line feeds are counted, as editors do, if there are any."""
    end = b"\n" if b"\n" in data else b"\r"
    lines = data.splitlines(keepends=True)
    numbers = accumulate((line.endswith(end) for line in lines), initial=1)
    return list(zip(numbers, lines, strict=False))


def _conclude(account: Account, explanation: Explanation, head: bytes) -> None:
    """Put what was found into `explanation`."""
    explanation.looked, explanation.gave, explanation.axis = account.looked, account.gave, account.axis
    explanation.metrics = list(account.metrics.values())
    explanation.reasons = sorted(account.reasons.values(), key=lambda reason: -reason.lines)
    explanation.watched = primary(account.metrics)
    if explanation.watched is not None:
        explanation.notes = account.without(explanation.watched)
        return
    if hints.NO_NAME in account.reasons:
        account.reasons[hints.NO_NAME].hint = account.nearest()
    explanation.advice = _advice(explanation, head)


def _others(head: bytes, chosen: str | None) -> dict[str, str]:
    """What the formats that were not chosen make of the beginning."""
    said = {}
    cut = head[: head.rfind(b"\n", 0, _TRIED_BYTES) + 1 or _TRIED_BYTES]
    for format_ in FORMATS:
        if format_.name == chosen or not head:
            continue
        batch, _ = format_().feed(head if format_.whole else cut, final=True)
        errors = [f"{count} x {why}" for why, count in Counter(batch.errors).most_common(1)]
        found = f"{batch.rows} records with {len(batch.columns)} metrics" if len(batch) else "nothing"
        said[format_.name] = ", ".join([found, *errors])
    return said


def _advice(explanation: Explanation, head: bytes) -> str:
    """What to do where there is nothing to watch."""
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
        "Print a line with a name for each number, such as `step 10 loss 2.5`, or say where the numbers are with a pattern "
        "in the configuration: [watch] pattern = '...'."
    )
