r"""The format `pattern`, a user's own: regular expressions with named groups, searched in each line.

``step (?P<step>\d+).*?loss=(?P<loss>\S+)`` gives the metric `loss` at its step: groups have the names of metrics. If a
pattern has the two groups `name` and `value`, as in ``(?P<name>\w+)=(?P<value>\S+)``, all its matches in a line count,
and each one names its metric. With several patterns, each is searched in each line. All that they find in a line is one
record, and of two values of one metric the last one counts. A value may have commas of thousands, and a comma or
semicolon behind it. Escape sequences of terminals are removed first; ``\w``, ``\d`` and ``\s`` mean ASCII.

The package `regex` searches, with a time-out: no line can stop the reader, whatever the pattern. ``(a+)+b`` on a
hostile line ends after `TIMEOUT_SECONDS`; a backtracking search without a time-out would take years. `regex` looks at
the clock between scans of the line, so the end may come later for a line over 10,000 characters: 1.6 microseconds per
character was the worst seen. A line that timed out is counted as an error. A pattern that times out again and again is
set aside for the log, and tried again after some lines: it may time out `MAX_TIMEOUTS` times at once, and then once in
`LINES_PER_TIMEOUT` lines (long lines count as several time-outs), so a hostile log costs some 20 microseconds a line.

A search takes 2.4 microseconds on a usual line, of which the time-out is 1.5; a line without a text that each match
needs costs 0.1 (see `required`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from lrwatch.errors import ConfigError
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.lines import ANSI
from lrwatch.formats.linewise import Linewise

# Processor time of one search, of the whole process: a usual search takes a ten-thousandth of it.
TIMEOUT_SECONDS = 0.02
MAX_TIMEOUTS = 10
LINES_PER_TIMEOUT = 1000
# A long line that timed out counts once more per this number of characters.
_CHARACTERS_PER_TIMEOUT = 10_000
# A repeat is unrolled in part when a pattern is compiled: `((a{999}){999}){999}` needs gigabytes.
MAX_REPEATS = 1_000_000
# Patterns that are remembered: each log of a run has a reader of its own, with the same patterns.
_REMEMBERED = 256

NOT_A_NUMBER = "group is not a number"
TIMED_OUT = "pattern timed out"
SET_ASIDE = "pattern set aside after time-outs"

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)

# An escape, a class of characters, a counted repeat, the beginning of a group, or one character.
_TOKEN = re.compile(r"\\.|\[\^?\]?(?:\\.|[^]\\])*\]|\{[\d,]+\}|\((?:\?(?:P?<\w+>|<?[:=!]))?|.", re.DOTALL)
# Syntax that `_TOKEN` does not know: references, named characters, POSIX classes, flags, comments, fuzzy matching.
_ADVANCED = re.compile(r"\\[^dDwWsSbB\W]|\[[^]]*\[:|\((?:\?(?!P?<\w|<?[:=!])|\*)")

_Matches = Callable[[str], Iterable[Any]]


class Pattern(Linewise):
    """The format `pattern`; see `lrwatch.formats.base.Format`.

    Args:
        patterns: Regular expressions, one or more.

    Raises:
        ConfigError: A pattern cannot be compiled or has no named group, or there is none.
    """

    SAVED: ClassVar[tuple[str, ...]] = (*Linewise.SAVED, "_patterns", "_debts")

    name: ClassVar[str] = "pattern"
    evidence: ClassVar[int] = 1

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        self._axis = EpochAxis()
        self._patterns = tuple(patterns)
        self._expressions = [_expression(pattern) for pattern in self._patterns]
        # Lines to read before a pattern has no time-outs left to make good, for each pattern.
        self._debts = [0] * len(self._patterns)
        if not self._expressions:
            raise ConfigError(
                expected="a regular expression", found="none", where="pattern", hint=r"Write loss=(?P<loss>\S+), say."
            )

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        if b"\x1b" in text:
            text = ANSI.sub(b"", text)
        lines = text.decode("utf-8", "replace").split("\n")[:-1]
        columns: list[_MetricValues] = []
        for i, expression in enumerate(self._expressions):
            matches, self._debts[i] = expression.search(lines, self._debts[i], errors)
            columns += expression.values(matches, errors)
        if not columns:
            return 0
        rows = np.unique(np.concatenate([column.lines for column in columns]))
        for name, at, values in columns:
            found.add(name, np.searchsorted(rows, at), values)
        return len(rows)


class _MetricValues(NamedTuple):
    """The values of one metric and the numbers of their lines."""

    name: str
    lines: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class _Expression:
    """A compiled pattern.

    Attributes:
        matches: Returns its matches in a line that count, or raises TimeoutError.
        groups: Name to number of its groups, from 0 on.
        literal: A text without which a line has no match.
    """

    matches: _Matches
    groups: Mapping[str, int]
    literal: str

    def search(
        self, lines: Sequence[str], debt: int, errors: Counter[str]
    ) -> tuple[list[tuple[int, tuple[str | None, ...]]], int]:
        """Search lines, and skip them while there is too much debt.

        Args:
            lines: The lines.
            debt: Lines to read before the pattern has no time-outs left to make good.
            errors: Takes the lines that timed out or were skipped.

        Returns:
            Number of the line and texts of the groups of each match, and the new debt.
        """
        literal, matches = self.literal, self.matches
        found: list[tuple[int, tuple[str | None, ...]]] = []
        for i, line in enumerate(lines):
            if debt:
                debt -= 1
            if literal not in line:
                continue
            if debt >= MAX_TIMEOUTS * LINES_PER_TIMEOUT:
                errors[SET_ASIDE] += 1
                continue
            try:
                found += [(i, match.groups()) for match in matches(line)]
            except TimeoutError:
                errors[TIMED_OUT] += 1
                debt += LINES_PER_TIMEOUT * (1 + len(line) // _CHARACTERS_PER_TIMEOUT)
        return found, debt

    def values(
        self, matches: Sequence[tuple[int, tuple[str | None, ...]]], errors: Counter[str]
    ) -> list[_MetricValues]:
        """Return the metrics in some matches, and count groups that are no numbers as errors."""
        metrics: dict[str, _MetricValues] = {}
        named = _names_itself(self.groups)
        for group_name, group in self.groups.items():
            if named and group_name == "name":
                continue
            for i, texts in matches:
                text = texts[group]
                name = (texts[self.groups["name"]] or "").strip() if named and group_name == "value" else group_name
                if text is None or not name:
                    continue
                value = _value(text)
                if value is None:
                    errors[NOT_A_NUMBER] += 1
                    continue
                metric = metrics.setdefault(name, _MetricValues(name, [], []))
                metric.lines.append(i)
                metric.values.append(value)
        return list(metrics.values())


def _names_itself(groups: Iterable[str]) -> bool:
    return {"name", "value"} <= set(groups)


def _value(text: str) -> float | None:
    """Return the number in a group.

    >>> _value("2.5,"), _value("7,034"), _value("nan;"), _value("1,2")
    (2.5, 7034.0, nan, None)
    """
    value = number(text)
    if value is None:
        text = text.strip().rstrip(",;")
        value = number(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
    return value


# ---- compiling -----------------------------------------------------------------------------------------------------


@lru_cache(_REMEMBERED)
def _expression(pattern: str) -> _Expression:
    import regex

    where = f"pattern {pattern[:80]!r}"
    if "\n" in pattern:
        raise ConfigError(
            expected="one line",
            found=f"{pattern.count(chr(10)) + 1} lines",
            where=where,
            hint="Write several patterns; each is searched in each line.",
        )
    if (repeats := _repeats(pattern)) > MAX_REPEATS:
        raise ConfigError(
            expected=f"at most {MAX_REPEATS} repeats within repeats",
            found=str(repeats),
            where=where,
            hint="Write + or * in the place of a large number in braces.",
        )
    try:
        compiled = regex.compile(pattern, regex.ASCII)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise ConfigError(
            expected="a regular expression",
            found=str(error).partition("\n")[0],
            where=where,
            hint="Mend it; the syntax is that of Python, with the additions of the package regex.",
        ) from error
    if not compiled.groupindex:
        raise ConfigError(
            expected="named groups, which are the metrics",
            found="none",
            where=where,
            hint=r"Write (?P<loss>\S+) where the loss stands.",
        )
    groups = {name: index - 1 for name, index in compiled.groupindex.items()}
    return _Expression(_matches(compiled), groups, required(pattern))


def _matches(compiled: Any) -> _Matches:
    """Return a function that finds the matches in a line that count: the first, or all."""
    search, finditer = compiled.search, compiled.finditer

    def first(line: str) -> Iterable[Any]:
        match = search(line, timeout=TIMEOUT_SECONDS)
        return () if match is None else (match,)

    if _names_itself(compiled.groupindex):
        return lambda line: finditer(line, timeout=TIMEOUT_SECONDS)
    return first


def _repeats(pattern: str) -> int:
    r"""Return the largest product of counted repeats around one part of a pattern.

    >>> _repeats(r"\d{4}-\d{2}"), _repeats(r"((a{3}){10,20}b)*")
    (4, 60)
    """
    inside, last = [1], 1  # of each open group, and of the part before this one
    for part in _TOKEN.findall(pattern):
        if part[0] == "(":
            inside.append(1)
            last = 1
            continue
        if part == ")" and len(inside) > 1:
            last = inside.pop()
        elif part[0] == "{" and len(part) > 1:
            last *= max(int(count) for count in part[1:-1].split(",") if count) if part != "{,}" else 1
        else:
            last = 1
        inside[-1] = max(inside[-1], last)
    return max(inside)


def required(pattern: str) -> str:
    r"""Return the longest text found that each match of a pattern contains; "" if there is none.

    >>> required(r"step\s+(?P<step>\d+).*? loss[:=](?P<loss>\S+)"), required("(?i)loss"), required("loss|acc")
    (' loss', '', '')
    """
    if _ADVANCED.search(pattern):
        return ""
    runs, depth = [""], 0
    for part in _TOKEN.findall(pattern):
        if part == "{" or (part == "|" and not depth):
            return ""
        if part in "?*" or part[0] == "{":
            runs[-1] = runs[-1][:-1]  # the last character may be missing
        depth += (part[0] == "(") - (part == ")")
        if not depth and (part.isalnum() or part in " _=:;,/<>'\"-"):
            runs[-1] += part
        else:
            runs.append("")
    return max(runs, key=len)
