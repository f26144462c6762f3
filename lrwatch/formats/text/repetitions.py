"""Lines that repeat what other lines said, by their words alone: the best value, the mean of an epoch, the end of the run."""

from __future__ import annotations

import re

# `*** Best metric: 78.1 (epoch 3)` repeats an earlier value; so do means of an epoch and the summaries of W&B and Comet.
_STAMP = rb"(?:[\s\[(]{0,4}\d[\d:.,TZ/+ -]{6,40})?"
_REPETITION = re.compile(
    rb"\D*\b(?:best|saving(?! dict)|saved|early stopping|averaged stats)\b|(?:\S* )?wandb:|COMET [A-Z]+:|\s*(?:minimum|lowest|highest)\b"
    rb"|" + _STAMP + rb"\D*\b(?:saved|loaded|restored)\b.{0,120}\b(?:checkpoint|model|weights|state)\b"
    rb"|.*\[train\b.*\[avg\]|.*\bTrial 0+ (?:finished|pruned)\b",
    re.IGNORECASE,
)  # fmt: skip
# A line without a place that says how the run ended.
_SUMMARY = re.compile(rb"\D*\b(?:final|summary|training (?:is )?(?:finished|completed?|done))\b", re.IGNORECASE)


def says_again(mask: bytes, start: int = 0) -> bool:
    """Return whether a line is a summary, which repeats what others said: the best value, the mean of an epoch."""
    return _REPETITION.match(mask, start) is not None


def ends_the_run(mask: bytes, start: int = 0) -> bool:
    """Return whether a line says how the run ended: a summary, unless it names a place."""
    return _SUMMARY.match(mask, start) is not None
