"""Names of numbers in a line of text, and lines that are program code or a configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lrwatch.core.names import role

# Bytes before a number that are searched for its name.
_LONGEST_NAME = 160

# Not within a word or another number. A number followed at once by a word has a unit (`35ms`) and is no sample.
NUMBER = (
    rb"[-+]?(?:\d{1,3}(?:,\d{3}){1,4}(?![\d,])(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+|(?:nan|inf(?:inity)?)(?!\w))"
    rb"(?:[eE][-+]?\d+)?"
)
NUMBER_HERE = re.compile(rb"(?<![\w.])" + NUMBER, re.IGNORECASE)
_KEY = re.compile(
    rb"([A-Za-z_][\w./*@()-]*(?:'s)?(?: [A-Za-z(][\w./*@()-]*){0,5})"
    rb"(\s*[=:]\s*[\[(]?\s*(?:tensor\(|array\()?|\s+\[\s*|\[\s*|\s+)$"
)
_QUOTED_KEY = re.compile(rb"(?:'([^'\n]{1,120})'|\"([^\"\n]{1,120})\"): ?['\"]?$")
_WORD = re.compile(rb"[^ ]+")
# "number of skipped iterations", "time per step": no place.
_NO_PLACE = frozenset({b"per", b"number", b"num", b"total", b"max", b"skipped", b"nan", b"every", b"n"})
_LEVELS = frozenset({b"DEBUG", b"INFO", b"WARNING", b"ERROR", b"CRITICAL", b"root"})
_FILE = re.compile(rb"\.(?:py|cc|cpp|cu|c|h|go|rs|lua)$")  # `trainer.py:120` is a place in a program

# Program code and configurations. Some trainers write their own source into the log.
_CODE = re.compile(
    rb"\b(?:def|import|return|class|lambda|elif|self|assert|argparse|torch)\b[ .(]"
    rb"|\b(?:for \w+(?:, \w+)* in|if|while)\b[ (].*:\s*(?:#|$|\w+ =)"
    rb"|[-+*/]=|==|\bprint\(|f[\"']|^\s*(?:#|//)|[A-Za-z_]\([\w ]*=|^\s+[\w.]+ = |\w\s*:\s*(?:int|float|str|bool)\s*="
)

_CELL_END = re.compile(rb"\s*%?\s*(?:[,|;]|$)")
_CELL_START = re.compile(rb"(?:^|[,|;:>-])\s*$")

# `[olmo.util:159, rank=3]` is a place in a program.
_MODULE = re.compile(rb"\[[A-Za-z_][\w.]*:$")

_COUNTED_IN_BRACKETS = frozenset({b"epoch", b"epoch(train)", b"epoch(val)"})

_PLACES = frozenset({"step", "epoch"})
_LOSSES = frozenset({"train_loss", "val_loss"})


class Name(NamedTuple):
    """The name of a number.

    Attributes:
        text: The name.
        start, end: Offsets of its bytes in the line.
        explicit: A sign separates it from its number, or it is well known, so it is no prose.
    """

    text: str
    start: int
    end: int
    explicit: bool


def code(mask: bytes) -> bool:
    """Return whether a line looks like program code or a configuration."""
    return _CODE.search(mask) is not None


def name_of(mask: bytes, start: int, end: int, flat: Sequence[tuple[int, int]]) -> Name | None:
    """Find the name of a number.

    Args:
        mask: The line.
        start: Offset behind the number before.
        end: Offset of the number.
        flat: Start and end of each dictionary whose names are in quotes.

    Returns:
        The name, or None if there is none between `start` and `end`.
    """
    start = max(start, end - _LONGEST_NAME)
    if flat and (quoted := _QUOTED_KEY.search(mask, start, end)) is not None:
        if not any(a <= quoted.start() and end < b for a, b in flat):
            return None
        group = 1 if quoted[1] is not None else 2
        return Name(quoted[group].decode("utf-8", "replace"), *quoted.span(group), True)
    match = _KEY.search(mask, start, end)
    if match is None:
        return None
    words = [word.span() for word in _WORD.finditer(mask, match.start(), match.end(1))]
    # `step_avg:nanms train_time:`: the first word is a value. `INFO step:`: it is the level of the message.
    if len(words) > 1 and mask[start : match.start()].endswith((b":", b"=")):
        del words[0]
    level = max((i for i, (a, b) in enumerate(words) if mask[a:b] in _LEVELS), default=-1)
    words = words[level + 1 :]
    if _MODULE.search(mask, start, end) or mask[match.start() : match.end(1)].lower().endswith(b"rank"):
        return None
    while words and mask[slice(*words[-1])] in (b"is", b"was"):
        del words[-1]
    if not words or _FILE.search(mask, *words[-1]):
        return None

    def last(count: int, *, explicit: bool) -> Name:
        a, b = words[-count][0], words[-1][1]
        return Name(mask[a:b].decode("utf-8", "replace"), a, b, explicit)

    def role_of(count: int) -> str:
        return role(last(count, explicit=True).text) if count <= len(words) else "other"

    sign = match[2].strip()
    of_something = any(mask[a:b].lower() in _NO_PLACE for a, b in words[:-1])
    if role_of(1) in _PLACES and not of_something:  # "validation loss at iteration"
        return last(2 if role_of(2) in _PLACES else 1, explicit=True)
    if sign and sign != b"[":
        return last(len(words), explicit=True)
    if sign == b"[":  # `Epoch [1]` is a place, `Train [` is not a name
        return last(1, explicit=True) if mask[slice(*words[-1])].lower() in _COUNTED_IN_BRACKETS else None
    # Without a sign between them, name and number may be prose: only a well-known name of one or two words counts ...
    if role_of(1) in _LOSSES:
        alone = role(last(1, explicit=False).text) if len(words) > 1 else ""
        first = role(mask[slice(*words[-2])].decode("utf-8", "replace")) if len(words) > 1 else ""
        two = first == "other" and alone in _LOSSES and role_of(2) in _LOSSES
        return last(2 if two else 1, explicit=False)
    if (rate := next((last(count, explicit=False) for count in (2, 1) if role_of(count) == "lr"), None)) is not None:
        return rate
    # ... or a name and a number alone between separators.
    number = NUMBER_HERE.match(mask, end)
    closed = number is not None and _CELL_END.match(mask, number.end()) is not None
    opened = _CELL_START.search(mask, start, words[0][0]) is not None
    return last(len(words), explicit=False) if closed and opened and len(words) <= 3 else None
