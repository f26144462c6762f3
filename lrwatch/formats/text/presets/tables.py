"""Tables in text: names above columns of numbers, between blanks, pipes or the lines of a box (`formats.text.table`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lrwatch.core.names import role
from lrwatch.formats.text.recipe import Recipe, Slot
from lrwatch.formats.text.table import SPLITS

_WORD = re.compile(rb"[^\s|]+")
# `[1.2e-01, 3.4e-02]`: the parts of a loss in one cell.
_WORD_OR_LIST = re.compile(rb"\[[^\[\]|]*\]|[^\s|]+")
_LIST = re.compile(rb"\[(?:[-+.\deE,\s]|nan|inf)*\]$", re.IGNORECASE)
# A cell may have several words. A letter, or one of the signs that tables call a step or a share.
_NAME = re.compile(rb"(?:[A-Za-z_(\x80-\xff][^={}\"']*|[#%])$")
_ASSIGNED = re.compile(rb":\s*[-+.\d\[]|:$|\s[-+]?\d+\.\d")
_VALUE = re.compile(
    rb"(?:[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?(?:%|ms|[smh])?|[-+]?(?:nan|inf(?:inity)?)|\d+(?::\d+)+(?:\.\d+)?|\d+/\d+"
    rb"|\d+(?:\.\d+)?[GMK]B?|none|n/?a|--?|#na#)$",
    re.IGNORECASE,
)
# `! Validation   1   35.2   0.005`: a row of one split.
_OF_SPLIT = re.compile(
    rb"\s*(?:!\s*)?(?:initial )?(train|training|val|valid|validation|test)\s+(?=[-+]?[\d.])", re.IGNORECASE
)
_LEAST_CELLS = 2
_LONGEST_NAME = 48
_MOST_WORDS = 4
_GAP = re.compile(rb"\S\s{2,}(?=\S)")
_RULE = re.compile(rb"[\s|+=:_-]*$")
# `Step:   Loss:   LR:`
_COLONS = re.compile(rb"(?:\s*[A-Za-z_]+:)(?:\s+[A-Za-z_]+:)+\s*$")
_BOX = re.compile(rb"\xe2[\x94\x95][\x80-\xbf]")
_PIPES = frozenset({b"\xe2\x94\x82", b"\xe2\x94\x83", b"\xe2\x95\x91"})
_COMMENT = re.compile(rb"\s*# ?(?=[A-Za-z])")
# `2024-05-03 10:00:00,123 - INFO - allennlp.training.callbacks - `
_PREFIX = re.compile(
    rb"\[?\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?\]?(?: -)? (?:[\w.\[\]]+ - )*(?:\[?(?:INFO|DEBUG)\]?:?\s+)?"
)


def header(mask: bytes, start: int) -> Recipe | None:
    """Read a line of names alone, one of them a step or an epoch and one a loss, or as well set apart as such a line."""
    mask, start = ascii_lines(mask, start)
    if b"___" in mask and _RULE.match(mask, start):
        return None
    if (comment := _COMMENT.match(mask, start)) is not None:
        start = comment.end()
    if b"|" in mask[start:]:
        return _framed_header(mask, start)
    if _COLONS.match(mask, start):
        mask = mask.replace(b":", b" ")
    words = list(_WORD.finditer(mask, start))
    if len(words) < _LEAST_CELLS or not all(_is_name(word.group()) for word in words):
        return None
    roles = [role(word.group().decode("utf-8", "replace")) for word in words]
    places = sum(kind in ("step", "epoch") for kind in roles)
    losses = sum(kind in ("train_loss", "val_loss") for kind in roles)
    # Prose may have these words too: columns are set apart, or begin with the step or epoch.
    gaps = len(_GAP.findall(mask, start))
    apart = roles[0] in ("step", "epoch") or gaps or b"\t" in mask.strip()
    spread = gaps >= len(words) - 2 > 1 and roles[0] in ("step", "epoch")
    splits = gaps and all(word.group().decode("utf-8", "replace").lower() in SPLITS for word in words)
    aligned = splits or gaps >= 4 or (gaps >= 2 and losses)  # words of a name are closer than columns
    telling = (
        losses or "lr" in roles or sum(word.group().decode("utf-8", "replace").lower() in SPLITS for word in words) > 1
    )
    if not (apart and places and telling) and not spread and not aligned:
        return None
    return Recipe(kind="header", cells=tuple(Slot(*word.span()) for word in words))


def _framed_header(mask: bytes, start: int) -> Recipe | None:
    cells = list(_cells(mask, start))
    texts = [mask[slice(*cell)] for cell in cells]
    named = [text for text in texts if text]
    if len(cells) < _LEAST_CELLS or not named or not all(map(_is_name, named)):
        return None
    names = [text.decode("utf-8", "replace") for text in named]
    closed = mask[start:].strip().startswith(b"|") and mask.strip().endswith(b"|")
    telling = any(role(name) in ("step", "epoch", "train_loss", "val_loss") or name.lower() in SPLITS for name in names)
    if not closed and not telling:
        return None
    return Recipe(kind="header", framed=True, cells=tuple(Slot(*cell) for cell in cells))


def row(mask: bytes, start: int) -> Recipe | None:
    """Read a line of numbers alone; between pipes a cell may be empty, and the first one a name."""
    mask, start = ascii_lines(mask, start)
    if _RULE.match(mask, start):
        return None
    if b"|" in mask[start:]:
        cells = list(_cells(mask, start))
        texts = [mask[slice(*cell)] for cell in cells]
        first = texts[0] if texts else b""
        fits = all(not text or _VALUE.match(text) for text in texts[1:]) and (_VALUE.match(first) or _is_name(first))
        if len(cells) < _LEAST_CELLS or not fits or not any(_VALUE.match(text) for text in texts):
            return None
        return Recipe(kind="row", framed=True, cells=tuple(Slot(*cell) for cell in cells))
    split = _OF_SPLIT.match(mask, start)
    start = start if split is None else split.end()
    words = list((_WORD_OR_LIST if b"[" in mask else _WORD).finditer(mask, start))
    if len(words) < _LEAST_CELLS or not all(_VALUE.match(word.group()) or _LIST.match(word.group()) for word in words):
        return None
    spans = [] if split is None else [split.span(1)]
    return Recipe(kind="row", cells=tuple(Slot(*span) for span in (*spans, *(word.span() for word in words))))


def _is_name(text: bytes) -> bool:
    if _NAME.match(text) is None or len(text) > _LONGEST_NAME or _ASSIGNED.search(text) is not None:
        return False
    words = text.split()
    return len(words) <= _MOST_WORDS and not any(map(_VALUE.match, words))  # `loss 2.5` is no name


def ascii_lines(mask: bytes, start: int) -> tuple[bytes, int]:
    """Return the mask with pipes and dashes for the lines of a box, of the same length, and the offset behind a logger's prefix."""
    if b"\xe2\x94" in mask or b"\xe2\x95" in mask:
        mask = _BOX.sub(lambda box: b"|  " if box[0] in _PIPES else b"---", mask)
    prefix = _PREFIX.match(mask, start)
    return mask, start if prefix is None else prefix.end()


def _cells(mask: bytes, start: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of the text of each cell between pipes; those at both ends of the line are no separators."""
    end = len(mask.rstrip())
    start += len(mask[start:]) - len(mask[start:].lstrip()) if mask[start:].lstrip().startswith(b"|") else 0
    start += mask[start : start + 1] == b"|"
    end -= mask[end - 1 : end] == b"|"
    while start <= end:
        pipe = mask.find(b"|", start, end)
        stop = end if pipe < 0 else pipe
        text = mask[start:stop]
        left = start + len(text) - len(text.lstrip())
        yield (left, left + len(text.strip()))
        start = stop + 1
