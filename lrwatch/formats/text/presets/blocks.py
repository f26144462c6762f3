"""Records over several lines: a heading with the step, and indented names and values below it (OLMo, Composer)."""

from __future__ import annotations

import re

from lrwatch.formats.text import naming
from lrwatch.formats.text.recipe import Recipe, Slot

# `... [olmo.train:816, rank=0] [step=2/739328]`, `[step=2/1000,epoch=1,eta=1:02]`, `[trace][batch=10/1875]:`
_HEADING = re.compile(rb"\[(step|batch)=(\d+)(?:/(\d+))?(?:,epoch=(\d+)[^\]]*)?[^\]]*\]:?\s*$")
_ITEM = re.compile(
    rb"^(?:\s{2,}|\t\s*)([A-Za-z_][\w/. @()*-]{0,120}?)(?:\s*=|\s*: )\s*(" + naming.NUMBER + rb")\s*$", re.IGNORECASE
)


# `  batch 100 loss: 2.5` has a place of its own.
_PLACE = re.compile(rb"(?:step|iter|iteration|batch|epoch)\s\d+\s", re.IGNORECASE)

_RESULT = re.compile(rb"(?:== )?Result for [\w./-]+:\s*$")
# A name without blanks may stand apart from its value: `Evaluation/AverageReturn       3.5`.
_LOOSE = re.compile(
    rb"\s*(?:([A-Za-z_][\w/. @()*-]{0,120}?)(?:\s*=|\s*: )\s*|([A-Za-z_][\w/.@()*-]{0,120})(?:\s{2,}|\t\s*))("
    + naming.NUMBER + rb")\s*$",
    re.IGNORECASE,
)  # fmt: skip


def result(mask: bytes, start: int) -> Recipe | None:
    """Read `Result for PPO_env_00000:` of Ray: the indented lines below are one record, and name its step themselves."""
    return Recipe(kind="block") if b"Result for " in mask and _RESULT.match(mask, start) else None


def loose_item(mask: bytes, start: int) -> Recipe | None:
    """Read a name and its value that are not indented, as the longest of right-aligned names is, in a block of items."""
    if (match := _LOOSE.match(mask, start)) is None or naming.code(mask):
        return None
    group = 1 if match[1] is not None else 2
    name = None if b"0" in match[group] else match[group].decode()
    return Recipe((Slot(*match.span(3), name, *match.span(group)),), "loose item")


# Bytes of a heading, and of its words.
_LONGEST_HEADING, _LONGEST_END = 160, 48

# `  val:` above indented items, `validation` above a table.
_SECTION = re.compile(
    rb"\s*(train|training|val|valid|validation|eval|evaluation|test|testing|dev):?\s*$", re.IGNORECASE
)
# `Test Error:`, ` > EVALUATION`, `--> EVAL PERFORMANCE`, `Eval begin...`, `INFO - Computing validation loss`: a validation follows.
_ANNOUNCES = re.compile(
    rb"(?!.*(?<![.\w])train(?:ing)?(?![.\w]))(?:[^A-Za-z]*|(?:DEBUG|INFO|WARNING):[\w.-]*:[^A-Za-z]*|.*(?:INFO|[\]|>:)]|[ -]-)\s+)"
    rb"(?:(?:start|starting|begin|beginning|running|computing|performing)\s+)?"
    rb"(validation|validating|evaluation|evaluating|evaluate|eval|test(?:ing)?(?=\s+(?:error|results?|set|metrics|performance)))"
    rb"(?:\s+(?:begins?|starts?|started|performance|results?|loss|loop|set|metrics|model|error|perplexity))*(?:,? epoch 0+(?:/0+)?)?[\s.:=*#<>-]*$",
    re.IGNORECASE,
)


def section(mask: bytes, start: int) -> Recipe | None:
    """Read the name of a split alone, which the items below it belong to."""
    match = _SECTION.match(mask, start)
    end = mask[-_LONGEST_END:].lower() if match is None and len(mask) <= _LONGEST_HEADING else b""
    if b"val" in end or b"test" in end:
        match = _ANNOUNCES.match(mask, start)
    if match is None:
        return None
    return Recipe(kind="section", cells=(Slot(*match.span(1)),))


def open_block(mask: bytes, start: int) -> Recipe | None:
    """Read the heading of a block: a step and nothing else."""
    if (match := _HEADING.search(mask, start)) is None:
        return None
    epoch = Slot(*match.span(4), "epoch") if match[4] is not None else None
    # The batches of Composer may be those of an epoch.
    run = Slot(*match.span(3), "run") if match[3] is not None and match[1] == b"step" else None
    return Recipe(kind="heading", step=Slot(*match.span(2), "step"), epoch=epoch, run=run)


def line_of_block(mask: bytes, start: int) -> Recipe | None:
    """Read an indented name and its value, at the step of the heading above."""
    if (match := _ITEM.match(mask, start)) is None or naming.code(mask.replace(b" = ", b"=")):
        return None
    if _PLACE.match(match[1]):
        return None
    name = None if b"0" in match[1] else match[1].decode()
    return Recipe((Slot(*match.span(2), name, *match.span(1)),), "item")
