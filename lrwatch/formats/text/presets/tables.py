"""Tables in text: names above columns of numbers (fastai, Ultralytics, hand-made), with or without bars between."""

from __future__ import annotations

import re

from lrwatch.core.names import role
from lrwatch.formats.text.recipe import Recipe, Slot

_CELL = re.compile(rb"[^\s|]+")
_NAME = re.compile(rb"[A-Za-z_][\w/.%()@:-]*$")
_VALUE = re.compile(
    rb"(?:[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?%?|[-+]?(?:nan|inf(?:inity)?)|\d+(?::\d+)+|\d+/\d+|\d+(?:\.\d+)?[GMK]B?|none|--?|#na#)$",
    re.IGNORECASE,
)
_LEAST_CELLS = 2
_GAP = re.compile(rb"\S\s{2,}(?=\S)")
_RULE = re.compile(rb"[\s|+=:-]*$")


def header(mask: bytes, start: int) -> Recipe | None:
    """Read a line of names alone, one of them a step or an epoch and one a loss."""
    cells = list(_CELL.finditer(mask, start))
    if len(cells) < _LEAST_CELLS or not all(
        _NAME.match(cell.group()) and not cell.group().endswith(b":") for cell in cells
    ):
        return None
    roles = [role(cell.group().decode("utf-8", "replace")) for cell in cells]
    places = sum(kind in ("step", "epoch") for kind in roles)
    losses = sum(kind in ("train_loss", "val_loss") for kind in roles)
    # Prose may have these words too: columns are set apart, or begin with the step or epoch.
    apart = roles[0] in ("step", "epoch") or b"|" in mask or b"  " in mask.strip() or b"\t" in mask.strip()
    spread = len(_GAP.findall(mask, start)) >= len(cells) - 2 > 1 and roles[0] in ("step", "epoch")
    if not (apart and places and losses) and not spread:
        return None
    return Recipe(kind="header", cells=tuple(Slot(*cell.span()) for cell in cells))


def row(mask: bytes, start: int) -> Recipe | None:
    """Read a line of numbers alone."""
    cells = list(_CELL.finditer(mask, start))
    if len(cells) < _LEAST_CELLS or _RULE.match(mask, start) or not all(_VALUE.match(cell.group()) for cell in cells):
        return None
    return Recipe(kind="row", cells=tuple(Slot(*cell.span()) for cell in cells))
