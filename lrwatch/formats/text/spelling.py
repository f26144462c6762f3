"""Two things that concern bytes before lines are searched: dictionaries over several lines, and decimal commas.

Both are decided line by line, so that the cut of the log changes nothing.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np

from lrwatch.core.checkpoint import Checkpointed

# Lines and bytes of one dictionary. Longer ones are configurations.
_MOST_LINES = 200
_MOST_BYTES = 1 << 16
# A dictionary that is open at the end of its line: `{'loss': 0.5,` or `{`.
_OPENS = re.compile(rb"\{(?:\s*['\"][^{}]*,|\s*)\s*$")
_MAY_OPEN = re.compile(rb"\{[^{}\n]*\n")
# Braces that cost less to follow than all line ends.
_FEW_BRACES = 100
# Whether a character may end such a line.
_OPEN_ENDS = np.isin(np.arange(256), list(b",{ \t\r\f\v"))
_CONTINUES = (b" ", b"\t", b"'", b'"', b"}", b"]", b")")


@dataclass
class Dictionaries(Checkpointed):
    """Joiner of dictionaries that were printed over several lines, as `pprint` and TensorFlow's loops do.

    Attributes:
        held: The lines of a dictionary that is still open, as Latin-1.
        last: The last dictionary; "" once another line followed. What two handlers print twice counts once.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("held", "last")

    held: list[str] = field(default_factory=list)
    last: str = ""

    def join(self, text: bytes, *, final: bool = False) -> bytes:
        """Return the lines with each dictionary on one line; the lines of an open one are held back.

        Args:
            text: Complete lines, each ended by LF.
            final: Nothing will follow.
        """
        if not self.held and not _may_open(text):
            if text:
                self.last = ""
            return text
        joined: list[bytes] = []
        for line in text.split(b"\n")[:-1]:
            self._take(line, joined)
        if final:
            self._release(joined)
        return b"".join(line + b"\n" for line in joined)

    def _take(self, line: bytes, joined: list[bytes]) -> None:
        if self.held:
            if line.startswith(_CONTINUES):
                self.held.append(line.decode("latin-1"))
                whole = "".join(self.held)
                if whole.count("{") <= whole.count("}"):
                    self._close(joined)
                elif len(self.held) >= _MOST_LINES or len(whole) >= _MOST_BYTES:
                    self._release(joined)
                return
            self._release(joined)
        if b"{" in line and _OPENS.search(line):
            self.held = [line.decode("latin-1")]
        else:
            self.last = ""
            joined.append(line)

    def _close(self, joined: list[bytes]) -> None:
        whole = " ".join([self.held[0].rstrip(), *(line.strip() for line in self.held[1:])])
        at = whole.index("{")
        body = whole[at:]
        if body.count("{") > 1:
            whole = whole[:at] + _flat(body)
        if body != self.last:
            joined.append(whole.encode("latin-1"))
        self.held, self.last = [], body

    def _release(self, joined: list[bytes]) -> None:
        """Give back lines that are no dictionary, as they were."""
        joined.extend(line.encode("latin-1") for line in self.held)
        self.held = []


def _flat(body: str) -> str:
    """Return a dictionary of dictionaries as one of the numbers in it; as it was if it is none."""
    try:
        nested = json.loads(body)
    except (ValueError, RecursionError):
        try:
            nested = ast.literal_eval(body)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return body
    numbers = _numbers(nested, "") if isinstance(nested, dict) else {}
    return str(numbers) if numbers else body


def _numbers(nested: dict[Any, Any], prefix: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            found.update(_numbers(value, f"{prefix}{key}/"))
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{key}"] = value
    return found


def _may_open(text: bytes) -> bool:
    """Return whether a line of `text` may open a dictionary; nearly always its last character says that none does."""
    if text.count(b"{") < _FEW_BRACES:
        at = text.find(b"{")
        while at >= 0:
            if _MAY_OPEN.match(text, at):
                return True
            at = text.find(b"{", at + 1)
        return False
    characters = np.frombuffer(text, np.uint8)
    before = characters[np.flatnonzero(characters == ord("\n")) - 1]
    return bool(_OPEN_ENDS[before].any()) and _MAY_OPEN.search(text) is not None


# Bytes of a log after which a point is taken for the decimal mark.
_UNDECIDED = 1 << 18
# Bytes of them that are searched first.
_FIRST_BYTES = 1 << 12
# In lower case, and with a letter at the beginning of each word: a search for anything else takes ten times as long.
_MEASURES = {
    word.encode(): (pattern or word).encode()
    for word, pattern in {
        "loss": "", "perte": "", "verlust": "", "pérdida": "", "perdida": "", "perda": "", "perdita": "", "потери": "", "损失": "",
        "precisi": "precisi(?:o|ó)n", "genauigkeit": "", "précision": "", "lr": r"lr(?<!\wlr)", "learning": "learning[ _]?rate",
        "lernrate": "", "mse": "r?mse", "mae": "", "acc": r"acc(?<!\wacc)|accuracy", "error": "",
    }.items()
}  # fmt: skip
# A rate with a point may be that of a printed configuration, and its loss a name or a weight.
_RATES = (b"lr", b"learning", b"lernrate")
_DECIDES = rb"(?!_(?:weight|scale|coef|fn))[\w%]*['\"]?(?:[ \t]*[:=][ \t]*|[ \t]+(?:is[ \t]+)?)['\"]?[-+]?(\d+)([.,])(\d+)(?![\d.,]*\d)"
_COMMA = re.compile(
    rb"(?<![\d.,])(?:(\d{1,3}(?:\.\d{3})+|\d+),(\d+)(?!\d|,\d)|([1-9]\d{0,2}(?:\.\d{3})+)(?![\d.,]*\d))"
)


@dataclass
class DecimalMark(Checkpointed):
    """The decimal mark of a log: the first loss, learning rate or score that can be read in one way only decides.

    `0,523` and `2,34` have a decimal comma. `2,345` may be two thousand: while nothing decided, such a value is left out.

    Attributes:
        mark: A point or a comma, or "" while it is not known.
        seen: Bytes of the log that did not decide.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("mark", "seen")

    mark: Literal["", ".", ","] = ""
    seen: int = 0

    def with_points(self, text: bytes) -> bytes:
        """Return complete lines with decimal points."""
        if self.mark == ".":
            return text
        return _COMMA.sub(_pointed, text) if self.mark else self._decide(text)

    def _decide(self, text: bytes) -> bytes:
        end = len(text)
        if self.seen + end > _UNDECIDED:
            end = text.find(b"\n", max(0, _UNDECIDED - self.seen)) + 1 or end
        unsure: list[tuple[int, int]] = []
        for found in _measures(text[:end].lower()):
            if found[2] == b"." and found[0].startswith(_RATES):
                continue
            if found[2] == b"." or len(found[3]) != 3 or found[1] == b"0":
                self.mark = "." if found[2] == b"." else ","
                end = text.rfind(b"\n", 0, found.start()) + 1
                break
            unsure.append((found.start(1), found.end()))
        self.seen += end
        if not self.mark and self.seen >= _UNDECIDED:
            self.mark = "."
        kept = bytearray(text[:end])
        for start, stop in unsure:
            if stop <= end:
                kept[start:stop] = b"?" * (stop - start)
        return bytes(kept) + (self.with_points(text[end:]) if self.mark else b"")


def _measures(text: bytes) -> Iterator[re.Match[bytes]]:
    """Iterate over the measures and their numbers in lines of text, all in lower case."""
    first = text.find(b"\n", _FIRST_BYTES) + 1  # they decide mostly
    for start, end in ((0, first), (first, len(text))):
        words = tuple(text.find(word, start, end) >= 0 for word in _MEASURES)
        yield from _deciding(words).finditer(text, start, end)


@lru_cache(256)
def _deciding(occur: tuple[bool, ...]) -> re.Pattern[bytes]:
    """Return the search for a measure and its number; `occur` are the words of `_MEASURES` that are there to be found.

    The fewer words it tries at each place, the faster it is, and a log of another trainer has none of them.
    """
    words = b"|".join(pattern for pattern, there in zip(_MEASURES.values(), occur, strict=True) if there)
    return re.compile(rb"(?:" + words + rb")" + _DECIDES if words else rb"(?!)")


def _pointed(number: re.Match[bytes]) -> bytes:
    if number[1] is None:  # `11.000`: thousands alone
        return number[3].replace(b".", b"")
    return number[1].replace(b".", b"") + b"." + number[2]
