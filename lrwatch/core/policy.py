"""Which scale to ask for: one strategy decides, behind the guards that hold for all of them, and what a cut brought is measured.

What the pilot hears comes in the order of the log: looks at the trend (`look`), findings (`found`), and, for strategies that
go by steps, every value of the watched metric (`tick`). One command at a time is on its way; `applied`, `refused` and `forget`
say what became of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

from lrwatch.core import effect
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.events import Command, Effect, Finding, RangeTest
from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions
from lrwatch.core.strategies import limits, plateau, range_test, rescue, schedules, trial_increase

# What these do to the curve is not to be compared with going on: a range test goes everywhere, and a rescue begins where
# going on was no longer an option.
_NOT_MEASURED = ("range_test", "rescue")


class Policy:
    """The strategy of one run.

    Args:
        detect: The direction of the metric, and the horizon.
        options: What is done about it.

    Attributes:
        options: As given, save what an operator said since (`follow`).
        policy: The scale in use, the scale asked for, what the last cut brought.
        jump_due: By which ratio the learning rate of the log is about to jump because of a command, or None.
    """

    def __init__(self, detect: DetectOptions, options: PolicyOptions) -> None:
        self._horizon = Horizon.parse(detect.horizon)
        self._sign = 1.0 if detect.direction == "min" else -1.0
        self._configured = self.options = options
        self._followed: dict[str, Any] = {}
        self._then: dict[str, Any] = {"strategy": "observe"}
        self.policy = plateau.PolicyState()
        self.jump_due: float | None = None
        self._newest: Trend | None = None
        self._asked_trend: Trend | None = None
        self._asked_by_operator = False
        self._before: effect.Before | None = None
        self._sweep: range_test.Sweep | None = None
        self._start_strategy(schedules.Plan())

    def _start_strategy(self, plan: schedules.Plan) -> None:
        self._plan = plan
        self._rescue = rescue.Rescue()
        self._trial = trial_increase.Trial()

    # ---- what it hears --------------------------------------------------------------------------------------------

    @property
    def ticks(self) -> bool:
        """Whether the strategy wants every value of the watched metric."""
        return self.options.strategy in (*schedules.TIMED, "range_test", "rescue")

    @property
    def waits_for_steps(self) -> bool:
        """Whether it may speak at the next value, whatever that is."""
        return self.ticks and (self.options.strategy != "rescue" or self._rescue.back_to is not None)

    @property
    def worth(self) -> float | None:
        """What the bounds of a look must lie below, relative to the level, to lead to anything; None if all looks matter."""
        measuring = self._before is not None or self.policy.take_back or self._trial.take_back
        waiting_for_jump = self.jump_due is not None and self.policy.asked is None
        if measuring or waiting_for_jump or self._remembers:
            return None
        return plateau.worth_looking_for(self.policy, self.options)

    @property
    def _remembers(self) -> bool:
        """Whether a command may come without a look, so that the newest one is what it is measured by."""
        by_findings = self.options.overfitting == "cut" or self._may_raise
        return self.options.strategy in schedules.TIMED or (self.options.strategy == "plateau" and by_findings)

    @property
    def _may_raise(self) -> bool:
        """Whether somebody gave leave to go above the rate that the trainer's own schedule gives."""
        return self.options.max_scale > 1

    def look(self, trend: Trend, others: Collection[Trend] = (), *, moves: bool = False) -> list[Command | Effect]:
        """A look at the watched metric.

        Args:
            trend: The look.
            others: The newest looks at the other losses, in this phase.
            moves: The trainer's own schedule moves the learning rate.
        """
        said: list[Command | Effect] = []
        if self._remembers:
            self._newest = trend
        if self._before is not None and (measured := effect.measure(self._before, trend)) is not None:
            before = self._before.level
            self._learn(measured, trend.level / before if trend.level and before else 1.0)
            said.append(measured)
        since = self.policy.applied_at
        if self.policy.asked is None and since is not None and trend.step - since >= trend.horizon:
            self.jump_due = None  # this log does not show our changes: the next jump is not ours
        command = self._decide(trend, others, moves=moves)
        if command is not None:
            said.append(command)
        return said

    def _learn(self, measured: Effect, level_ratio: float) -> None:
        """A command was measured; the level is now `level_ratio` of what it was before."""
        self._before = None
        if self._trial.previous is not None:
            self._trial = trial_increase.learned(self._trial, measured)
        elif self.options.strategy == "plateau":
            self.policy = plateau.learned(self.policy, measured, level_ratio)

    def _decide(self, trend: Trend, others: Collection[Trend], *, moves: bool) -> Command | None:
        if self._trial.take_back:
            self._trial, command = trial_increase.due(self._trial, self.policy, trend.step, self.options)
            return None if command is None else self._asked(command)
        if self._trial.previous is not None:  # one trial at a time
            return None
        worth = plateau.going_on_must_bring(self.policy, self.options)
        state, command = plateau.decide(replace(self.policy, schedule_moves=moves), trend, self.options)
        if command is not None and command.cause in ("plateau", "probe"):
            agree = 1 + sum(other.ratio(other.upper_now) < worth for other in others)
            if agree < self.options.quorum:
                return None
        if command is not None:
            self._note_asked(command, trend)
        self.policy = replace(state, schedule_moves=False)
        return command

    def found(self, finding: Finding, *, watched: bool) -> Command | None:
        """A finding; `watched` says whether it is of the watched metric. -> what is done about it."""
        command: Command | None = None
        if self.options.strategy == "rescue" and (watched or finding.kind == "nonfinite"):
            horizon = self._horizon.steps(finding.step)
            self._rescue, command = rescue.answer(self._rescue, self.policy, finding, horizon, self._sign, self.options)
        elif self.options.strategy == "range_test":
            if self._sweep is not None and finding.kind in ("divergence", "nonfinite") and watched:
                self._sweep = range_test.left_course(self._sweep)
        elif self.options.strategy == "plateau" and finding.kind == "too_slow" and watched and self._may_raise:
            newest = self._newest
            going = 0.0 if newest is None else newest.ratio(newest.improvement_now)
            self._trial, command = trial_increase.answer(self._trial, self.policy, finding, going, self.options)
        elif self.options.strategy == "plateau" and finding.kind == "overfitting":
            command = self._overfits(finding)
        return None if command is None else self._asked(command)

    def _overfits(self, finding: Finding) -> Command | None:
        scale = limits.bounded(self.policy.scale * self.options.factor, self.policy, self.options)
        refused = limits.refuses(self.policy, scale, finding.step, self.options)
        if self.options.overfitting == "advise" or scale >= self.policy.scale or refused:
            return None
        return Command(finding.step, scale, f"{finding.message}; scale {scale:.4g} slows that", cause="overfitting")

    def tick(self, step: int, value: float) -> Command | RangeTest | None:
        """A value of the watched metric. -> what a strategy that goes by steps says to it."""
        said: Command | RangeTest | None = None
        if self.options.strategy == "rescue":
            self._rescue, said = rescue.due(self._rescue, self.policy, step, self._sign * value, self.options)
        elif self.options.strategy == "range_test":
            said = self._sweep_on(step, value)
        elif self.options.strategy in schedules.TIMED:
            said = self._on_plan(step)
        return self._asked(said) if isinstance(said, Command) else said

    def _on_plan(self, step: int) -> Command | None:
        wanted = schedules.wanted(self._plan, step, self.options)
        scale = limits.bounded(wanted, self.policy, self.options)
        if limits.same(scale, self.policy.scale) or limits.refuses(self.policy, scale, step, self.options):
            return None
        return Command(
            step, scale, f"{self.options.strategy}: scale {wanted:.4g} from step {step} on", cause="schedule"
        )

    def _sweep_on(self, step: int, value: float) -> Command | RangeTest | None:
        if self._sweep is None:
            try:
                self._start_sweep(step, self.options)
            except ValueError as error:
                self._return()
                return RangeTest(step, (), (), None, None, None, f"no range test: {error}")
        assert self._sweep is not None
        self._sweep, said = range_test.due(self._sweep, self.policy, step, self._sign * value, self.options)
        if not isinstance(said, RangeTest):
            return said
        self._return()
        return replace(said, levels=tuple(self._sign * level for level in said.levels))

    def _start_sweep(self, step: int, options: PolicyOptions) -> None:
        if options.mode != "auto":
            raise ValueError(f"mode must be auto for range_test, which is nothing but commands, got {options.mode!r}")
        self._sweep = range_test.Sweep.plan(step, self.policy, options.length, options)

    def _return(self) -> None:
        """A range test is over: the strategy before goes on as if it had not been."""
        self._sweep = None
        self._followed, self._then = self._then, {"strategy": "observe"}
        self.options = replace(self._configured, **self._followed)

    def _asked(self, command: Command) -> Command:
        """A command that is not the plateau policy's own is no trial of it: it is neither learned from nor taken back."""
        state = replace(self.policy, asked=command.scale, commands=self.policy.commands + 1)
        self.policy = replace(state, previous=None, take_back=False)
        self._note_asked(command, self._newest)
        return command

    def _note_asked(self, command: Command, trend: Trend | None) -> None:
        self._asked_trend = trend
        self._asked_by_operator = False
        self.jump_due = command.scale / self.policy.scale

    # ---- what an operator says -------------------------------------------------------------------------------------

    def ask(self, scale: float, trend: Trend | None) -> None:
        """An operator asks for `scale`: no trial of ours, to be taken back. A strategy that goes by steps goes on from it."""
        self.policy = replace(self.policy, asked=scale, previous=None, take_back=False)
        self._trial = trial_increase.Trial(quiet_until=self._trial.quiet_until)
        self._asked_trend = trend
        self._asked_by_operator = True
        self.jump_due = scale / self.policy.scale

    def follow(self, strategy: str, step: int, *, every: int = 0, length: int = 0) -> None:
        """From `step` on another strategy decides, and begins there with the scale that is in use.

        Args:
            strategy: One of `options.STRATEGIES`.
            step: The newest step.
            every: As in `PolicyOptions`; 0 leaves what there was.
            length: As in `PolicyOptions`; 0 leaves what there was.

        Raises:
            ValueError: A strategy that is unknown, that lacks a number which it needs, or that has no room between the bounds.
        """
        given = {"every": every, "length": length}
        followed = {**self._followed, "strategy": strategy, **{key: value for key, value in given.items() if value}}
        options = replace(self.options, **followed)
        if strategy == "range_test":
            if self._sweep is not None:
                raise ValueError("a range test must be over before the next one, and one is under way")
            self._start_sweep(step, options)
            self._then = self._followed
        elif self._sweep is not None:  # it restores the scale first
            self._start_strategy(schedules.Plan(step, self._sweep.base))
            self._sweep, self._then = replace(self._sweep, over=True), followed
            return
        else:
            self._start_strategy(schedules.Plan(step, self.policy.scale))
        self.options, self._followed = options, followed
        self.policy = replace(self.policy, previous=None, take_back=False)

    def decay_now(self, step: int) -> None:
        """Begin the decay of WSD at `step`.

        Raises:
            ValueError: Another strategy decides, or it has begun.
        """
        if self.options.strategy != "wsd":
            raise ValueError(f"strategy must be wsd to decay, got {self.options.strategy!r}")
        if schedules.share(self._plan, step, self.options) < 1:
            raise ValueError(f"the decay must not have begun, and has at step {step}")
        self._plan = replace(self._plan, decay_at=step)

    # ---- what became of a command ----------------------------------------------------------------------------------

    def applied(self, step: int, scale: float) -> None:
        """The trainer uses `scale` from `step` on."""
        trend = self._asked_trend
        trial = scale < self.policy.scale or self._trial.previous is not None  # to take a cut back is none
        if trial and trend is not None and self.options.strategy not in _NOT_MEASURED:
            self._before = effect.Before.of(trend, step, scale, self._sign)
        else:
            self._before = None
        if self._asked_by_operator and self.options.strategy in schedules.TIMED:
            self._go_on_from(step, scale)
        self.policy = plateau.applied(self.policy, step, scale)
        self._newest = None
        self._settle()

    def _go_on_from(self, step: int, scale: float) -> None:
        """What is left of the plan is left of `scale`; where nothing is left, nothing more is done."""
        if share := schedules.share(self._plan, step, self.options):
            self._plan = replace(self._plan, base=scale / share)
        else:
            self._followed = {**self._followed, "strategy": "observe"}
            self.options = replace(self.options, strategy="observe")

    def is_in_use(self, scale: float) -> None:
        """The trainer says that it uses `scale`, as it did before."""
        if self.policy.asked == scale:
            self.policy = replace(self.policy, asked=None)
            self._settle()

    def _settle(self) -> None:
        """Nothing is on its way."""
        self._asked_trend = self.jump_due = None
        self._asked_by_operator = False

    def refused(self, until: float) -> None:
        """What was asked is not going to happen: keep still until step `until`; but a range test goes back at once."""
        if self._sweep is not None and not self._sweep.over:
            self._sweep = range_test.refused(self._sweep)
            until = self.policy.quiet_until
        self.policy = plateau.rejected(self.policy, until)
        if not self._trial.take_back:
            self._trial = trial_increase.Trial(quiet_until=max(self._trial.quiet_until, until))
        self._settle()

    def joined(self, step: int, scale: float) -> None:
        """A trainer begins to listen at `step` and uses `scale`, which is not what it was."""
        self.policy = replace(self.policy, scale=scale, applied_at=step, previous=None, take_back=False)
        self._trial = trial_increase.Trial(quiet_until=self._trial.quiet_until)

    def forget(self) -> None:
        """The curve has changed by force: what was asked and what was to be measured is of no use any more."""
        self.policy = replace(self.policy, asked=None)
        if not self._trial.take_back:
            self._trial = trial_increase.Trial(quiet_until=self._trial.quiet_until)
        self._newest = self._before = None
        self._settle()

    def forget_effect(self) -> None:
        """The level shifted for the worse by itself: what the last cut brought cannot be told any more."""
        self._newest = self._before = None
        if self._trial.previous is not None:  # not surely better
            self._trial = replace(self._trial, take_back=True)

    def forget_trend(self) -> None:
        """Another metric is watched: the line before the last command is not of this one."""
        self._newest = self._before = self._asked_trend = None

    # ---- state ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """JSON-plain state."""
        return {
            "policy": asdict(self.policy),
            "plan": asdict(self._plan),
            "rescue": asdict(self._rescue),
            "trial": asdict(self._trial),
            "sweep": None if self._sweep is None else asdict(self._sweep),
            "followed": self._followed,
            "then": self._then,
            "newest": None if self._newest is None else asdict(self._newest),
            "asked_trend": None if self._asked_trend is None else asdict(self._asked_trend),
            "asked_by_operator": self._asked_by_operator,
            "before": None if self._before is None else asdict(self._before),
            "jump_due": self.jump_due,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`. A state of version 0.1 knows of no strategy but the one of the settings."""
        self.policy = plateau.PolicyState.restore(state["policy"])
        self._plan = schedules.Plan(**state.get("plan", {}))
        self._rescue = rescue.Rescue(**state.get("rescue", {}))
        self._trial = trial_increase.Trial(**state.get("trial", {}))
        sweep = state.get("sweep")
        self._sweep = None if sweep is None else range_test.Sweep.restore(sweep)
        self._followed = dict(state.get("followed", {}))
        self._then = dict(state.get("then", self._then))
        self.options = replace(self._configured, **self._followed)
        newest = state.get("newest")
        self._newest = None if newest is None else Trend(**newest)
        self._asked_trend = None if state["asked_trend"] is None else Trend(**state["asked_trend"])
        self._asked_by_operator = state.get("asked_by_operator", False)
        self._before = None if state["before"] is None else effect.Before(**state["before"])
        self.jump_due = state["jump_due"]
