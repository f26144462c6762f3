"""Trainers of vision models: YOLO, Darknet, Caffe."""

from __future__ import annotations

import re

from lrwatch.formats.text import naming
from lrwatch.formats.text.recipe import Recipe, Slot

_YOLO = re.compile(rb"\s*(\d+/\d+)\s+(\d+(?:\.\d+)?[GM]B?)\s+((?:[-+.\w]+\s+)+?[-+.\w]+):\s*\d+%\s*\S.*?(\d+)/(\d+)")
_CELL = re.compile(rb"[^\s:]+")
_DARKNET = re.compile(
    rb"\s*(\d+): (NUM), (NUM) avg(?: loss)?, (NUM) rate, NUM seconds, \d+ images".replace(b"NUM", naming.NUMBER),
    re.IGNORECASE,
)
_CAFFE = re.compile(rb"Train net output #\d+: ([\w/-]+) = (" + naming.NUMBER + rb")", re.IGNORECASE)


def yolo(mask: bytes, start: int) -> Recipe | None:
    """Read `0/299  13.5G  0.1207  0.03303  0  602  640:  23%|##| 6/26 [...]`: means since the epoch began, redrawn."""
    if (match := _YOLO.match(mask, start)) is None:
        return None
    cells = tuple(Slot(*cell.span()) for cell in _CELL.finditer(mask, match.start(1), match.end(3)))
    return Recipe(kind="row", cells=cells, index=Slot(*match.span(4), "index"), total=Slot(*match.span(5), "total"))


def darknet(mask: bytes, start: int) -> Recipe | None:
    """Read `70: 1369.393433, 1449.117188 avg, 0.000000 rate, 0.166802 seconds, 70 images`: loss, moving mean, rate."""
    if (match := _DARKNET.match(mask, start)) is None:
        return None
    slots = (Slot(*match.span(2), "loss"), Slot(*match.span(3), "running.loss"), Slot(*match.span(4), "lr"))
    return Recipe(slots, step=Slot(*match.span(1), "step"), smoothing={"running.loss": "running"})


def caffe_train_output(mask: bytes, start: int) -> Recipe | None:
    """Read `Train net output #0: loss = 7.3 (* 1 = 7.3 loss)`, which repeats the loss of `Iteration 20, loss = 7.3`."""
    if (match := _CAFFE.search(mask, start)) is None:
        return None
    name = None if b"0" in match[1] else "train output/" + match[1].decode()
    return Recipe((Slot(*match.span(2), name, *match.span(1), prefix="train output/"),))
