"""Rescue: when the run leaves its course, cut, wait until it has calmed down, and go back up.

It answers a divergence, recurring spikes, and values that are not finite; for the last it also asks the trainer to load its
last checkpoint, because weights that are not finite stay so at every learning rate. After a cut it waits until the run has
been calm for a horizon, then goes back in stairs of STAIR, each a part of the wait long. A divergence that is not over after
a wait is cut once more. If the run leaves its course again before it is back, or soon after, the cut is made from the
scale in use and the wait doubles: a scale that was too high twice is not tried a third time so soon. The scale that it goes back to
is the one before the first cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from lrwatch.core.command import Asked
from lrwatch.core.events import Command, Finding
from lrwatch.core.strategies.base import Context, Strategy, StrategyDecision

# The way back goes by factors of this, each after a part of the wait: a stair that is too high shows before the next.
STAIR = math.sqrt(2)
STAIRS_A_WAIT = 4

# A run that leaves its course within this many waits after it came back has not been cured.
SOON = 4


@dataclass(frozen=True, slots=True)
class Rescue(Strategy):
    """Cut a run that leaves its course, and go back up.

    Its effects are not measured: it begins where continuing was no longer an option.

    Attributes:
        back_to: The scale before the first cut, while it is not reached again, or None.
        wait: Steps from the application of a cut to the first stair back, 0 before the first rescue.
        back_at: Step at which the earlier scale was reached again, or None.
        climbing: The newest command was a stair back, and no cut.
        bad_at: Step of the newest value that was not calm.
        calm: Values up to this are calm, less is better; infinite where every finite value is.
    """

    NAME: ClassVar[str] = "rescue"
    MEASURED: ClassVar[bool] = False
    WANTS_STEPS: ClassVar[bool] = True

    back_to: float | None = None
    wait: float = 0.0
    back_at: int | None = None
    climbing: bool = False
    bad_at: int = 0
    calm: float = math.inf

    def may_command_next(self) -> bool:
        """Whether it is on its way back."""
        return self.back_to is not None

    def found(self, finding: Finding, context: Context, *, watched: bool) -> StrategyDecision:
        """Cut if the run has left its course; a value that is not finite counts in every metric."""
        if not (watched or finding.kind == "nonfinite") or not leaves_course(finding):
            return StrategyDecision(self)
        step, scale = finding.step, context.cut
        if scale >= context.scale or context.refuses(scale, step):
            return StrategyDecision(self)
        soon = self.back_to is not None or (self.back_at is not None and step - self.back_at < SOON * self.wait)
        wait = max(context.horizon.steps(step), 2 * self.wait if soon else 0.0)
        back_to = context.scale if self.back_to is None else self.back_to
        reload = finding.kind == "nonfinite"
        reason = f"{finding.message}; scale {scale:.4g} for {wait:,.0f} steps, then back to {back_to:.4g}"
        if reload:
            reason += "; the trainer loads its last checkpoint, if it can"
        calm = math.inf
        if finding.kind == "divergence":
            calm = context.sign * float(finding.evidence["best"] or 0.0) + float(finding.evidence["allowed"] or 0.0)
        after = Rescue(back_to=back_to, wait=wait, bad_at=step, calm=calm)
        return StrategyDecision(after, Command(step, scale, reason, cause="rescue", reload=reload), Asked(scale))

    def tick(self, step: int, value: float, context: Context) -> StrategyDecision:
        """Ask for the next stair back, or a further cut, when it is time for it."""
        after, value = self, context.sign * value
        back_to, since, scale_now = self.back_to, context.command.applied_at, context.scale
        if back_to is None:
            return StrategyDecision(self)
        if not value <= self.calm or math.isinf(value):
            after = replace(self, bad_at=step)
        if context.command.wanted is not None or since is None or step < since:
            return StrategyDecision(after)
        if scale_now >= back_to:
            return StrategyDecision(replace(after, back_to=None, back_at=since, climbing=False))
        wait = self.wait / STAIRS_A_WAIT if self.climbing else self.wait
        calm_for = step - max(since, after.bad_at)
        if calm_for >= wait:
            scale = context.bounded(min(scale_now * STAIR, back_to))
            reason = f"the run was calm for {calm_for:,} steps; this is on the way back to scale {back_to:.4g}"
        elif after.bad_at == step and step - since >= self.wait and math.isfinite(self.calm) and math.isfinite(value):
            scale = context.cut
            reason = f"{step - since:,} steps at scale {scale_now:.4g} did not bring the run back"
        else:
            return StrategyDecision(after)
        if scale == scale_now or context.refuses(scale, step):
            return StrategyDecision(after)
        after = replace(after, climbing=calm_for >= wait)
        return StrategyDecision(after, Command(step, scale, reason, cause="rescue"), Asked(scale))


def leaves_course(finding: Finding) -> bool:
    """Whether the finding is a divergence, recurring spikes, or a value that is not finite."""
    return finding.kind in ("divergence", "nonfinite") or (
        finding.kind == "spike" and bool(finding.evidence.get("recurring"))
    )
