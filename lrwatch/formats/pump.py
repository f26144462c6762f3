"""Whether a regular expression can take long for a short line, found by trying.

An engine that backtracks, as `re` does, needs time that grows with a power of the length of the line where two repeats can
share the same characters (``a*a*b``), and exponentially where a repeat lies in a repeat (``(a+)+b``). Which line does that
is told by the pattern: what its repeats repeat, again and again, behind what leads to them, and then a character that makes
it fail. Such lines are made here, of growing length, and searched. The length grows so slowly that even an exponential
pattern shows itself in one search that takes milliseconds, not years.

This finds what is known to be slow; it is no proof that the rest is fast.
"""

from __future__ import annotations

import gc
import importlib
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

# What one line may cost. A thousand logs with ten lines a second each leave 100 microseconds a line; a hostile one may take
# a hundred times that.
LIMIT_SECONDS = 0.01
# A search that took longer than the limit, but less than this, is repeated: the processor may have been busy.
_SURELY_SECONDS = 100 * LIMIT_SECONDS
# By this part a pumped line grows: an exponential search of 10 ms becomes one of about a second at the worst.
_GROWTH = 5
# Different texts that are tried for one part of a pattern, and characters for one class of them.
_SAMPLES = 6
_CHARACTERS = 4
# Characters that classes are tried on first, so that classes which overlap get the same; the pattern's own come next.
_COMMON = "a0 "
_OTHERS = "A_-.:=!"
# What makes a search fail behind what was repeated: nothing more, or one of these, or what a class of the pattern excludes.
_ENDS = ("", "!", " ", "a")
_ANYTHING = "!"
_EXCLUDED = re.compile(r"\[\^\\?(.)")

_CATEGORIES = {
    f"CATEGORY_{name}": re.compile(text, re.ASCII)
    for name, text in (
        ("DIGIT", r"\d"), ("NOT_DIGIT", r"\D"), ("SPACE", r"\s"), ("NOT_SPACE", r"\S"), ("WORD", r"\w"),
        ("NOT_WORD", r"\W"),
    )
}  # fmt: skip
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")

_parser = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")


class Slow(NamedTuple):
    """A line that takes too long: its length in characters, and the time of one search in seconds."""

    characters: int
    seconds: float


def parsed(pattern: str) -> Any | None:
    """The parsed pattern, or None where the standard library does not understand it or has doubts."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return _parser.parse(pattern, re.ASCII)
        except (re.error, ValueError, OverflowError, RecursionError, Warning):
            return None


def required(tree: Any) -> str:
    r"""The longest text that each match of a parsed pattern contains; "" where none is sure.

    >>> required(parsed(r"step\s+(?P<step>\d+).*? loss[:=](?P<loss>\S+)"))
    ' loss'
    """
    if tree.state.flags & re.IGNORECASE:
        return ""
    return max(_runs(tree), key=len)


def _runs(sequence: Iterable[tuple[Any, Any]]) -> list[str]:
    """The texts that lie in each match, in order."""
    runs = [""]
    for op, argument in sequence:
        if str(op) == "LITERAL":
            runs[-1] += chr(argument)
            continue
        if str(op) == "SUBPATTERN" and not argument[1]:
            runs += _runs(argument[-1])
        runs.append("")
    return runs


def slow(search: Callable[[str], object], pattern: str, tree: Any, longest: int) -> Slow | None:
    """The first line found that takes longer than LIMIT_SECONDS of the processor, or None.

    Args:
        search: What is done with a line.
        pattern: The pattern.
        tree: The same, parsed.
        longest: Characters that a line can have.
    """
    tried: set[int] = set()
    ends = list(dict.fromkeys([*_ENDS, *_EXCLUDED.findall(pattern)[:_CHARACTERS]]))
    for lead, pumped in _Samples(pattern, longest).pumps(tree, ""):
        line = (lead + pumped * (longest // len(pumped) + 1))[:longest]
        for end in ends:
            for length in _lengths(len(lead), longest - len(end)):
                subject = line[:length] + end
                if hash(subject) in tried:
                    continue
                tried.add(hash(subject))
                seconds = _seconds(search, subject)
                if LIMIT_SECONDS < seconds < _SURELY_SECONDS:
                    seconds = min(seconds, _seconds(search, subject))
                if seconds > LIMIT_SECONDS:
                    return Slow(len(subject), seconds)
    return None


def _seconds(search: Callable[[str], object], subject: str) -> float:
    """Processor time of one search, without what else the machine does, or the collector of garbage in this thread."""
    collects = gc.isenabled()
    gc.disable()
    try:
        began = time.thread_time()
        search(subject)
        return time.thread_time() - began
    finally:
        if collects:
            gc.enable()


def _lengths(lead: int, longest: int) -> Iterator[int]:
    """Growing lengths of a line that is pumped from its character number `lead` on."""
    yield from range(1, min(lead, longest))
    beyond = 1
    while lead + beyond < longest:
        yield lead + beyond
        beyond += max(1, beyond // _GROWTH)
    yield longest


class _Samples:
    """Texts that parts of a pattern match, none longer than `longest`, the plainest first."""

    def __init__(self, pattern: str, longest: int) -> None:
        self._alphabet = "".join(dict.fromkeys(_COMMON + pattern + _OTHERS))
        self._longest = longest
        self._groups: dict[int, list[str]] = {}

    def pumps(self, sequence: Iterable[tuple[Any, Any]], lead: str) -> Iterator[tuple[str, str]]:
        """What leads to each repeat, and what may follow many times: what it repeats, all that led to it, or anything else."""
        for op, argument in sequence:
            if str(op) in _REPEATS:
                bodies = [text for text in self._sequence(argument[2]) if text]
                for text in bodies:
                    yield lead, text
                if lead:
                    yield lead, (lead + (bodies or [""])[0])[: self._longest]
                too_few = min(max(argument[0] - 1, 0), self._longest)
                yield (lead + min(bodies or [""], key=len) * too_few)[: self._longest], _ANYTHING
            for inner in _inside(str(op), argument):
                yield from self.pumps(inner, lead)
            lead = (lead + self._one(str(op), argument)[0])[: self._longest]
        if lead:
            yield "", lead

    def _sequence(self, sequence: Iterable[tuple[Any, Any]]) -> list[str]:
        texts = [""]
        for op, argument in sequence:
            first, *others = self._one(str(op), argument)
            longer = [text + first for text in texts] + [texts[0] + other for other in others]
            texts = [text[: self._longest] for text in longer[:_SAMPLES]]
        return texts

    def _one(self, op: str, argument: Any) -> list[str]:
        """Texts for one part; never empty, but the text may be."""
        if op == "LITERAL":
            return [chr(argument)]
        if op in ("ANY", "NOT_LITERAL", "IN"):
            return self._characters(op, argument)
        if op in _REPEATS:
            least, _, body = argument
            times = min(max(least, 1), self._longest)
            texts = [text * min(times, self._longest // max(1, len(text)) + 1) for text in self._sequence(body)]
            return texts if least else [texts[0], "", *texts[1:]]
        if op == "GROUPREF":
            return self._groups.get(argument, [""])
        if op == "SUBPATTERN":
            texts = self._groups[argument[0]] = self._sequence(argument[-1])
            return texts
        if op.startswith("ASSERT"):
            return [""]
        texts = [text for inner in _inside(op, argument) for text in self._sequence(inner)]
        return list(dict.fromkeys(texts))[:_SAMPLES] or [""]

    def _characters(self, op: str, argument: Any) -> list[str]:
        if op == "ANY":
            fits = list(self._alphabet)
        elif op == "NOT_LITERAL":
            fits = [character for character in self._alphabet if ord(character) != argument]
        else:
            own = "".join(
                chr(code) for kind, of in argument for code in (of if str(kind) == "RANGE" else (of,))
                if str(kind) in ("LITERAL", "RANGE")
            )  # fmt: skip
            fits = [character for character in dict.fromkeys(self._alphabet + own) if _contains(argument, character)]
        return fits[:_CHARACTERS] or [""]


def _contains(members: Sequence[tuple[Any, Any]], character: str) -> bool:
    """Whether a class of characters has this one."""
    code = ord(character)
    negated = found = False
    for kind, of in members:
        match str(kind):
            case "NEGATE":
                negated = True
            case "LITERAL":
                found |= code == of
            case "RANGE":
                found |= of[0] <= code <= of[1]
            case "CATEGORY":
                found |= str(of) in _CATEGORIES and _CATEGORIES[str(of)].match(character) is not None
    return found != negated


def _inside(op: str, argument: Any) -> list[Any]:
    """The parts of a pattern that a part consists of."""
    if op in _REPEATS:
        return [argument[2]]
    if op == "SUBPATTERN":
        return [argument[-1]]
    if op == "BRANCH":
        return list(argument[1])
    if op.startswith("ASSERT"):
        return [argument[1]]
    if op == "ATOMIC_GROUP":
        return [argument]
    if op == "GROUPREF_EXISTS":
        return [part for part in argument[1:] if part is not None]
    return []
