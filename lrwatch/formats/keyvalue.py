"""Text with names and numbers: ``key=value``, ``key: value``, and ``loss 2.5`` where the name is a known one.

A line counts if it carries a step, an epoch or a loss; all other text is passed over, and so is what looks like program
code or a configuration. Names are kept as they are written (``train loss``).

Training logs repeat a few lines with other digits. So a line is not searched for names and numbers: all its digits are
made zeros, what then remains (the mask) is looked up, and only a mask that was not seen before is searched. Where names
and numbers are in a line depends on its mask alone; the digits of a name (``top5``) are then read from the line.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from lrwatch.core.names import role
from lrwatch.formats.columns import Columns
from lrwatch.formats.linewise import Linewise

# Masks that are remembered. A log has some tens of them for each kind of line, noise any number.
_REMEMBERED = 8192
# Bytes in front of a number in which its name is looked for.
_LONGEST_NAME = 160

_ZEROS = bytes(ord("0") if chr(byte).isdigit() and byte < 128 else byte for byte in range(256))  # fmt: skip
_ANSI = re.compile(rb"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b\n]*(?:\x07|\x1b\\)|\x1b[@-_]")

# Not within a word or another number. A number that a word follows at once has a unit (`35ms`) and is no sample.
_NUMBER = re.compile(
    rb"(?<![\w.])[-+]?"
    rb"(?:\d{1,3}(?:,\d{3}){1,4}(?![\d,])(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+|(?:nan|inf(?:inity)?)(?!\w))"
    rb"(?:[eE][-+]?\d+)?",
    re.IGNORECASE,
)
_UNIT = re.compile(rb"[A-Za-z_][\w/]*|\.\d[\w.]*")
_KEY = re.compile(rb"([A-Za-z_][\w./*@()-]*(?: [A-Za-z(][\w./*@()-]*){0,5})(\s*[=:]\s*|\s+)$")
_WORD = re.compile(rb"[^ ]+")
_LEVELS = frozenset({b"DEBUG", b"INFO", b"WARNING", b"ERROR", b"CRITICAL"})
_FILE = re.compile(rb"\.(?:py|cc|cpp|cu|c|h|go|rs|lua)$")  # `trainer.py:120` is a place in a program

# Program code and configurations. Some trainers write their own source into the log.
_CODE = re.compile(
    rb"\b(?:def|import|return|class|lambda|elif|self|assert|argparse|torch|for|if|while)\b[ .(]"
    rb"|[-+*/]=|==|\bprint\(|f[\"']|^\s*(?:#|//)|\w\([\w ]*=|^\s+[\w.]+ = |\w\s*:\s*(?:int|float|str|bool)\s*="
)

_PLACES = frozenset({"step", "epoch"})
_LOSSES = frozenset({"train_loss", "val_loss"})


class Slot(NamedTuple):
    """Where in a line a metric is: its name (`fixed` if it has no digits) and its value, and how that is read."""

    fixed: str | None
    name: slice
    start: int
    end: int
    read: Callable[[bytes], float]

    def by_name(self, lines: Sequence[bytes], which: list[int]) -> dict[str, list[int]]:
        """The indices `which` of `lines`, by what the metric is called there."""
        if self.fixed is not None:
            return {self.fixed: which}
        named: dict[str, list[int]] = {}
        for i in which:
            named.setdefault(lines[i][self.name].decode("utf-8", "replace"), []).append(i)
        return named


class KeyValue(Linewise):
    """The format `keyvalue`."""

    name: ClassVar[str] = "keyvalue"
    evidence: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self._masks: dict[bytes, tuple[Slot, ...]] = {}

    def _records(self, text: bytes, found: Columns, errors: Counter[str]) -> int:
        if b"\x1b" in text:
            text = _ANSI.sub(b"", text)
        alike: dict[bytes, list[int]] = {}
        for i, mask in enumerate(text.translate(_ZEROS).split(b"\n")):
            alike.setdefault(mask, []).append(i)
        lines = text.split(b"\n")
        for mask, which in alike.items():
            for slot in self._slots(mask):
                for name, rows in slot.by_name(lines, which).items():
                    found.add(name, rows, [slot.read(lines[i][slot.start : slot.end]) for i in rows])
        return len(lines)

    def _slots(self, mask: bytes) -> tuple[Slot, ...]:
        slots = self._masks.get(mask)
        if slots is None:
            if len(self._masks) >= _REMEMBERED:
                self._masks.clear()
            slots = self._masks[mask] = _search(mask)
        return slots


def _search(mask: bytes) -> tuple[Slot, ...]:
    """The metrics of all lines with this mask; none if they carry no step, epoch or loss."""
    if _CODE.search(mask):
        return ()
    slots = []
    roles: set[str] = set()
    before = 0
    for match in _NUMBER.finditer(mask):
        start, end = match.span()
        name = _name_span(mask, max(before, start - _LONGEST_NAME), start)
        unit = _UNIT.match(mask, end)
        before = unit.end() if unit else end
        if name is not None and unit is None:
            text = mask[name].decode("utf-8", "replace")
            roles.add(role(text))
            read = _with_commas if b"," in match.group() else float
            slots.append(Slot(None if "0" in text else text, name, start, end, read))
    return tuple(slots) if roles & (_PLACES | _LOSSES) else ()


def _with_commas(text: bytes) -> float:
    return float(text.replace(b",", b""))


def _name_span(mask: bytes, start: int, end: int) -> slice | None:
    """Where between `start` and `end`, the beginning of a number, that number's name is."""
    match = _KEY.search(mask, start, end)
    if match is None:
        return None
    words = list(_WORD.finditer(mask, match.start(), match.end(1)))
    # `step_avg:nanms train_time:`: the first word is a value. `INFO step:`: it says how loud the line is.
    if mask[start : match.start()].endswith((b":", b"=")):
        del words[0]
    level = max((i for i, word in enumerate(words) if word.group() in _LEVELS), default=-1)
    words = words[level + 1 :]
    if not words or _FILE.search(words[-1].group()):
        return None

    def last(count: int) -> slice:
        return slice(words[-count].start(), words[-1].end())

    def role_of(count: int) -> str:
        return role(mask[last(count)].decode("utf-8", "replace")) if count <= len(words) else "other"

    if role_of(1) in _PLACES:  # "validation loss at iteration"
        return last(1)
    if match[2].strip():
        return last(len(words))
    # With no sign between them, name and number may be prose: only a known name of one or two words counts.
    if role_of(1) in _LOSSES:
        alone = role(words[-2].group().decode("utf-8", "replace")) if len(words) > 1 else ""
        return last(2) if alone == "other" and role_of(2) in _LOSSES else last(1)
    return next((last(count) for count in (2, 1) if role_of(count) == "lr"), None)
