r"""A pattern from one line whose numbers somebody names: what `lrwatch read --teach` writes into a configuration.

The named values are found in the line, and everything else in it is made general: other numbers become any number, blanks
any blanks, words stay. Of three patterns, from strict to loose, the strictest is taken that finds about what the others
find: the loose one would take `val loss` for `loss`, and the strict one misses lines with another word in front.

>>> line = "<12> val ~2.31~ rate 3e-4"
>>> strict(line, locate(line, {"step": "12", "loss": "2.31"}))
'^<(?P<step>\\d+)>\\s+val\\s+~(?P<loss>[^~\\s]+)'
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from lrwatch.core.names import role
from lrwatch.errors import InputError
from lrwatch.explain import hints
from lrwatch.formats.base import number
from lrwatch.formats.lines import ANSI, MAX_LINE_BYTES
from lrwatch.formats.pattern import Pattern
from lrwatch.sources.compressed import open_log

NAMES = {"step": "step", "loss": "loss", "lr": "learning rate"}
"""Groups of a taught pattern, with what people call them."""

# Bytes of the beginning in which the line is looked for, and in which patterns are compared.
MAX_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
# A longer line is no record that somebody reads.
_MAX_CHARACTERS = 4000
# Kinds of lines that are shown, and numbers of a line that a message names.
_KINDS = 8
_NUMBERS_SHOWN = 12
# A stricter pattern is taken where it finds this part of what a looser one finds. A validation after each epoch's half and
# a quarter of other lines is common; a line whose words change with each record falls far below.
_ENOUGH = 0.25

_ROLES = {"step": {"step"}, "loss": {"train_loss", "val_loss"}, "lr": {"lr"}}
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+])?(?:(?:\d+(?:\.\d+)?|(?<![\w.])\.\d+)(?:[eE][-+]?\d+)?|(?<![A-Za-z])(?:nan|inf(?:inity)?)(?![A-Za-z]))",
    re.ASCII | re.IGNORECASE,
)
_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,]*\d)", re.ASCII)
_CLOCK = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[:/.]\d\d[:/.]\d\d[.,\d]*|\d\d:\d\d", re.ASCII)
_NAME_BEFORE = re.compile(r"([^\W\d][\w./]*)[^\w]*$")
# The last word before a value with what stands behind it, or the signs alone.
_NEAREST = re.compile(r"(?:[^\W\d]\w*)?\W*$")
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]|()]")
_ANY_NUMBER = r"[-+]?[\d.]+(?:[eE][-+]?\d+)?|[-+]?(?:[nN]a[nN]|inf)"


class NumberedLine(NamedTuple):
    """A line of a log, without the escape sequences of terminals. `number`: as editors count."""

    number: int
    text: str


class Place(NamedTuple):
    """Where a named value stands in a line: characters from `start` up to `end`."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lesson:
    """A pattern, and the line that it was learned from.

    Attributes:
        line: The line.
        pattern: The regular expression.
        found: Lines that it finds in the part of the log that was looked at.
        missed: The first line of each frequent kind with numbers that it does not find.
    """

    line: NumberedLine
    pattern: str
    found: int
    missed: tuple[NumberedLine, ...] = ()


def lines_of(path: str | os.PathLike[str]) -> list[NumberedLine]:
    """Return the lines at the beginning of a log; a bar that was drawn over itself gives several of one number.

    Raises:
        InputError: It holds bytes that are no text.
    """
    lines: list[NumberedLine] = []
    with open_log(path) as file:
        numbered, rest, size = 1, b"", 0
        while size < MAX_BYTES and (data := file.read(_CHUNK_BYTES)):
            size += len(data)
            *complete, rest = (rest + data).split(b"\n")
            for raw in complete:
                lines += _pieces(numbered, raw)
                numbered += 1
            rest = rest[-MAX_LINE_BYTES:]
        lines += _pieces(numbered, rest)
    if lines and hints.is_binary("\n".join(line.text for line in lines[:20]).encode()):
        raise InputError(
            expected="lines of text", found=hints.BINARY, where=os.fspath(path),
            hint="Patterns read text only; `lrwatch read --explain FILE` says what this is.",
        )  # fmt: skip
    return lines


def _pieces(numbered: int, raw: bytes) -> Iterator[NumberedLine]:
    for piece in raw.split(b"\r"):
        if piece.strip() and len(piece) <= _MAX_CHARACTERS:
            yield NumberedLine(numbered, ANSI.sub(b"", piece).decode("utf-8", "replace"))


def kinds(lines: Sequence[NumberedLine]) -> list[NumberedLine]:
    """Return the first line of each of the most frequent kinds that have a number, in the order of the log."""
    first: dict[str, NumberedLine] = {}
    counts: dict[str, int] = {}
    for line in lines:
        if hints.has_number(line.text.encode()):
            kind = _NUMBER.sub("0", line.text)
            first.setdefault(kind, line)
            counts[kind] = counts.get(kind, 0) + 1
    frequent = sorted(first, key=lambda kind: -counts[kind])[:_KINDS]
    return sorted(first[kind] for kind in frequent)


def learn(lines: Sequence[NumberedLine], values: Mapping[str, str], where: str, line: int | None = None) -> Lesson:
    """Derive the pattern from the line that has the values.

    Args:
        lines: The lines of the log.
        values: Texts of the values by group: `loss`, and where the line has them `step` and `lr`.
        where: The log, for messages.
        line: Number of the line; None looks for it.

    Returns:
        The pattern and its line.

    Raises:
        InputError: There is no such line, or a value is not in it or stands there twice.
    """
    candidates = [one for one in lines if line is None or one.number == line]
    if not candidates:
        raise InputError(
            expected=f"line {line} with something in it",
            found=f"none; the last one is {lines[-1].number}" if lines else "an empty log",
            where=where, hint="Lines are counted from 1, as editors do.",
        )  # fmt: skip
    problem: tuple[int, InputError] | None = None
    for one in candidates:
        if line is None and not any(_spelled(one.text, text) for text in values.values()):
            continue
        try:
            places = locate(one.text, values, f"{where}, line {one.number}")
        except _NotThereError as error:
            if problem is None or error.right > problem[0]:
                problem = (error.right, error)
            continue
        return _best(one, places, lines, where)
    if problem is not None:
        raise problem[1]
    wanted = " and ".join(f"{NAMES[name]} {text}" for name, text in values.items())
    raise InputError(
        expected=f"a line with {wanted}", found=f"none of these numbers in {len(lines)} lines", where=where,
        hint="Type the numbers as they stand in one line of the log.",
    )  # fmt: skip


class _NotThereError(InputError):
    """A value is not in a line, or more than once. `right`: the characters of those that are; long ones are rarely chance."""

    right = 0


def locate(line: str, values: Mapping[str, str], where: str = "the line") -> list[Place]:
    """Return the places of the values in a line, in their order.

    Args:
        line: The line.
        values: Texts of the values by group.
        where: The line, for messages.

    Raises:
        InputError: A value is no number, is not in the line, or stands there more than once.
    """
    found: dict[str, list[tuple[int, int]]] = {}
    clocks = [clock.span() for clock in _CLOCK.finditer(line)]
    for name, text in values.items():
        spans = _spans(line, text)
        # Of several the one behind a name that says so, outside of a date, spelled in the same way.
        for likely in (
            [span for span in spans if _role_before(line, span[0]) in _ROLES[name]],
            [span for span in spans if not any(start <= span[0] < end for start, end in clocks)],
            [span for span in spans if line[slice(*span)] == text.strip()],
        ):
            spans = [span for span in spans if span in likely] or spans
        found[name] = spans
    for name, spans in found.items():  # a place that belongs to another value
        if len(spans) > 1:
            taken = [other[0] for key, other in found.items() if key != name and len(other) == 1]
            found[name] = [span for span in spans if span not in taken] or spans
    right = sum(len(values[name]) for name, spans in found.items() if len(spans) == 1)
    for name, spans in found.items():
        what = f"the {NAMES[name]} {values[name]}"
        if len(spans) == 1 and sum(spans == other for other in found.values()) == 1:
            continue
        numbers = [line[start:end] for start, end in _all(line)]
        if not spans:
            shown = ", ".join(numbers[:_NUMBERS_SHOWN]) + (" ..." if len(numbers) > _NUMBERS_SHOWN else "")
            problem = f"the numbers {shown}" if numbers else f"no number in {line.strip()[:80]!r}"
            hint = "Type the number as it stands there, or name another line with --line."
        else:
            problem = f"it at {len(spans)} places" if len(spans) > 1 else "another value at its place"
            hint = "Name a line with --line in which the values differ."
        error = _NotThereError(expected=f"{what} once", found=problem, where=where, hint=hint)
        error.right = right
        raise error
    return sorted((Place(name, *spans[0]) for name, spans in found.items()), key=lambda place: place.start)


def _spelled(line: str, text: str) -> bool:
    return bool(_spans(line, text))


def _all(line: str) -> list[tuple[int, int]]:
    """Return the places of all numbers; `12,000` is one, and its parts are others."""
    return sorted({m.span() for m in _NUMBER.finditer(line)} | {m.span() for m in _THOUSANDS.finditer(line)})


def _spans(line: str, text: str) -> list[tuple[int, int]]:
    """Return the places at which a number stands, or else those that round to it.

    Raises:
        InputError: The text is no number.
    """
    wanted = number(text)
    if wanted is None:
        raise InputError(
            expected="a number", found=repr(text), where="the value", hint="Type it as it stands in the log, 2.31 say.",
        )  # fmt: skip
    read = [(span, number(line[slice(*span)].replace(",", ""))) for span in _all(line)]
    same = [span for span, value in read if value == wanted or (value != value and wanted != wanted)]
    if same or not re.fullmatch(r"[-+]?\d*\.\d+", text.strip(), re.ASCII):
        return same
    decimals = len(text.strip().partition(".")[2])
    return [span for span, value in read if value is not None and round(value, decimals) == wanted]


def _role_before(line: str, at: int) -> str:
    name = _NAME_BEFORE.search(line[:at])
    return "other" if name is None else role(name[1])


# ---- patterns -------------------------------------------------------------------------------------------------------


def _best(line: NumberedLine, places: Sequence[Place], lines: Sequence[NumberedLine], where: str) -> Lesson:
    """Return the strictest pattern that is right on its line and finds enough.

    Raises:
        InputError: None is.
    """
    log = b"".join(one.text.encode() + b"\n" for one in lines)
    lessons: list[Lesson] = []
    for pattern in dict.fromkeys((strict(line.text, places), _middle(line.text, places), _loose(line.text, places))):
        if _finds(pattern, line.text, places):
            batch, _ = Pattern([pattern]).feed(log, final=True)
            lessons.append(Lesson(line, pattern, len(batch.columns["loss"].values) if "loss" in batch.columns else 0))
    most = max((lesson.found for lesson in lessons), default=0)
    for lesson in lessons:
        if lesson.found >= max(1, _ENOUGH * most):
            reader = Pattern([lesson.pattern])
            missed = [one for one in kinds(lines) if not reader.feed(one.text.encode() + b"\n")[0].rows]
            return replace(lesson, missed=tuple(missed))
    raise InputError(
        expected="a line from which a pattern can be derived", found=repr(line.text.strip()[:80]),
        where=f"{where}, line {line.number}",
        hint=r"Write [watch] pattern yourself: named groups such as (?P<loss>\S+) are the metrics.",
    )  # fmt: skip


def _finds(pattern: str, line: str, places: Sequence[Place]) -> bool:
    """Whether the pattern finds in its own line what it was made of."""
    batch, _ = Pattern([pattern]).feed(line.encode() + b"\n", final=True)
    found = {name: float(column.values[0]) for name, column in batch.columns.items()}
    found |= {"step": float(batch.steps[0])} if batch.rows and batch.axis == "step" else {}
    wanted = {place.name: number(line[place.start : place.end].replace(",", "")) for place in places}
    return all(repr(found.get(name)) == repr(value) for name, value in wanted.items())  # a NaN too


def strict(line: str, places: Sequence[Place]) -> str:
    """Return the pattern of the whole line up to the last value."""
    return "^" + _between(line[: places[0].start], start=True, value=True) + _gaps(line, places)


def _middle(line: str, places: Sequence[Place]) -> str:
    return _nearest(line[: places[0].start]) + _gaps(line, places)


def _loose(line: str, places: Sequence[Place]) -> str:
    end, parts = 0, []
    for place in places:
        parts.append(_nearest(line[end : place.start]) + _group(line, place))
        end = place.end
    return ".*?".join(parts)


def _gaps(line: str, places: Sequence[Place]) -> str:
    """Return the groups, with all that stands between them."""
    text, end = "", None
    for place in places:
        text += "" if end is None else _between(line[end : place.start], value=True)
        text += _group(line, place)
        end = place.end
    return text


def _group(line: str, place: Place) -> str:
    text = line[place.start : place.end]
    if place.name == "step" and text.isdigit():
        inside = r"\d+"
    elif place.name == "step" and "," in text and "." not in text:
        inside = r"[\d,]+"
    else:
        inside = _any(line[place.end : place.end + 1], text)
    return f"(?P<{place.name}>{inside})"


def _any(behind: str, text: str) -> str:
    """Return a pattern for any number with this character behind it."""
    if not behind or behind.isspace():
        return r"\S+"
    if behind.isalnum() or behind in "_+-." or behind in text:
        return _ANY_NUMBER
    return "[^" + ("\\" if behind in "\\]^" else "") + f"{behind}\\s]+"


def _nearest(before: str) -> str:
    found = _NEAREST.search(before)
    text = "" if found is None else found[0]
    return (r"\b" if text[:1].isalnum() else "") + _between(text, value=True)


def _between(text: str, *, start: bool = False, value: bool = False) -> str:
    """Return a pattern for text between values.

    Args:
        text: The text.
        start: The line begins with it.
        value: A value follows directly.
    """
    parts = re.split(r"(\s+)", text)  # chunks at even places, blanks at odd ones
    made = ""
    for i, part in enumerate(parts):
        if i % 2:
            padded = value and i == len(parts) - 2 and not parts[-1] and parts[i - 1][-1:] in tuple(":=[(<|~")
            made += r"\s*" if padded or (start and i == 1 and not parts[0]) else r"\s+"
        elif part:
            made += _chunk(part, glued=i == len(parts) - 1)
    return made


def _chunk(part: str, *, glued: bool) -> str:
    """Return a pattern for a part without blanks. `glued`: more of the line stands directly behind it."""
    numbers = list(_NUMBER.finditer(part))
    if not numbers:
        return _literal(part)
    if not glued:
        return _literal(part[: numbers[0].start()]) + r"\S+"
    made, end = "", 0
    for one in numbers:
        inside = _any(part[one.end() : one.end() + 1], one[0]) if one.end() < len(part) else _ANY_NUMBER
        made += _literal(part[end : one.start()]) + (f"(?:{inside})" if inside == _ANY_NUMBER else inside)
        end = one.end()
    return made + _literal(part[end:])


def _literal(text: str) -> str:
    plain = _SPECIAL.sub(r"\\\g<0>", text)
    return "".join(c if c.isprintable() and c != "\ufffd" else "." for c in plain)
