"""Rescue: when the run leaves its course, cut, wait until it has calmed down, and go back up.

It answers a divergence, recurring spikes, and values that are not finite; the last with the wish that the trainer load its
last checkpoint, because weights that are not finite stay so at every learning rate. After a cut it waits until the run has
been calm for a horizon, then goes back in stairs of STAIR, each a part of the wait long. A divergence that is not over after
a wait is cut once more. Where the run leaves its course again before it is back, or soon after, the cut is made from where it
stands and the wait doubles: what was too much twice is not tried as soon a third time. The scale that it goes back to is the
one before the first cut.

`answer` and `due` are pure steps over `Rescue`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lrwatch.core.events import Command, Finding
from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import limits

# The way back goes by factors of this, each after a part of the wait: a stair that is too high shows before the next.
STAIR = math.sqrt(2)
STAIRS_A_WAIT = 4

# A run that leaves its course within so many waits after it came back has not been cured.
SOON = 4


@dataclass(frozen=True, slots=True)
class Rescue:
    """What rescue remembers.

    Attributes:
        back_to: The scale before the first cut, while it is not reached again, or None.
        wait: Steps from the application of a cut to the first stair back, 0 before the first rescue.
        back_at: Step at which the scale was reached again that there was before, or None.
        climbing: The newest command was a stair back, and no cut.
        bad_at: Step of the newest value that was not calm.
        calm: Values up to this are calm, less is better; infinite where every finite value is.
    """

    back_to: float | None = None
    wait: float = 0.0
    back_at: int | None = None
    climbing: bool = False
    bad_at: int = 0
    calm: float = math.inf


def answers(finding: Finding) -> bool:
    """Whether the run has left its course: a divergence, recurring spikes, or a value that is not finite."""
    return finding.kind in ("divergence", "nonfinite") or (
        finding.kind == "spike" and bool(finding.evidence.get("recurring"))
    )


def answer(
    state: Rescue, standing: limits.Standing, finding: Finding, horizon: float, sign: float, options: PolicyOptions
) -> tuple[Rescue, Command | None]:
    """What a finding leads to.

    Args:
        state: What rescue remembers.
        standing: The scale in use, and what the guards look at.
        finding: What was found.
        horizon: A horizon in steps, now.
        sign: +1 where less is better, -1 where more is.
        options: `factor` is the cut.
    """
    step = finding.step
    scale = limits.bounded(standing.scale * options.factor, standing, options)
    if not answers(finding) or scale >= standing.scale or limits.refuses(standing, scale, step, options):
        return state, None
    soon = state.back_to is not None or (state.back_at is not None and step - state.back_at < SOON * state.wait)
    wait = max(horizon, 2 * state.wait if soon else 0.0)
    back_to = standing.scale if state.back_to is None else state.back_to
    reload = finding.kind == "nonfinite"
    reason = f"{finding.message}; scale {scale:.4g} for {wait:.0f} steps, then back to {back_to:.4g}"
    if reload:
        reason += "; the trainer is asked to load its last checkpoint"
    calm = math.inf
    if finding.kind == "divergence":
        calm = sign * float(finding.evidence["best"] or 0.0) + float(finding.evidence["allowed"] or 0.0)
    after = Rescue(back_to=back_to, wait=wait, bad_at=step, calm=calm)
    return after, Command(step, scale, reason, cause="rescue", reload=reload)


def due(
    state: Rescue, standing: limits.Standing, step: int, value: float, options: PolicyOptions
) -> tuple[Rescue, Command | None]:
    """Take one value, less is better. -> the next stair back, or a further cut, if it is time for it."""
    back_to = state.back_to
    if back_to is None:
        return state, None
    if not value <= state.calm or math.isinf(value):
        state = replace(state, bad_at=step)
    since = standing.applied_at
    if standing.asked is not None or since is None or step < since:
        return state, None
    if standing.scale >= back_to:
        return replace(state, back_to=None, back_at=since, climbing=False), None
    wait = state.wait / STAIRS_A_WAIT if state.climbing else state.wait
    if step - max(since, state.bad_at) >= wait:
        scale = limits.bounded(min(standing.scale * STAIR, back_to), standing, options)
        why = f"the run was calm for {step - max(since, state.bad_at)} steps; on the way back to scale {back_to:.4g}"
        after = replace(state, climbing=True)
    elif state.bad_at == step and step - since >= state.wait and math.isfinite(state.calm) and math.isfinite(value):
        scale = limits.bounded(standing.scale * options.factor, standing, options)
        why = f"{step - since} steps at scale {standing.scale:.4g} did not bring the run back"
        after = replace(state, climbing=False)
    else:
        return state, None
    if scale == standing.scale or limits.refuses(standing, scale, step, options):
        return state, None
    return after, Command(step, scale, why, cause="rescue")
