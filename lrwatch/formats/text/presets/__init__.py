"""Lines that the general extractor cannot know, a file a trainer or a kind of line.

Each preset looks at a mask (digits are zeros) and says how to read it, or None. The first that knows a line reads it; what
none knows is the general extractor's.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lrwatch.formats.text import general
from lrwatch.formats.text.presets import bars, blocks, boosting, boxes, speech, tables, vision
from lrwatch.formats.text.recipe import Recipe, Slot

PRESETS: tuple[Callable[[bytes, int], Recipe | None], ...] = (
    vision.yolo, bars.keras, bars.tqdm, boxes.box, blocks.open_block, blocks.line_of_block, boosting.catboost,
    vision.darknet, vision.caffe_train_output, speech.kaldi, speech.fairseq_epoch, speech.espnet, speech.wenet, speech.marian, tables.header, tables.row,
)  # fmt: skip

# The longest lines of metrics of real logs are of some kilobytes; longer ones are configurations.
_LONGEST_LINE = 1 << 14

# What launchers and collectors put in front of a line: torchrun, DeepSpeed, srun, Ray, ClearML.
_RANK = re.compile(
    rb"^(?:\[(?:rank|default)?(\d+)\]: ?|(\d+): (?=\D)(?!-?(?:nan|inf)\b)|\([\w.]+ pid=\d+[^)]*\) |\d{13} \S+ \w+ )+"
)
_RANK_WITHIN = re.compile(rb"\brank[ =:]+(\d+)\b(?=\s*\]|\s*$)")


def search(mask: bytes) -> Recipe | None:
    """How to read the lines with this mask; None if they say nothing."""
    if mask.endswith(b"\r"):
        mask = mask[:-1]
    if len(mask) > _LONGEST_LINE:
        return None
    start, rank = 0, None
    if (prefix := _RANK.match(mask)) is not None:
        start = prefix.end()
        if (group := prefix.lastindex) is not None:
            rank = Slot(*prefix.span(group), "rank")
    elif (within := _RANK_WITHIN.search(mask)) is not None:
        rank = Slot(*within.span(1), "rank")
    for preset in PRESETS:
        if (recipe := preset(mask, start)) is not None:
            return recipe
    return general.search(mask, start, rank)
