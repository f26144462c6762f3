"""Boosting libraries, and MLPerf: CatBoost. XGBoost and LightGBM need no preset, they print `[10]` and named values."""

from __future__ import annotations

import re

from lrwatch.core.names import role
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


# The keys and values of MLPerf's log, `:::MLLOG {..., "key": "eval_error", "value": 0.9, "metadata": {..., "epoch_num": 1}}`.
_MLLOG = re.compile(
    rb':::MLLOG \{.*?"key": "([A-Za-z_]\w*)", "value": (' + naming.NUMBER + rb'), "metadata": \{(.*)\}', re.IGNORECASE
)
_PLACE = re.compile(rb'"(epoch|step)_num": (\d+)')


def mllog(mask: bytes, start: int) -> Recipe | None:
    """Read a value of MLPerf among lines of text. A log of such values alone has the format `prefixed`."""
    if b":::MLLOG" not in mask or (match := _MLLOG.search(mask, start)) is None or b"0" in match[1]:
        return None
    places = {
        place[1].decode(): Slot(*place.span(2), place[1].decode()) for place in _PLACE.finditer(mask, *match.span(3))
    }
    name = match[1].decode()
    if not places and role(name) not in ("train_loss", "val_loss"):
        return None
    return Recipe((Slot(*match.span(2), name),), step=places.get("step"), epoch=places.get("epoch"))


def catboost(mask: bytes, start: int) -> Recipe | None:
    """Read `10:  learn: 0.91  test: 0.93  best: 0.93 (10)  total: 60ms  remaining: 12s`, separated by tabs."""
    if (match := _CATBOOST.match(mask, start)) is None:
        return None
    items = _ITEM.finditer(mask, match.end(1) + 1)
    slots = tuple(Slot(*item.span(2), None if b"0" in item[1] else item[1].decode(), *item.span(1)) for item in items)
    return Recipe(slots, step=Slot(*match.span(1), "step"))
