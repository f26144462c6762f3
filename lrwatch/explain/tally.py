"""Count which lines of a log gave samples, of which metrics, and why the others gave none."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass

from lrwatch.core.names import role
from lrwatch.core.sample import Axis, Batch
from lrwatch.explain import hints

# Lines that may belong to a record that a later line completes.
_HELD = 64
# Characters of a line that are shown.
_SHOWN = 100
# Distinct shapes of lines and metrics that are remembered: a log has tens, noise any number.
_REMEMBERED = 4096

NO_SCALAR = "no scalar in it (its version, a graph, text, an image)"
NO_HISTORY = "no history of a metric in it"
_ZEROS = bytes(ord("0") if 48 <= byte < 58 else byte for byte in range(256))


_OF_RANK = re.compile(r"rank\d+\.")


@dataclass(slots=True)
class Reason:
    """A reason for which lines gave no sample.

    Attributes:
        text: The reason.
        lines: Number of the lines.
        line: Number of the first of them, or None.
        example: The beginning of that line.
        hint: What to do about it, or "".
    """

    text: str
    lines: int
    line: int | None
    example: str
    hint: str = ""


@dataclass(slots=True)
class FoundMetric:
    """One metric of a log.

    Attributes:
        name: Its name.
        role: What it is by that name: train_loss, val_loss, lr, scale, time, step, epoch or other.
        smoothing: raw, window (mean since the last one) or running (mean since the epoch began).
        samples: Number of its samples.
        line: Number of the line that gave the first, or None.
        example: The beginning of that line.
    """

    name: str
    role: str
    smoothing: str
    samples: int
    line: int | None
    example: str


@dataclass(slots=True)
class Line:
    """A line that was fed, and the reason that its format gave for an error in it."""

    number: int | None
    text: bytes
    reason: str


class Tally:
    """Counts of the lines or records of one log.

    Args:
        format_name: Name of the log's format, or None where no format understands it.

    Attributes:
        axis: What steps count.
        looked, gave: Lines or records that were fed, and that gave samples.
        metrics: By name, in the order in which they came.
        reasons: By text: what was wrong with the other lines.
        evidence: The first lines with a step or a loss.
    """

    def __init__(self, format_name: str | None) -> None:
        self._format = format_name
        self._held: deque[Line] = deque()
        self._masks: set[bytes] = set()
        self._names: Counter[str] = Counter()
        self._shapes: dict[frozenset[str], tuple[int, Line]] = {}
        self.axis: Axis = "record"
        self.looked = self.gave = 0
        self.metrics: dict[str, FoundMetric] = {}
        self.reasons: dict[str, Reason] = {}
        self.evidence: list[Line] = []

    # ---- lines ----------------------------------------------------------------------------------------------------

    def add_line(self, number: int | None, line: bytes, batch: Batch | None) -> None:
        """Count the next line.

        Args:
            number: Its number, or None where that is not known.
            line: The line with its end.
            batch: The samples that it completed, or None where no format understands the log.
        """
        text = line.strip(b" \t\r\n\0")
        if not text and b"\0" not in line:
            if batch is not None and len(batch) and self._held:  # it ends the record of the line before
                self._assign(self._held.pop(), batch)
            return
        self.looked += 1
        found = Line(number, line.rstrip(b"\r\n"), "")
        if not text:
            found.reason = hints.BINARY
        if batch is not None and batch.errors:
            found.reason = next(iter(batch.errors))
        self._assign(found, batch)

    def end_lines(self) -> None:
        """Count the lines that were held back, as nothing follows."""
        while self._held:
            self._reject(self._held.popleft())

    def _assign(self, line: Line, batch: Batch | None) -> None:
        """Assign the samples of `batch` to `line`, or to a line before it that names them."""
        self._held.append(line)
        if batch is None or not len(batch):
            if len(self._held) > _HELD:
                self._reject(self._held.popleft())
            return
        self._count(batch, line)
        sources = {
            id(self._source(line, name, float(column.values[0])))
            for name, column in batch.columns.items()
            if len(column.values)
        }
        while self._held:
            held = self._held.popleft()
            if id(held) in sources:
                self._accept(held, batch)
            else:
                self._reject(held)

    def _source(self, line: Line, name: str, value: float) -> Line:
        """Return the line that spells a sample: of the last ones, the one with its name and its value."""
        word = name.rpartition(".")[2].encode()
        named = [held for held in reversed(self._held) if word in held.text and hints.has_number(held.text)]
        return next((held for held in named if hints.spells(held.text, value)), named[0] if named else line)

    def _accept(self, line: Line, batch: Batch) -> None:
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

    def _reject(self, line: Line) -> None:
        self._add_reason(line.reason or self._guess(line.text), line)

    def _guess(self, text: bytes) -> str:
        if text.translate(_ZEROS) in self._masks:
            return hints.REPEATED
        guessed = hints.reason(text)
        return hints.HEADER if guessed == hints.NO_NUMBER and self._format == "csv" else guessed

    # ---- records and rows -----------------------------------------------------------------------------------------

    def add_records(self, batch: Batch) -> None:
        """Count the next records of a binary log or a document."""
        self.looked += max(batch.lines, batch.rows)
        self.gave += batch.rows
        self._count(batch, None)
        self._add_reasons(batch.errors)

    def end_records(self, reason: str) -> None:
        """Count the records without a sample and without an error, under `reason`."""
        silent = self.looked - self.gave - sum(reason.lines for reason in self.reasons.values())
        if silent > 0:
            self._add_reason(reason, None, silent)

    def add_rows(self, batch: Batch) -> None:
        """Count the next rows of a database."""
        self.looked += batch.rows
        self.gave += batch.rows
        self._count(batch, None)
        self.add_row_errors(batch.errors)

    def add_row_errors(self, errors: Mapping[str, int]) -> None:
        """Count rows that could not be used, by reason."""
        self.looked += sum(errors.values())
        self._add_reasons(errors)

    def _add_reasons(self, errors: Mapping[str, int]) -> None:
        for reason, count in errors.items():
            self._add_reason(reason, None, count)

    # ---- both -----------------------------------------------------------------------------------------------------

    def _count(self, batch: Batch, line: Line | None) -> None:
        """Count the samples of `batch`, which `line` completed."""
        self.axis = batch.axis if batch.rows else self.axis
        for name, column in batch.columns.items():
            metric = self.metrics.get(name)
            if metric is None and len(self.metrics) < _REMEMBERED:
                source = self._source(line, name, float(column.values[0])) if line is not None else None
                metric = self.metrics[name] = FoundMetric(
                    name, role(name), batch.smoothing.get(name, "raw"), 0,
                    source.number if source else None, shown(source.text) if source else "",
                )  # fmt: skip
            if metric is not None:
                metric.samples += len(column.values)
                metric.smoothing = batch.smoothing.get(name, metric.smoothing)

    def _add_reason(self, text: str, line: Line | None, count: int = 1) -> None:
        """Count `count` lines, of which `line` is the first, that gave nothing for the reason `text`."""
        reason = self.reasons.get(text)
        if reason is None:
            number, example = (line.number, shown(line.text)) if line is not None else (None, "")
            reason = self.reasons[text] = Reason(text, 0, number, example)
        reason.lines += count
        if line is not None and text == hints.NO_NAME:
            for name in hints.names(line.text):
                if name in self._names or len(self._names) < hints.MAX_NAMES:
                    self._names[name] += 1

    # ---- conclusions ----------------------------------------------------------------------------------------------

    def name_hint(self) -> str:
        """Return a hint that lists unrecognised names and the well-known ones that may be intended."""
        likely = [(name, meant) for name in self._names if (meant := hints.meant(name)) is not None]
        if likely:
            return "did you mean " + ", ".join(f"{meant} by {name!r}" for name, meant in likely[:3]) + "?"
        common = [name for name, _ in self._names.most_common(5)]
        return f"named are {', '.join(map(repr, common))}" if common else ""

    def lines_without(self, metric: str) -> list[str]:
        """Return a sentence for each kind of line that is like those with `metric` but lacks it."""
        sentences = []
        for shape, (count, line) in self._shapes.items():
            if any(_OF_RANK.match(name) for name in shape):  # what another process printed
                continue
            if metric not in shape and shape | {metric} in self._shapes:
                place = "" if line.number is None else f"line {line.number}: "
                lines = "lines are" if count > 1 else "line is"
                sentences.append(
                    f"{count} {lines} like those with {metric!r}, but without it; first: {place}{shown(line.text)}"
                )
        return sentences


def shown(text: bytes) -> str:
    """Return a line as it is shown: decoded, and cut where it is long. Of bytes that are no text only the number is shown."""
    if hints.is_binary(text):
        return f"({len(text)} bytes)"
    line = text[: 8 * _SHOWN].decode("utf-8", "replace").strip()
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
