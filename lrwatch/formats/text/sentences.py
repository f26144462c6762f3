"""Sentences that state a metric at a place: `Cost after iteration 100: 0.65`, `Score at iteration 20 is 2.3`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from lrwatch.formats.text.naming import LETTER, NUMBER

_NAME = LETTER + rb"[\w./-]{0,40}(?: " + LETTER + rb"[\w./-]{0,40}){0,3}"
_STATED = re.compile(
    rb"(?<![\w./-])(" + _NAME + rb") (?:at|after|for|of|in)(?: the)?(?: global| training)? "
    rb"(step|iteration|iter|update|epoch|batch|round)s?\s*[ :#=]\s*(\d{1,12})(?:\s?/\s?\d+)?(?:\s?\([^()\n]{0,40}\))?"
    rb"(?:\s*[:=]\s*|\s+(?:is|was)\s*:?\s*)(" + NUMBER + rb")(?![\w%])",
    re.IGNORECASE,
)  # fmt: skip


class Stated(NamedTuple):
    """A metric and its place.

    Attributes:
        name, number, value: Start and end of the name of the metric, of the number of the place, and of the value.
        kind: "step" or "epoch". called: What the place is called.
    """

    name: tuple[int, int]
    number: tuple[int, int]
    value: tuple[int, int]
    kind: str
    called: str


def stated(mask: bytes, start: int) -> Iterator[Stated]:
    """Iterate over the sentences from byte `start` of a line on."""
    for found in _STATED.finditer(mask, start):
        called = found[2].decode().lower()
        yield Stated(found.span(1), found.span(3), found.span(4), "epoch" if called == "epoch" else "step", called)
