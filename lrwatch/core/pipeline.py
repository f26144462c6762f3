"""The pipeline of one run, pure: samples in, events out, and the scale to ask for.

Read it from `feed` downward. Its events depend on the samples and acknowledgements alone. How the bytes of the log were cut
into batches changes nothing, and neither does when an acknowledgement arrives: samples that come after a command are
kept until the trainer says from which step it applied it, and are then read again as the first of the new phase.

A batch is cut where the learning rate changes by force, and where the length of an epoch becomes known. In each part the
detectors make signals. These are sorted into the order of the log, and those of the primary metric go to the policy.

One file because it is one order of events: who hears what, and when, is read in one place.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np

from lrwatch.core.averaged_loss import LossDifference, differences
from lrwatch.core.command import CommandState
from lrwatch.core.detectors.base import NO_SILENCE, Silence
from lrwatch.core.detectors.plateau import Trend
from lrwatch.core.epoch_length import EpochLength, EpochSteps
from lrwatch.core.events import MEANWHILE, Command, Effect, Event, Expired, Finding, Phase
from lrwatch.core.lr_changes import Jump, LrChanges, Move, WarmupEnd
from lrwatch.core.metrics import Metrics, PrimaryFrom
from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions, RunOptions
from lrwatch.core.other_losses import OtherLosses
from lrwatch.core.pending_samples import PendingSamples
from lrwatch.core.policy import Policy, ScheduleState
from lrwatch.core.progress import Improved
from lrwatch.core.proposal import Proposal, expires_at
from lrwatch.core.run_length import LengthSource, RunLength
from lrwatch.core.sample import Batch
from lrwatch.core.signal import SCHEDULE, Expiry, Signal, Tick
from lrwatch.core.standing import at_one_look
from lrwatch.core.tracker import GROUP
from lrwatch.core.watched_curve import CurvePart, WatchedCurve


class Pipeline:
    """Detectors, phases and policy of one run.

    Args:
        detect: What counts as a plateau.
        policy: What is done about it.
        metric: The metric to decide on; None lets the names decide.
        run: What is known of the run before it begins.

    Attributes:
        detect, configured, run: As given.
        metrics: Newest values, detectors, and which metric decides.
        policy: The strategy, and its newest command.
        proposal: The newest command, while it waits for a person; None where it was sent, answered, or is void.
    """

    def __init__(
        self,
        detect: DetectOptions,
        policy: PolicyOptions,
        metric: str | None = None,
        run: RunOptions = RunOptions(),  # noqa: B008  frozen
    ) -> None:
        self.detect = detect
        self.configured, self.run = policy, run
        self.metrics = Metrics(detect, metric)
        self.policy = Policy(detect, policy, run)
        self.length = RunLength(run.total_steps, "config") if run.total_steps else RunLength()
        self._curve = WatchedCurve()
        self._averaged = self.policy.averaged
        # The metric of the curve, and whether the trainer's own schedule has lowered the rate.
        self._curve_of: str | None = None
        self._decays = False
        self._lr = LrChanges()
        self._epochs = EpochLength(run.epoch_steps)
        self._set_epoch_steps(run.epoch_steps)
        # The newest look at each loss in this phase, for a quorum.
        self._looks: dict[str, Trend] = {}
        # The metric of the newest look that went to the policy.
        self._decided_on: str | None = None
        self._pending: PendingSamples | None = None
        self._others = OtherLosses()
        # The newest command, where it waits for a person.
        self.proposal: Proposal | None = None

    # ---- where it stands --------------------------------------------------------------------------------------------

    @property
    def metric(self) -> str | None:
        """The metric that commands are decided on, or None before it is known."""
        return self.metrics.primary

    @property
    def step(self) -> int | None:
        """The newest step of any metric."""
        return self.metrics.step

    @property
    def trend(self) -> Trend | None:
        """The newest trend of the primary metric."""
        return self.metrics.trend

    @property
    def command(self) -> CommandState:
        """The scale in use, and where the newest command stands."""
        return self.policy.command

    @property
    def attached(self) -> bool:
        """Whether a trainer listens, so that an answer to a command will come."""
        return self.policy.attached

    @attached.setter
    def attached(self, attached: bool) -> None:
        self.policy.attached = attached

    @property
    def length(self) -> RunLength:
        """How many steps the run has, and who says so."""
        return self._length

    @length.setter
    def length(self, length: RunLength) -> None:
        self._length = length
        self.policy.total_steps = length.total_steps

    @property
    def options(self) -> PolicyOptions:
        """The settings of the policy, with what an operator chose since."""
        return self.policy.options

    @property
    def rate_rises(self) -> bool:
        """Whether the trainer's own schedule raises the rate at the newest step."""
        return self._lr.rises(self.step or 0)

    @property
    def rate_moves(self) -> bool:
        """Whether the trainer's own schedule moves the rate at the newest step, or did within a horizon before it."""
        step = self.step or 0
        return self._lr.moves(step, self._horizon(step))

    def watch(self, metric: str) -> None:
        """Decide commands on `metric`, whatever the names say."""
        self.metrics.wanted = metric

    def set_total_steps(self, total_steps: int, source: LengthSource) -> bool:
        """Learn the length of the run. The most reliable source counts: see `RunLength`.

        Args:
            total_steps: The length in optimizer steps; 0 where `source` does not know it any more.
            source: Who says so.

        Returns:
            Whether the length has changed.
        """
        before = self.length
        self.length = before.said(total_steps, source)
        return self.length != before

    def silence(self, metric: str) -> Silence:
        """Return for how long `metric` is guaranteed to give no event, if all samples are finite and in order."""
        if self.policy.may_command_next or self.proposal is not None:
            return NO_SILENCE
        silence = self.metrics.silence(metric)
        if self.policy.strategy.WANTS_CURVE and metric == self.metric:
            silence = silence.at_most(self._curve.room - 1)
        if self._lr.known:  # a change of the rate begins a phase, which gives nothing before a group
            silence = silence.at_most(GROUP - 1)
        return silence

    # ---- samples ----------------------------------------------------------------------------------------------------

    def feed(self, batch: Batch) -> list[Event]:
        """Take the samples of `batch`. Return the events, in the order of the log."""
        changes = self._lr.find(batch)
        epochs = self._epochs.find(batch)
        if not changes and not epochs:
            return self._feed_part(batch, [])
        breaks: list[tuple[int, EpochSteps | Jump | WarmupEnd]] = [(one.row, one) for one in epochs]
        breaks += [(change.index, change) for change in changes if not isinstance(change, Move)]
        moves = [change for change in changes if isinstance(change, Move)]
        edges = [*sorted({0, *(row for row, _ in breaks)}), batch.rows]
        events: list[Event] = []
        for start, end in pairwise(edges):
            for change in [change for row, change in breaks if row == start]:
                if isinstance(change, EpochSteps):
                    self._set_epoch_steps(change.steps)
                    continue
                self._lr.note(change)
                events.extend(self._lr_changed(int(batch.steps[start]), change))
            moved = [replace(move, index=move.index - start) for move in moves if start <= move.index < end]
            events.extend(self._feed_part(batch.part(start, end), moved))
        return events

    def _set_epoch_steps(self, steps: int) -> None:
        self.metrics.set_epoch_steps(steps)
        self.policy.epoch_steps = steps

    def _horizon(self, age: float) -> float:
        """Return the horizon in steps, at an age of the run."""
        return Horizon.parse(self.detect.horizon).steps(age, self.policy.epoch_steps)

    def _feed_part(self, batch: Batch, moves: list[Move]) -> list[Event]:
        """Take samples among which the learning rate does not change by force."""
        primary_from = self.metrics.meet(batch)
        signals = [Signal(move.index, SCHEDULE, "", move) for move in moves]
        signals += self.metrics.feed(batch, self._threshold(batch, primary_from))
        if self.policy.wants_steps:
            signals += self.metrics.ticks(batch, primary_from)
        parts = self._curve_parts(batch, primary_from)
        if signals or self._pending is not None or len(primary_from) != 1 or self.policy.acts_at_checks:
            return self._decide(batch, signals + parts, primary_from)
        for part in parts:  # nothing can follow from them
            if isinstance(part.what, CurvePart):
                self._take_part(part.metric, part.what)
            else:
                self._hear(part, is_primary=True)
        return self._decide(batch, [], primary_from)

    def _curve_parts(self, batch: Batch, primary_from: PrimaryFrom) -> list[Signal]:
        rank = self.metrics.last_rank
        found = [Signal(row, rank - 1, metric, one) for row, metric, one in differences(batch, primary_from)]
        return found + [Signal(row, rank, metric, part) for row, metric, part in self._curve.parts(batch, primary_from)]

    def _feed_pending(self, batch: Batch) -> list[Event]:
        """Take samples of the new phase that came before it was known."""
        primary_from = [] if self.metric is None else [(-1, self.metric)]
        signals = self.metrics.reread(batch)
        if self.policy.wants_steps:
            signals += self.metrics.ticks(batch, primary_from)
        signals += self._curve_parts(batch, primary_from)
        return self._decide(batch, signals, primary_from)

    def _threshold(self, batch: Batch, primary_from: PrimaryFrom) -> float | None:
        """Return the relative bound below which a look can lead to a command; None if every look must be evaluated."""
        if self.proposal is not None and batch.rows and batch.steps.max() >= self.proposal.expires_at:
            return None  # what is of no use before it is void may be of use afterwards
        changes = len(primary_from) != 1 or self._decided_on not in (None, primary_from[0][1])
        return None if changes or self.options.quorum > 1 else self.policy.threshold

    def _decide(self, batch: Batch, signals: list[Signal], primary_from: PrimaryFrom) -> list[Event]:
        """Hear `signals` in the order of the log. Return their events, and those of the policy."""
        if not signals and self._pending is None and self.proposal is None:
            self._others.begin(batch, self.metrics.losses)
            self._others.advance(batch.rows - 1)
            return []
        self._others.begin(batch, self.metrics.losses)
        events: list[Event] = []
        asked_row: int | None = None
        remember: int | None = None  # the row of a command, until all that it holds was heard
        order = sorted(signals, key=_place)
        if (expiry := self._expiry(batch, primary_from)) is not None:
            insort(order, expiry, key=_place)
        for signal in order:  # it grows where a proposal is made that is void before the batch ends
            if remember is not None and signal.row > remember:
                self._curve.remember(remember)
                remember = None
            primary = _primary_at(signal.row, primary_from)
            if isinstance(signal.what, Phase):
                self._others.advance(signal.row - 1)  # what came before belongs to the phase before
            heard = self._hear(signal, is_primary=signal.metric == primary)
            if not heard:
                continue
            heard = list(heard)
            if any(isinstance(event, (Effect, Command)) for event in heard):
                self._others.advance(signal.row)
                heard = self._with_others(heard)
            events.extend(heard)
            proposed = any(isinstance(event, Command) for event in heard)
            if proposed and (expiry := self._expiry(batch, primary_from, signal.row)) is not None:
                insort(order, expiry, key=_place)
            match signal.what:
                case Phase(cause=cause) if heard and cause != "level_shift":
                    asked_row = remember = None
                case _ if any(isinstance(event, Command) for event in heard):
                    self._others.remember()
                    self._averaged.remember()
                    asked_row = signal.row
                    remember = signal.row if self.attached else None
        if remember is not None:
            self._curve.remember(remember)
        self._others.advance(batch.rows - 1)
        self._keep_pending(batch, asked_row)
        return events

    def _hear(self, signal: Signal, *, is_primary: bool) -> Sequence[Event]:
        match signal.what:
            case CurvePart() as part:  # most signals are
                return self._check(signal.metric, part) if is_primary else []
            case Move() as move:
                self._lr.note(move)
                self._decays = self._decays or not move.rises
                return []
            case Improved() as news:
                self.metrics.hear(signal.metric, news)
                return []
            case Finding() as finding:
                if (judged := self._under_schedule(finding)) is None:
                    return []
                command = self.policy.found(judged, watched=is_primary)
                return [judged] if command is None else [judged, command]
            case Trend() as trend:
                return self._look(signal.metric, trend, is_primary=is_primary)
            case Phase() as phase if is_primary:
                if phase.cause == "level_shift":  # nothing was done to the run
                    self.policy.level_shifted()
                else:
                    self._reset()
                return [phase]
            case LossDifference() as difference:
                if is_primary:
                    self._averaged.add(difference)
                return []
            case Expiry(step):
                return self._expire(step)
            case Tick(step, value) if is_primary:
                outcome = self.policy.tick(step, value)
                return [] if outcome is None else [outcome]
            case _:
                return []

    # ---- what a command brought, and the other losses ---------------------------------------------------------------

    def _with_others(self, heard: Sequence[Event]) -> list[Event]:
        """Return events with what the other losses did, and with a command that this leads to."""
        found = []
        for event in heard:
            if isinstance(event, Effect) and (others := self._others.changes(event.step, self.metric or "")):
                clauses = "; ".join(other.words for other in others)
                event = replace(event, others=others, message=f"{event.message}{MEANWHILE}{clauses}")
            found.append(event)
        effect = next((event for event in found if isinstance(event, Effect)), None)
        if effect is not None and not any(isinstance(event, Command) for event in found):
            found += self._undo_by_validation(effect)
        return [self._waits(event) for event in found]

    def _undo_by_validation(self, effect: Effect) -> list[Command]:
        """Return the command that undoes a measured one since which a validation loss got significantly worse."""
        worse = next((other for other in effect.others if other.validation and other.got_worse), None)
        back, command = self._others.scale_before, self.command
        if worse is None or effect.verdict == "cost progress" or self.options.mode == "observe":
            return []
        if (
            command.wanted is not None
            or command.ramp is not None
            or command.scale != effect.scale
            or back == command.scale
        ):
            return []
        gained = "improved" if effect.verdict == "helped" else "shows no certain gain"
        reason = f"{worse.words} since scale {effect.scale:.4g}, while {self.metric} {gained}; this goes back to scale {back:.4g}"
        if self.options.validation == "undo" and self._sends:
            self.policy.ask(back, self.trend)
        return [Command(effect.step, back, reason, cause="validation")]

    @property
    def _sends(self) -> bool:
        """Whether commands are sent without anybody's approval."""
        return self.options.mode == "auto" and self.attached

    # ---- proposals --------------------------------------------------------------------------------------------------

    def _waits(self, event: Event) -> Event:
        """Return a command with the step at which it expires, where nothing sends it before somebody approves."""
        if not isinstance(event, Command):
            return event
        self.proposal = None
        if self._sends and (event.cause != "validation" or self.options.validation == "undo"):
            return event
        until = expires_at(event.step, Horizon.parse(self.detect.horizon))
        marked = replace(event, expires_at=until, scale_before=self.command.scale)
        self.proposal = Proposal.of(marked)
        return marked

    def _expiry(self, batch: Batch, primary_from: PrimaryFrom, after: int = -1) -> Signal | None:
        """Return the signal that voids the open proposal, if a row of `batch` after row `after` has reached its last step."""
        if self.proposal is None or not primary_from:
            return None
        rows = np.flatnonzero(batch.steps >= self.proposal.expires_at)
        rows = rows[rows > after]
        step = self.proposal.expires_at
        return Signal(int(rows[0]), self.metrics.last_rank + 1, "", Expiry(step)) if len(rows) else None

    def _expire(self, step: int) -> Sequence[Event]:
        proposal = self.proposal
        if proposal is None or proposal.expires_at != step:  # another one has taken its place, or it was answered
            return []
        self.proposal = None
        if self.command.wanted == proposal.scale and not self.policy.wants_steps:  # a schedule goes on by its steps
            self.refused(until=0.0)
        message = f"nobody answered the proposal of scale {proposal.scale:.4g} of step {proposal.step:,} in time: its evidence is old now"
        return [Expired(step, proposal.scale, proposal.step, message)]

    def objection(self, proposal: Proposal) -> str:
        """Return why a proposal may not be sent any more, as a clause; "" where it still holds."""
        return proposal.objection(self.step or 0, self.command.scale, self.trend, self.options.first_cut)

    # ---- looks and checks -------------------------------------------------------------------------------------------

    def _look(self, metric: str, trend: Trend, *, is_primary: bool) -> Sequence[Event]:
        if self.options.quorum > 1:
            self._looks[metric] = trend
        if not is_primary:
            return []
        if metric != self._decided_on:
            self._decided_on = metric
            self.policy.metric_changed()
        others = [look for other, look in self._looks.items() if other != metric]
        effect = self.policy.measure(trend)
        learned = self.metrics.improved(metric)
        command = self.policy.look(trend, others, self._schedule(trend.step, trend.horizon), learned=learned)
        if command is not None and command.cause == "plateau" and (why := at_one_look(trend, self.detect)):
            command = replace(command, reason=f"{command.reason}. {why}")
        return [event for event in (effect, command) if event is not None]

    def _take_part(self, metric: str, part: CurvePart) -> None:
        if metric != self._curve_of:
            self._curve_of = metric
            self._curve.restart()
            self._averaged.restart()
        self._curve.take(part)
        if part.checked:
            self.policy.curve = self._curve.curve

    def _check(self, metric: str, part: CurvePart) -> Sequence[Event]:
        self._take_part(metric, part)
        if not part.checked or not self.policy.acts_at_checks:
            return []
        step = int(part.steps[-1])
        schedule = self._schedule(step, self._horizon(step - self._curve.curve.first))
        return self.policy.check(step, self._curve.curve, schedule, learned=self.metrics.improved(metric))

    def _schedule(self, step: int, horizon: float) -> ScheduleState:
        """Return what the trainer's own schedule does at `step`, and the ramp of a command likewise."""
        moves = self._lr.moves(step, horizon) or self.command.ramps_at(step)
        return ScheduleState(moves, self._decays)

    def _under_schedule(self, finding: Finding) -> Finding | None:
        """Return a finding, as advice where the trainer's own schedule or a lack of progress explains it; None if it does not count."""
        if finding.kind == "too_slow":  # a straight line has other reasons then
            return None if self._lr.moves(finding.step, float(finding.evidence["steps"] or 0)) else finding
        if finding.kind != "plateau":
            return finding
        if self.command.ramps_at(finding.step):
            why = "the learning rate already falls to the end of the run"
        elif self._lr.moves(finding.step, float(finding.evidence["horizon_steps"] or 0)):
            why = "the trainer's own schedule moves the learning rate"
        elif not self.metrics.improved(finding.metric):
            why = "it has not surely improved since the run began"
        else:
            return finding
        message = f"{finding.message}; {why}, so lrwatch does not act on it"
        return replace(finding, evidence={**finding.evidence, "advice": True}, message=message)

    def _keep_pending(self, batch: Batch, asked_row: int | None) -> None:
        """Keep the samples after a command while the trainer has not answered it."""
        if asked_row is not None and self.attached:
            self._pending = PendingSamples()
        if self._pending is not None:
            self._pending.add(batch, self.metrics.watched, -1 if asked_row is None else asked_row)

    # ---- phases -----------------------------------------------------------------------------------------------------

    def _lr_changed(self, step: int, change: Jump | WarmupEnd) -> list[Event]:
        """Begin the phase that a change of the logged learning rate opens."""
        if isinstance(change, WarmupEnd):
            self.metrics.restart()
            self._reset()
            return [Phase(step, "warmup_end", f"the warmup is over: the learning rate has reached {change.rate:.3g}")]
        if self.policy.log_jumped(change.ratio):  # the acknowledgement came first
            self._lr.was_ours()
            return []
        self.metrics.restart()
        wanted = self.command.wanted
        if wanted is not None and self.command.explains(change.ratio):
            self._lr.was_ours()
            return [self._applied(step, wanted, "the learning rate in the log follows", in_log=True)]
        self._decays = self._decays or change.ratio < 1
        self._reset()
        return [Phase(step, "lr_change", f"the learning rate in the log changes by a factor of {change.ratio:.3g}")]

    def begin_anew(self) -> None:
        """Forget what the metrics did: from here on they are on another axis. Commands stay as they are."""
        self.metrics = Metrics(self.detect, self.metrics.wanted)
        self._lr = LrChanges()
        self._epochs = EpochLength(self.run.epoch_steps)
        self._set_epoch_steps(self.run.epoch_steps)
        self._curve.restart()
        self._averaged.restart()
        self._curve_of = self._decided_on = None
        self._decays = False
        self._reset()

    def _reset(self) -> None:
        self.policy.reset()
        self._others.restart()
        self.proposal = None
        self._looks = {}
        self._pending = None
        self._curve.forget()

    def _applied(self, step: int, scale: float, how: str, *, in_log: bool = False) -> Phase:
        self._others.applied(step, self.command.scale)
        self._averaged.forget()
        self.policy.applied(step, scale, in_log=in_log)
        self.proposal = None
        self._looks = {}
        self._pending = None
        self._curve.forget()
        self._curve.level_may_change(step)
        return Phase(step, "command", f"scale {scale:.4g} from step {step:,} on: {how}")

    # ---- the trainer and operators ----------------------------------------------------------------------------------

    def acknowledged(self, step: int, scale: float) -> list[Event]:
        """Begin the phase of a scale that the trainer uses from `step` on. Return it, and the events of its first samples."""
        command = self.command
        if scale == command.scale and not (command.wanted == scale and command.wanted_ramp):
            # Nothing changes: the log showed it already, or the command repeats the scale in use.
            if command.wanted == scale:
                self._pending = None
                self._curve.forget()
                self._others.forget()
                self._averaged.forget()
            self.policy.already_in_use(scale)
            return []
        pending = self._pending
        self.metrics.restart(step)
        if pending is not None:
            self._others.go_back()
            before = pending.before(step)
            self._others.begin(before, self.metrics.losses)
            self._others.advance(before.rows - 1)
            self._averaged.go_back()
            self._curve.go_back()  # a strategy sees the curve as it was at the time of the command
            self.policy.curve = self._curve.curve
        events: list[Event] = [self._applied(step, scale, "acknowledged")]
        if pending is None:
            return events
        if self.metric is not None:
            for _, _, difference in differences(before, [(-1, self.metric)]):
                self._averaged.add(difference)
            for _, metric, part in self._curve.parts(before, [(-1, self.metric)]):
                events.extend(self._check(metric, part))
        return [*events, *self._feed_pending(pending.since(step))]

    @property
    def unanswered(self) -> bool:
        """Whether a command was sent that the trainer has not answered. The sender sets it."""
        return self.policy.unanswered

    @unanswered.setter
    def unanswered(self, unanswered: bool) -> None:
        self.policy.unanswered = unanswered

    def refused(self, until: float | None = None) -> None:
        """Learn that a command will not be applied: no further one until step `until`, or for a horizon."""
        self.policy.refused(self._next_horizon if until is None else until)
        self._forget_command()

    def denied(self) -> None:
        """Learn that a person denied the proposal: no command for a horizon, and a trial whose way back was denied stays."""
        self.policy.denied(self._next_horizon)
        self._forget_command()

    @property
    def _next_horizon(self) -> float:
        return self.trend.step + self.trend.horizon if self.trend is not None else 0.0

    def _forget_command(self) -> None:
        self.proposal = None
        self._pending = None
        self._curve.forget()
        self._others.forget()
        self._averaged.forget()

    def joined(self, step: int, scale: float) -> list[Event]:
        """Handle a (re)connected trainer. Its reported `scale` overrides ours."""
        self.policy.attached = True
        self._reset()
        if scale == self.command.scale:
            return []
        self.policy.joined(step, scale)
        self.metrics.restart()
        return [Phase(step, "resume", f"the trainer starts with scale {scale:g}")]

    def ask(self, scale: float) -> None:
        """Ask for the `scale` of an operator. From now on samples are kept until the trainer answers."""
        self.policy.ask(scale, self.trend)
        self.proposal = None
        self._note_decided_on()
        self._pending = PendingSamples()
        self._others.remember()
        self._averaged.remember()
        self._curve.remember()

    def follow(self, strategy: str, *, every: int = 0, length: int = 0) -> None:
        """Let another strategy decide from now on: see `Policy.follow`."""
        self.policy.follow(strategy, self.step or 0, every=every, length=length)

    def decay_now(self) -> None:
        """Begin the decay of the strategy at the newest step: see `Policy.decay_now`."""
        self.policy.decay_now(self.step or 0)

    # ---- state ------------------------------------------------------------------------------------------------------

    def _note_decided_on(self) -> None:
        """Count a trend without a look, which no threshold let through, as one that the metric was decided on."""
        if self._decided_on is None and self.trend is not None:
            self._decided_on = self.metric

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values: a run restored from it continues exactly as this one would."""
        self._note_decided_on()
        return {
            "metrics": self.metrics.state(),
            "lr": self._lr.state(),
            "epochs": self._epochs.state(),
            "policy": self.policy.state(),
            "looks": {name: asdict(look) for name, look in self._looks.items()},
            "decided_on": self._decided_on,
            "pending": None if self._pending is None else self._pending.state(),
            "attached": self.attached,
            "length": list(self.length),
            "curve": self._curve.state(),
            "averaged": self._averaged.state(),
            "curve_of": self._curve_of,
            "decays": self._decays,
            "others": self._others.state(),
            "proposal": None if self.proposal is None else asdict(self.proposal),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        self.metrics.restore(state["metrics"])
        self._lr.restore(state["lr"])
        self._epochs.restore(state["epochs"])
        self.policy.epoch_steps = self.metrics.epoch_steps
        self.policy.restore(state["policy"])
        self._looks = {name: Trend(**look) for name, look in state["looks"].items()}
        self._decided_on = state["decided_on"]
        self._pending = None if state["pending"] is None else PendingSamples.restore(state["pending"])
        self._curve.restore(state["curve"])
        self._averaged.restore(state["averaged"])
        self._curve_of = state["curve_of"]
        self._decays = state["decays"]
        self._others.restore(state["others"])
        self.proposal = None if state["proposal"] is None else Proposal(**state["proposal"])
        self.policy.curve = self._curve.curve
        self.policy.attached = state["attached"]
        self.length = RunLength(*state["length"])


def _primary_at(row: int, primary_from: PrimaryFrom) -> str | None:
    """Return the metric that decides at a row."""
    if len(primary_from) == 1 and primary_from[0][0] <= row:
        return primary_from[0][1]
    return next((metric for since, metric in reversed(primary_from) if since <= row), None)


def _place(signal: Signal) -> tuple[int, int]:
    return signal.row, signal.rank
