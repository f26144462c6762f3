"""Places that are spelled as ordinals: `the 17th step`, `第 17 轮 / 共 40 轮`, `第17步`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_ORDINAL = re.compile(
    rb"(?<![\w.])(\d+)(?:st|nd|rd|th)[ -](?:global )?(step|iter(?:ation)?|update|epoch|batch)\b", re.IGNORECASE
)
_ORDINAL_EPOCH = re.compile(
    "\u7b2c\\s*(\\d+)\\s*(?:\u8f6e|\u4e2a?\\s*epoch|\u5468\u671f|\u30a8\u30dd\u30c3\u30af)(?:[^\\d\\n]{0,6}\u5171\\s*(\\d+)\\s*\u8f6e|\\s*/\\s*(\\d+))?".encode(),
    re.IGNORECASE,
)
_ORDINAL_STEP = re.compile(
    "\u7b2c\\s*(\\d+)\\s*(?:\u6b65|\u6b21\u8fed\u4ee3|\u4e2a?\\s*(?:step|iter)|\u30b9\u30c6\u30c3\u30d7)".encode(),
    re.IGNORECASE,
)


class Ordinal(NamedTuple):
    """A place of a line.

    Attributes:
        kind: "step" or "epoch". name: What it is called.
        number: Start and end of the number, and of that of all epochs, `total`, or ().
        end: Offset behind the text.
    """

    kind: str
    name: str
    number: tuple[int, int]
    total: tuple[int, int] | tuple[()]
    end: int


def ordinals(mask: bytes, start: int) -> Iterator[Ordinal]:
    """Iterate over the ordinals from byte `start` of a line on."""
    if b"\xe7\xac\xac" in mask:
        for kind, pattern in (("epoch", _ORDINAL_EPOCH), ("step", _ORDINAL_STEP)):
            if (found := pattern.search(mask, start)) is not None:
                last = found.lastindex or 1
                total = found.span(last) if last > 1 else ()
                yield Ordinal(kind, kind, found.span(1), total, found.end())
    for found in _ORDINAL.finditer(mask, start):
        kind = "epoch" if found[2].lower() == b"epoch" else "step"
        yield Ordinal(kind, found[2].decode(), found.span(1), (), found.end())
