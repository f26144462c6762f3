r"""A user's own pattern: regular expressions with named groups, searched in each line.

``step (?P<step>\d+).*?loss=(?P<loss>\S+)`` gives the metric `loss` at its step: groups are called as metrics are. Where a
pattern has the two groups `name` and `value`, as in ``(?P<name>\w+)=(?P<value>\S+)``, all its matches in a line count, and
each is the metric that it names itself. Of several patterns each is tried on each line; what all of them find in a line is
one record, and of two values of one metric the last one counts. A value may have commas of thousands, and a comma or
semicolon behind it. Escape sequences of terminals are taken out first; ``\w``, ``\d`` and ``\s`` mean ASCII.

A line must not be able to stop the reader, whatever is in it. `google-re2` (the extra `regex`) searches in linear time and
is used where it is installed and knows the syntax; lookarounds and backreferences it does not know. Otherwise the standard
library searches. Either way a pattern is refused when it is found to be slow (see `lrwatch.formats.pump`), and a line that
is longer than a limit is counted and not searched.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from lrwatch.errors import ConfigError
from lrwatch.formats.base import number
from lrwatch.formats.columns import Columns
from lrwatch.formats.epochs import EpochAxis
from lrwatch.formats.lines import ANSI, Lines
from lrwatch.formats.linewise import Linewise
from lrwatch.formats.pump import parsed, required, slow

if TYPE_CHECKING:
    from typing_extensions import Self

# Characters of a line that is searched. A search that backtracks may take the square of it, as ordinary patterns do on a
# hostile line, which was seen to take 2 ms here and 10 ms for twice the length.
MAX_BACKTRACKED = 512
# With re2 a search is linear, but some 100 ns a byte where its tables do not suffice.
MAX_LINEAR = 8192
# Longer patterns are generated, not written, and would take long to be tried.
MAX_PATTERN = 2000
# A large pattern is a large machine, and each byte goes through all of it. A megabyte holds some ten thousand states.
_RE2_BYTES = 1 << 20
# Patterns that are remembered: each log of a run has a reader of its own, of the same patterns.
_REMEMBERED = 256

TOO_LONG = "line too long to be searched"
NOT_A_NUMBER = "group is not a number"

_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d*)?", re.ASCII)

_GROUP = re.compile(r"\(\?P?<(\w+)>")

_Matches = Callable[[str], Iterable[Any]]


class Pattern(Linewise):
    """The format `pattern`.

    Args:
        patterns: Regular expressions, one or more.

    Raises:
        ConfigError: One of them cannot be used: it does not compile, has no named group, or is slow.
    """

    name: ClassVar[str] = "pattern"
    evidence: ClassVar[int] = 1

    def __init__(self, patterns: Sequence[str]) -> None:
        super().__init__()
        self._axis = EpochAxis()
        self._patterns = tuple(patterns)
        self._expressions = [_expression(pattern) for pattern in self._patterns]
        if not self._expressions:
            raise ConfigError(
                expected="a regular expression", found="none", where="pattern", hint=r"Write loss=(?P<loss>\S+), say."
            )
        self._longest = min(expression.longest for expression in self._expressions)

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {**super().state(), "patterns": list(self._patterns)}

    @classmethod
    def restore(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        restored = cls(state["patterns"])
        restored._lines = Lines(state["skipping"])
        restored._axis = EpochAxis(**state["axis"])
        return restored

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        if b"\x1b" in text:
            text = ANSI.sub(b"", text)
        lines = text.decode("utf-8", "replace").split("\n")[:-1]
        short = [(i, line) for i, line in enumerate(lines) if len(line) <= self._longest]
        if len(short) < len(lines):
            errors[TOO_LONG] += len(lines) - len(short)
        columns = [column for expression in self._expressions for column in expression.read(short, errors)]
        if not columns:
            return 0
        rows = np.unique(np.concatenate([at for _, at, _ in columns]))
        for name, at, values in columns:
            found.add(name, np.searchsorted(rows, at), values)
        return len(rows)


@dataclass(frozen=True, slots=True)
class _Expression:
    """A compiled pattern.

    Attributes:
        matches: Its matches in a line that count.
        groups: Name to number of its groups, beginning at 0.
        literal: A text without which a line has no match.
        longest: Characters of a line that may be searched.
    """

    matches: _Matches
    groups: Mapping[str, int]
    literal: str
    longest: int

    def read(self, lines: Iterable[tuple[int, str]], errors: Counter[str]) -> list[tuple[str, list[int], list[float]]]:
        """The metrics in numbered lines: name, numbers of the lines, and values, each."""
        literal, matches = self.literal, self.matches
        found = [(i, match.groups()) for i, line in lines if literal in line for match in matches(line)]
        metrics: dict[str, tuple[list[int], list[float]]] = {}
        named = _names_itself(self.groups)
        for name, group in self.groups.items():
            if named and name == "name":
                continue
            for i, texts in found:
                text = texts[group]
                called = _text(texts[self.groups["name"]] or "").strip() if named and name == "value" else name
                if text is None or not called:
                    continue
                value = _value(_text(text))
                if value is None:
                    errors[NOT_A_NUMBER] += 1
                    continue
                at, values = metrics.setdefault(called, ([], []))
                at.append(i)
                values.append(value)
        return [(name, at, values) for name, (at, values) in metrics.items()]


def _names_itself(groups: Iterable[str]) -> bool:
    return {"name", "value"} <= set(groups)


def _text(group: str | bytes) -> str:
    return group if isinstance(group, str) else group.decode()


def _value(text: str) -> float | None:
    """The number in a group.

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
    where = f"pattern {pattern[:80]!r}"
    if len(pattern) > MAX_PATTERN or "\n" in pattern:
        raise ConfigError(
            expected=f"one line of at most {MAX_PATTERN} characters",
            found=f"{len(pattern)} characters" + " in several lines" * ("\n" in pattern),
            where=where,
            hint="Write several patterns; each is tried on each line.",
        )
    re2 = _re2()
    linear = None if re2 is None else _compiled_by_re2(re2, pattern)
    compiled = linear or _compiled(pattern, where, known=re2 is not None)
    if not compiled.groupindex:
        raise ConfigError(
            expected="named groups, which are the metrics",
            found="none",
            where=where,
            hint=r"Write (?P<loss>\S+) where the loss stands.",
        )
    every = _names_itself(compiled.groupindex)
    # All matches of a line together can take the square of its length although each of them is found in linear time.
    longest = MAX_LINEAR if linear and not every else MAX_BACKTRACKED
    matches = _matches(compiled, every=every, encoded=linear is not None)
    tree = parsed(pattern)
    too_slow = None if tree is None else slow(lambda line: list(matches(line)), pattern, tree, longest)
    if too_slow is not None:
        raise ConfigError(
            expected=f"a pattern that is fast for each line of up to {longest} characters",
            found=f"one that can take {1000 * too_slow.seconds:.0f} ms for a line of {too_slow.characters} characters",
            where=where,
            hint=("Install lrwatch[regex], or write it" if re2 is None else "Write it")
            + r" without a repeat within a repeat, and with [^,]* or \s* in the place of .* where that will do.",
        )
    groups = {name: index - 1 for name, index in compiled.groupindex.items()}
    return _Expression(matches, groups, "" if tree is None else required(tree), longest)


def _re2() -> Any | None:
    """The module, if it is installed."""
    try:
        import re2  # type: ignore[import-untyped]
    except ImportError:
        return None
    return re2


def _compiled_by_re2(re2: Any, pattern: str) -> Any | None:
    """The pattern, if re2 knows its syntax."""
    names = _GROUP.findall(pattern)
    if len(set(names)) < len(names):  # it would drop all but the first; the standard library says what is wrong
        return None
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _RE2_BYTES
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeEncodeError):
        return None


def _compiled(pattern: str, where: str, *, known: bool) -> re.Pattern[str]:
    """The pattern, compiled by the standard library. `known` means that re2 has refused it already."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # what is doubtful to it means something else to re2
        try:
            return re.compile(pattern, re.ASCII)
        except (re.error, ValueError, OverflowError, RecursionError, Warning) as error:
            raise ConfigError(
                expected="a regular expression",
                found=str(error).partition("\n")[0],
                where=where,
                hint="Mend it." if known else "Mend it, or install lrwatch[regex] if it is of the syntax of RE2.",
            ) from error


def _matches(compiled: Any, *, every: bool, encoded: bool) -> _Matches:
    """The matches in a line that count: the first, or every one."""
    search, finditer = compiled.search, compiled.finditer

    def first(line: str) -> Iterable[Any]:
        match = search(line.encode() if encoded else line)
        return () if match is None else (match,)

    return (lambda line: finditer(line.encode() if encoded else line)) if every else first
