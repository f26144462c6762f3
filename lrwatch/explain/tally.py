"""The account of a log that is fed line by line: which lines gave samples, of which metrics, and why others gave none."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from lrwatch.core.names import role
from lrwatch.core.sample import Axis, Batch
from lrwatch.explain import hints
from lrwatch.formats import HEAD_BYTES
from lrwatch.formats.base import Format
from lrwatch.formats.lines import MAX_LINE_BYTES

# Lines that may belong to a record that a later line completes.
_HELD = 64
# Characters of a line that are shown.
_SHOWN = 100
# Distinct shapes of lines and metrics that are remembered: a log has tens, noise any number.
_REMEMBERED = 4096
# Bytes of records that are fed at once.
_PIECE_BYTES = 1 << 20

_NO_SCALAR = "no scalar in it (its version, a graph, text, an image)"
NO_HISTORY = "no history of a metric in it"
_HALF_WRITTEN = "half written: not a complete document yet"
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
class Line:
    """A line that was fed, and what its format said is wrong with it."""

    number: int | None
    text: bytes
    why: str


class Account:
    """Feeds lines one by one, and keeps account of what came of them.

    Args:
        reader: A fresh reader, or None where no format understands the log.

    Attributes:
        axis: What steps count.
        looked, gave: How many lines or records were fed, and how many gave samples.
        metrics: By name, in the order in which they came.
        reasons: By text: what was wrong with the others.
    """

    def __init__(self, reader: Format | None) -> None:
        self._reader = reader
        self._pending = b""
        self._held: deque[Line] = deque()
        self._masks: set[bytes] = set()
        self._names: Counter[str] = Counter()
        self._shapes: dict[frozenset[str], tuple[int, Line]] = {}
        self.axis: Axis = "record"
        self.looked = self.gave = 0
        self.metrics: dict[str, Metric] = {}
        self.reasons: dict[str, Reason] = {}
        self.evidence: list[Line] = []

    def line(self, number: int | None, line: bytes) -> None:
        """Feed the next line, with its end."""
        text = line.strip(b" \t\r\n\0")
        if not text and b"\0" not in line:
            self._feed(line)
            return
        self.looked += 1
        found = Line(number, line.rstrip(b"\r\n"), "")
        if not text:
            found.why = hints.BINARY
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

    def _take(self, line: Line, batch: Batch | None) -> None:
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

    def _source(self, line: Line, name: str) -> Line:
        word = name.rpartition(".")[2].encode()
        for held in reversed(self._held):
            if word in held.text and hints.has_number(held.text):
                return held
        return line

    def count(self, batch: Batch, line: Line | None) -> None:
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

    def _credit(self, line: Line, batch: Batch) -> None:
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

    def _blame(self, line: Line) -> None:
        self.blame(line.why or self._guess(line.text), line)

    def blame(self, why: str, line: Line | None, count: int = 1) -> None:
        """`count` lines, of which `line` is the first, gave nothing because of `why`."""
        known = self.reasons.get(why)
        if known is None:
            number, example = (line.number, _shown(line.text)) if line is not None else (None, "")
            known = self.reasons[why] = Reason(why, 0, number, example)
        known.lines += count
        if line is not None and why == hints.NO_NAME:
            for name in hints.names(line.text):
                if name in self._names or len(self._names) < hints.MAX_NAMES:
                    self._names[name] += 1

    def _guess(self, text: bytes) -> str:
        if text.translate(_ZEROS) in self._masks:
            return hints.REPEATED
        why = hints.reason(text)
        is_table = self._reader is not None and self._reader.name == "csv"
        return hints.HEADER if why == hints.NO_NUMBER and is_table else why

    def chosen(self, reader: Format, head: bytes) -> str:
        """Why `reader` was chosen."""
        if reader.claims(head[:HEAD_BYTES]):
            return "the first bytes prove it"
        if not self.metrics:
            return "nothing in it decided"
        if not self.evidence:
            return "it finds the most numbers, though none that is surely a step or a loss"
        line = self.evidence[min(reader.evidence, len(self.evidence)) - 1]
        return f"{'a line near the end' if line.number is None else f'line {line.number}'} decided: {_shown(line.text)}"

    def whole(self, data: bytes, *, final: bool) -> None:
        """Feed all of a log that is not made of lines."""
        assert self._reader is not None
        piece = len(data) if self._reader.whole else _PIECE_BYTES
        at, end = 0, 0
        while end < len(data):
            end = min(end + piece, len(data))
            batch, used = self._reader.feed(data[at:end], final=final and end == len(data))
            self.count(batch, None)
            self.looked += max(batch.lines, batch.rows)
            self.gave += batch.rows
            for why, count in batch.errors.items():
                self.blame(why, None, count)
            at += used
        if at < len(data) and self._reader.whole:
            self.looked += 1
            self.blame(_HALF_WRITTEN, None)
        silent = self.looked - self.gave - sum(reason.lines for reason in self.reasons.values())
        if silent > 0:
            self.blame(NO_HISTORY if self._reader.whole else _NO_SCALAR, None, silent)

    def nearest(self) -> str:
        """What the numbers are called whose names say nothing, and which well-known names may be meant."""
        likely = [(name, meant) for name in self._names if (meant := hints.meant(name)) is not None]
        if likely:
            return "did you mean " + ", ".join(f"{meant} by {name!r}" for name, meant in likely[:3]) + "?"
        common = [name for name, _ in self._names.most_common(5)]
        return f"named are {', '.join(map(repr, common))}" if common else ""

    def without(self, metric: str) -> list[str]:
        """Of lines that are like those with `metric` but do not have it: how many, and the first, a sentence each."""
        said = []
        for shape, (count, line) in self._shapes.items():
            if metric not in shape and shape | {metric} in self._shapes:
                place = "" if line.number is None else f"line {line.number}: "
                lines = "lines are" if count > 1 else "line is"
                said.append(
                    f"{count} {lines} like those with {metric!r}, but without it; first: {place}{_shown(line.text)}"
                )
        return said


def _shown(text: bytes) -> str:
    line = text[: 8 * _SHOWN].decode("utf-8", "replace").strip()
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
