"""Lines that state the length of the run, and nothing else."""

from __future__ import annotations

import re

from lrwatch.formats.text.recipe import Recipe, Slot

# `  Total optimization steps = 8,660` of the Hugging Face Trainer and the examples of Accelerate.
_OPTIMIZATION_STEPS = re.compile(rb"\bTotal optimization steps = (\d[\d,]*)\s*$")
# `Training starts at step 1, with local batch size 8, ..., total steps 1000 (warmup 200).` of torchtitan.
_TITAN = re.compile(rb"\bTraining starts at step \d+\b.*, total steps (\d+) \(")


def length(mask: bytes, start: int) -> Recipe | None:
    """Read the number of steps of the run."""
    if b" steps " not in mask:
        return None
    match = _OPTIMIZATION_STEPS.search(mask, start) or _TITAN.search(mask, start)
    return None if match is None else Recipe(kind="length", run=Slot(*match.span(1), "run"))
