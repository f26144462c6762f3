"""Boosting libraries: CatBoost. XGBoost and LightGBM need no preset, they print `[10]` and named values."""

from __future__ import annotations

import re

from lrwatch.formats.text import naming
from lrwatch.formats.text.recipe import Recipe, Slot

_CATBOOST = re.compile(rb"(\d+):\s+(?:learn|test\d*): ")
_ITEM = re.compile(rb"\t(learn|test\d*): (" + naming.NUMBER + rb")", re.IGNORECASE)


# What XGBoost and LightGBM print before they repeat the line of the best round.
_BEST = re.compile(
    rb"(?:.*[\s\]])?(?:Stopping\. Best iteration|(?:Early stopping, b|Did not meet early stopping\. B)est iteration is):\s*$"
)


def best_iteration(mask: bytes, start: int) -> Recipe | None:
    """Read `Stopping. Best iteration:`: the next line says again what an earlier one said."""
    return Recipe(kind="again") if b"est iteration" in mask and _BEST.match(mask, start) else None


def catboost(mask: bytes, start: int) -> Recipe | None:
    """Read `10:  learn: 0.91  test: 0.93  best: 0.93 (10)  total: 60ms  remaining: 12s`, separated by tabs."""
    if (match := _CATBOOST.match(mask, start)) is None:
        return None
    items = _ITEM.finditer(mask, match.end(1) + 1)
    slots = tuple(Slot(*item.span(2), None if b"0" in item[1] else item[1].decode(), *item.span(1)) for item in items)
    return Recipe(slots, step=Slot(*match.span(1), "step"))
