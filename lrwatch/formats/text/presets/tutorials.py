"""Tutorials of PyTorch whose lines have no names: translation, and classification of names."""

from __future__ import annotations

import re

from lrwatch.formats.text import naming
from lrwatch.formats.text.recipe import Recipe, Slot

_TIME = rb"\d+m \d+s"
_LINE = re.compile(
    rb"\s*(?:"
    + _TIME
    + rb" \(- -?"
    + _TIME
    + rb"\) \((\d+) \d+%\)|(\d+) \d+% \("
    + _TIME
    + rb"\)) ("
    + naming.NUMBER
    + rb")(?=\s|$)",
    re.IGNORECASE,
)


def time_since(mask: bytes, start: int) -> Recipe | None:
    """Read `1m 2s (- 12m 3s) (5000 6%) 2.8480` or `5000 5% (0m 12s) 2.2084 Name / Guess`: the step and the loss."""
    if b"%" not in mask or (match := _LINE.match(mask, start)) is None:
        return None
    step = match.span(1) if match[1] is not None else match.span(2)
    return Recipe((Slot(*match.span(3), "loss"),), step=Slot(*step, "step"))
