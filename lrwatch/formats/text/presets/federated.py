"""Federated learning: Flower."""

from __future__ import annotations

import re

from lrwatch.formats.text import naming
from lrwatch.formats.text.recipe import Recipe, Slot

_FIT = re.compile(
    rb"\bfit progress: \((\d+), (" + naming.NUMBER + rb"), (\{[^{}\n]*\}), " + naming.NUMBER + rb"\)", re.IGNORECASE
)
_ITEM = re.compile(rb"'([A-Za-z_]\w*)': (" + naming.NUMBER + rb")", re.IGNORECASE)


def fit_progress(mask: bytes, start: int) -> Recipe | None:
    """Read `fit progress: (4, 2.35, {'accuracy': 0.14}, 307.9)`: round, loss, metrics and seconds."""
    if b"fit" not in mask or (match := _FIT.search(mask, start)) is None:
        return None
    slots = [Slot(*match.span(2), "loss")]
    slots += [
        Slot(*item.span(2), None if b"0" in item[1] else item[1].decode(), *item.span(1))
        for item in _ITEM.finditer(mask, *match.span(3))
    ]
    return Recipe(tuple(slots), step=Slot(*match.span(1), "step"))
