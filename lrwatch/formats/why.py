"""Why a log gives the samples that it gives, or none: line by line, in words.

Any format can be explained, because nothing is asked of it but to be fed: the lines of a sample of the log go to a fresh
reader one at a time, and what comes back tells which of them gave samples. What is wrong with the others is guessed from
the lines alone. Logs that are not made of lines (records, documents) are fed whole.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from lrwatch.core.names import primary, role
from lrwatch.core.sample import Axis, Batch
from lrwatch.formats import FORMATS, HEAD_BYTES, clues, detect
from lrwatch.formats.base import Format
from lrwatch.formats.lines import MAX_LINE_BYTES

# Lines of a log that are fed one by one, which takes some 0.1 to 0.3 ms each: those at its beginning, where the header and the first
# losses are, and those at its end, where what is wrong now is. All that is in a log of 1 MB.
HEAD_LINES = 8_000
TAIL_LINES = 2_000
# Lines that may belong to a record that a later line completes.
_HELD = 64
# Characters of a line that are shown.
_SHOWN = 100
# Bytes of the beginning that the other formats are tried on.
_TRIED_BYTES = 1 << 18
# Distinct shapes of lines, metrics and reasons that are remembered: a log has tens, noise any number.
_REMEMBERED = 4096

_ZEROS = bytes(ord("0") if 48 <= byte < 58 else byte for byte in range(256))


@dataclass(slots=True)
class Reason:
    """What several lines have in common that gave nothing: the reason, how many they are, and the first of them."""

    text: str
    lines: int
    line: int | None
    example: str
    hint: str = ""


@dataclass(slots=True)
class Metric:
    """One metric: its name, what it is by that name, how it was smoothed, its samples and where the first came from."""

    name: str
    role: str
    smoothing: str
    samples: int
    line: int | None
    example: str


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
        reader: A fresh reader; without one the content decides.
    """
    given = reader is not None
    reader = reader or detect(head, final=complete)
    explanation = Explanation(None if reader is None else reader.name, complete=complete)
    walk = _Walk(reader)
    if reader is not None and _is_binary(reader, head):
        explanation.unit = "record"
        _feed_whole(walk, head, final=complete)
    else:
        lines = _numbered(head)
        if not complete and lines:
            lines.pop()  # it may be torn
        rest = _numbered(tail)[1:] if tail else lines[HEAD_LINES:]
        explanation.complete = complete and len(rest) <= TAIL_LINES
        for number, line in lines[:HEAD_LINES]:
            walk.line(number, line)
        for number, line in rest[-TAIL_LINES:]:
            walk.line(None if tail else number, line)
        walk.end()
    walk.result(explanation)
    if reader is not None:
        explanation.chosen = "it was named" if given else walk.chosen(reader, head)
    explanation.others = _others(head, explanation.format)
    _advise(explanation, head)
    return explanation


def explain_batches(name: str | None, batches: Sequence[Batch], errors: Mapping[str, int]) -> Explanation:
    """Explain a log that is not made of bytes in a row, such as a database.

    Args:
        name: Name of its format.
        batches: All that was read.
        errors: Reason to number of rows that could not be used.
    """
    explanation = Explanation(name, "the first bytes prove it", unit="row")
    walk = _Walk(None)
    for batch in batches:
        walk.count(batch, None)
        walk.gave += batch.rows
    for why, count in errors.items():
        walk.blame(why, None, count)
    walk.looked = walk.gave + sum(errors.values())
    walk.result(explanation)
    _advise(explanation, b"a database")
    return explanation


def _is_binary(reader: Format, head: bytes) -> bool:
    return reader.whole or (reader.claims(head) and b"\0" in head[:64])


def _numbered(data: bytes) -> list[tuple[int, bytes]]:
    """Number and bytes of each line with its end. Line feeds are counted, as editors do, if there are any."""
    end = b"\n" if b"\n" in data else b"\r"
    lines = data.splitlines(keepends=True)
    numbers = accumulate((line.endswith(end) for line in lines), initial=1)
    return list(zip(numbers, lines, strict=False))


@dataclass(slots=True)
class _Line:
    number: int | None
    text: bytes
    why: str


class _Walk:
    """Feeds lines one by one, and keeps account of what came of them."""

    def __init__(self, reader: Format | None) -> None:
        self._reader = reader
        self._pending = b""
        self._held: deque[_Line] = deque()
        self._masks: set[bytes] = set()
        self._names: Counter[str] = Counter()
        self._shapes: dict[frozenset[str], tuple[int, _Line | None]] = {}
        self.axis: Axis = "record"
        self.looked = self.gave = 0
        self.metrics: dict[str, Metric] = {}
        self.reasons: dict[str, Reason] = {}
        self.evidence: list[_Line] = []

    def line(self, number: int | None, line: bytes) -> None:
        """Feed the next line, with its end."""
        text = line.strip(b" \t\r\n\0")
        if not text and b"\0" not in line:
            self._feed(line)
            return
        self.looked += 1
        found = _Line(number, line.rstrip(b"\r\n"), "")
        if not text:
            found.why = clues.BINARY
        batch = self._feed(line)
        if batch is not None and batch.errors:
            found.why = next(iter(batch.errors))
        self._take(found, batch)

    def end(self) -> None:
        """Nothing follows."""
        if self._reader is not None:
            batch, _ = self._reader.feed(self._pending, final=True)
            if self._held:
                self._take(self._held.pop(), batch)
        while self._held:
            self._blame(self._held.popleft())

    def _feed(self, line: bytes) -> Batch | None:
        if self._reader is None:
            return None
        self._pending = (self._pending + line)[-2 * MAX_LINE_BYTES :]
        batch, used = self._reader.feed(self._pending)
        self._pending = self._pending[used:]
        return batch

    def _take(self, line: _Line, batch: Batch | None) -> None:
        """Credit the samples of `batch` to `line`, or to a line before it that names them."""
        self._held.append(line)
        if batch is None or not len(batch):
            if len(self._held) > _HELD:
                self._blame(self._held.popleft())
            return
        self.count(batch, line)
        credited = {id(self._source(line, name)) for name in batch.columns}
        while self._held:
            held = self._held.popleft()
            if id(held) in credited:
                self._credit(held, batch)
            else:
                self._blame(held)

    def _source(self, line: _Line, name: str) -> _Line:
        word = name.rpartition(".")[2].encode()
        for held in reversed(self._held):
            if word in held.text and clues.has_number(held.text):
                return held
        return line

    def count(self, batch: Batch, line: _Line | None) -> None:
        """Account for the samples of `batch`, which `line` brought."""
        self.axis = batch.axis if batch.rows else self.axis
        for name, column in batch.columns.items():
            metric = self.metrics.get(name)
            if metric is None and len(self.metrics) < _REMEMBERED:
                source = self._source(line, name) if line is not None else None
                metric = self.metrics[name] = Metric(
                    name, role(name), batch.smoothing.get(name, "raw"), 0,
                    source.number if source else None, _shown(source.text) if source else "",
                )  # fmt: skip
            if metric is not None:
                metric.samples += len(column.values)
                metric.smoothing = batch.smoothing.get(name, metric.smoothing)

    def _credit(self, line: _Line, batch: Batch) -> None:
        self.gave += 1
        if len(self._masks) < _REMEMBERED:
            self._masks.add(line.text.translate(_ZEROS))
        has_loss = any(role(name) in ("train_loss", "val_loss") for name in batch.columns)
        if len(self.evidence) < 2 and (has_loss or batch.axis != "record"):
            self.evidence.append(line)
        shape = frozenset(batch.columns)
        if shape in self._shapes or len(self._shapes) < _REMEMBERED:
            count, first = self._shapes.get(shape, (0, line))
            self._shapes[shape] = (count + 1, first)

    def _blame(self, line: _Line) -> None:
        self.blame(line.why or self._guess(line.text), line)

    def blame(self, why: str, line: _Line | None, count: int = 1) -> None:
        """`count` lines, of which `line` is the first, gave nothing because of `why`."""
        known = self.reasons.get(why)
        if known is None:
            number, example = (line.number, _shown(line.text)) if line is not None else (None, "")
            known = self.reasons[why] = Reason(why, 0, number, example)
        known.lines += count
        if line is not None and why == clues.NO_NAME:
            for name in clues.names(line.text):
                if name in self._names or len(self._names) < clues.MAX_NAMES:
                    self._names[name] += 1

    def _guess(self, text: bytes) -> str:
        if text.translate(_ZEROS) in self._masks:
            return clues.REPEATED
        why = clues.reason(text)
        is_table = self._reader is not None and self._reader.name == "csv"
        return clues.HEADER if why == clues.NO_NUMBER and is_table else why

    def chosen(self, reader: Format, head: bytes) -> str:
        """Why `reader` was chosen."""
        if reader.claims(head[:HEAD_BYTES]):
            return "the first bytes prove it"
        if not self.evidence:
            return "it finds the most numbers, though none that is surely a step or a loss"
        line = self.evidence[min(reader.evidence, len(self.evidence)) - 1]
        return f"{'a line near the end' if line.number is None else f'line {line.number}'} decided: {_shown(line.text)}"

    def result(self, explanation: Explanation) -> None:
        """Put what was found into `explanation`."""
        explanation.looked, explanation.gave, explanation.axis = self.looked, self.gave, self.axis
        explanation.metrics = list(self.metrics.values())
        explanation.reasons = sorted(self.reasons.values(), key=lambda reason: -reason.lines)
        explanation.watched = primary(self.metrics)
        if clues.NO_NAME in self.reasons:
            self.reasons[clues.NO_NAME].hint = _nearest(self._names)
        watched = explanation.watched
        for shape, (count, line) in self._shapes.items():
            if watched is not None and watched not in shape and shape | {watched} in self._shapes and line is not None:
                explanation.notes.append(
                    f"{count} {'lines are' if count > 1 else 'line is'} like those with {watched!r}, but without it; first: "
                    + (f"line {line.number}: " if line.number else "")
                    + _shown(line.text)
                )


def _feed_whole(walk: _Walk, data: bytes, *, final: bool) -> None:
    reader = walk._reader
    assert reader is not None
    at = 0
    while True:
        batch, used = reader.feed(data[at:], final=final)
        walk.count(batch, None)
        walk.looked += max(batch.lines, batch.rows)
        walk.gave += batch.rows
        for why, count in batch.errors.items():
            walk.blame(why, None, count)
        at += used
        if used == 0 or at >= len(data):
            break
    if at < len(data) and reader.whole:
        walk.blame("half written: not a complete document yet", None)
    silent = walk.looked - walk.gave - sum(reason.lines for reason in walk.reasons.values())
    if silent > 0:
        walk.blame("no scalar in it (its version, a graph, text, an image)", None, silent)


def _shown(text: bytes) -> str:
    line = text[: 8 * _SHOWN].decode("utf-8", "replace").strip()
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _nearest(names: Counter[str]) -> str:
    common = [name for name, _ in names.most_common(5)]
    likely = [(name, meant) for name in names if (meant := clues.meant(name)) is not None]
    if likely:
        return "did you mean " + ", ".join(f"{meant} by {name!r}" for name, meant in likely[:3]) + "?"
    return f"named are {', '.join(map(repr, common))}" if common else ""


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


def _advise(explanation: Explanation, head: bytes) -> None:
    """Say what to do where there is nothing to watch."""
    if explanation.watched is not None:
        return
    names = [metric.name for metric in explanation.metrics if metric.role == "other"]
    pattern = "or say where the numbers are with a pattern in the configuration: [watch] pattern = '...'"
    if names:
        several = "one of " if len(names) > 1 else ""
        explanation.advice = (
            f"Nothing looks like a loss. Name what to watch, {several}{', '.join(names[:8])}: --metric NAME."
        )
    elif not head.strip():
        explanation.advice = "The file is empty, or its writer has not flushed yet. Nothing is wrong with it so far."
    elif (what := clues.foreign(head)) is not None and explanation.format is None:
        explanation.advice = f"This is {what[0]}. {what[1]}"
    elif not head.strip(b"\0 \r\n"):
        explanation.advice = (
            "It holds zero bytes only: room that its writer has reserved, or a disk that lost what was written."
        )
    elif explanation.unit != "line" and not explanation.metrics:
        explanation.advice = (
            "Nothing was logged in it yet, or its writer has not flushed. Look for another file beside it."
        )
    elif explanation.metrics:
        explanation.advice = (
            f"It has only {', '.join(metric.name for metric in explanation.metrics[:8])}, and no loss beside it."
        )
    else:
        explanation.advice = f"Print a line with a name for each number, such as `step 10 loss 2.5`, {pattern}."
