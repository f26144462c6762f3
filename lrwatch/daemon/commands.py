"""The commands of one run: sent or proposed, and what the trainer answered."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from lrwatch.control.reconciler import Acknowledgement, Reconciler
from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.events import Command, Effect, Event, as_json
from lrwatch.core.options import Horizon, Mode
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.proposal import Proposal, expires_at
from lrwatch.core.sample import Axis
from lrwatch.daemon.bounds import in_words
from lrwatch.protocol import Desired

# A log that lags by fewer steps than this is not behind, it is buffered.
MIN_STALE_STEPS = 1000

# Causes that rest on the trend at a step of the log, so that a trainer far ahead of the log outdates them. A schedule holds
# however far ahead the trainer is, and so does a rescue, and the way back of a trial, which must not stay because a log lags.
DECIDED_ON_TREND = ("plateau", "probe", "overfitting", "too_slow")

# Share of the steps of a line that it may lose to the way of its command: the last step of a shorter one would go further than one
# command may.
MOST_SHORTENED = 0.1

# Causes of commands that undo the one before.
GO_BACK = ("restore", "validation")

# Incarnations of trainers that are remembered: those of a few trainers that take turns on one directory.
MET = 16

# A trainer that has come back while another one was heard takes turns with it, until none has come back for so many seconds.
TURNS_SECONDS = 30.0

# Looks in a row that a run waits for a trainer's word, or an operator for the logs, that cannot be read: a fault of the disk that passes must not let the log tell of
# a change before the trainer has, and one that stays must not stop the watching.
UNHEARD_TURNS = 3

# The actor of a command that is no operator's.
OWN_NAME = "lrwatch"

JournalEvent = dict[str, Any]


class RunCommands(Checkpointed):
    """The commands of one run.

    Args:
        run: The run's name.
        pipeline: Decides, and learns what became of a decision.
        mode: What happens to a decision: observe, suggest, approve or auto.
        reconciler: Sends commands to the trainer; None where nothing may be commanded.

    Attributes:
        reconciler: As given.
        held: Whether an operator holds the run: decisions are journalled and not sent.
        proposals: The open proposal by the number of its journal entry: one at the most, because a newer one rests on a newer curve.
        scales: Scales that the trainer used since it started, the newest last. causes: The cause of each; "" for the first.
        takes_turns: Whether two trainers are heard in turn.
        applied_time: Seconds since the epoch of the last acknowledged command, or None.
        counts: Counter of what became of commands, by `count_key`; those of operators have the cause `operator`.
        rejected: Counter of rejections by code.
    """

    SAVED = (
        "held", "scales", "causes", "applied_time", "counts", "rejected", "_in_flight", "_undoes", "_met", "_returns"
    )  # fmt: skip

    def __init__(self, run: str, pipeline: Pipeline, mode: Mode, reconciler: Reconciler | None) -> None:
        self._run = run
        self._pipeline = pipeline
        self._mode = mode
        self.reconciler = reconciler
        self.held = False
        self.proposals: dict[int, Proposal] = {}
        self.scales: list[float] = []
        self.causes: list[str] = []
        self.applied_time: float | None = None
        self.counts: Counter[str] = Counter()
        # Cause of the command that was sent last, and whether it undoes the one before.
        self._in_flight = ""
        self._undoes = False
        self.rejected: Counter[str] = Counter()
        self._met: list[str] = []  # incarnations that have said hello, the newest last
        self._unheard = 0  # looks in a row at which the trainer's word could not be read
        self._returns = 0  # how often one of them has said it again, and when it did last, in monotonic seconds
        self._returned_at = float("-inf")
        self.takes_turns = False

    @property
    def can_send(self) -> bool:
        """Whether a trainer is attached that would take a command of this daemon."""
        return self.reconciler is not None and self.reconciler.attached and not self.reconciler.fenced

    @property
    def waits_for_word(self) -> bool:
        """Whether logs and operators wait until what the trainer says can be read: nothing is decided on what may be out of date."""
        return 0 < self._unheard <= UNHEARD_TURNS

    @property
    def fenced(self) -> bool:
        """Whether another daemon has taken over, so that this one writes nothing."""
        return self.reconciler is not None and self.reconciler.fenced

    @property
    def rival(self) -> str:
        """The other daemon that has taken over and what follows from that, as a sentence, or ""."""
        if self.reconciler is None or not self.reconciler.fenced:
            return ""
        return (
            f"another daemon commands this run ({self.reconciler.lease.rival}), so this one only watches until that one is gone; end one "
            "of the two"
        )

    def by_state(self) -> dict[str, dict[str, int]]:
        """Return what became of commands: cause to state to count."""
        found: dict[str, dict[str, int]] = {}
        for key, count in sorted(self.counts.items()):
            cause, state = key.split()
            found.setdefault(cause, {})[state] = count
        return found

    def _count(self, cause: str, state: str) -> None:
        self.counts[count_key(cause, state)] += 1

    def measured(self, effect: Effect) -> None:
        """Count the command in use as proven, where its effect is."""
        pending = None if self.reconciler is None else self.reconciler.pending
        # The log may show a new rate before the trainer acknowledges it.
        in_use = (
            self._in_flight
            if pending is not None and pending.scale == effect.scale
            else next(iter(self.causes[-1:]), "")
        )
        if effect.verdict == "helped" and in_use:
            self._count(in_use, "proven")

    def decided(self, command: Command, axis: Axis, now: float) -> JournalEvent:
        """Send a command of the strategy, or propose it.

        Args:
            command: The decision.
            axis: What the samples that it rests on are counted in.
            now: Seconds since the epoch.

        Returns:
            Its journal event. The key `proposal` holds one that was not sent, and is not for the journal.
        """
        self._count(command.cause, "asked")
        state = self._disposition(command, axis)
        if command.expires_at is None and state not in ("sent", "outdated"):
            until = expires_at(command.step, Horizon.parse(self._pipeline.detect.horizon))
            command = replace(command, expires_at=until, scale_before=self._pipeline.command.scale)
        event = {**as_json(command, self._run), "mode": self._mode, "state": state}
        if state == "outdated":
            assert self.reconciler is not None
            assert self.reconciler.observed is not None
            event["trainer_step"] = self.reconciler.observed.step
        if state == "outdated":
            return event
        if state != "sent":
            return {**event, "proposal": Proposal.of(command)}
        desired = self.send(
            command.scale, reason=command.reason, actor=OWN_NAME, now=now, cause=command.cause,
            reload=command.reload, ramp_steps=self._ramp_from_now(command, axis),
        )  # fmt: skip
        return {**event, "generation": desired.generation}

    def _ramp_from_now(self, command: Command, axis: Axis) -> int:
        """Return over how many steps the scale must move to be there at the step that was decided, as the trainer is beyond the log."""
        assert self.reconciler is not None
        late = (self.reconciler.trainer_step or 0) - command.step if axis == "step" else 0
        shortest = math.ceil((1 - MOST_SHORTENED) * command.ramp_steps)
        return max(min(command.ramp_steps - late, command.ramp_steps), shortest)

    def _disposition(self, command: Command, axis: Axis) -> str:
        """Return the state in which the journal shows a decision."""
        if self.held:
            return "held"
        if trainer_step := self._trainer_ahead(command, axis):
            if (
                command.expires_at is None
            ):  # else it is void by itself, at a step that does not depend on how much is read at once
                self._pipeline.refused(until=trainer_step)
            return "outdated"
        advice = command.cause == "validation" and self._pipeline.options.validation == "advise"
        match self._mode:
            case "auto" if advice:
                return "awaits approval"
            case "approve":
                return "awaits approval"
            case "auto" if not self.can_send:
                return "no trainer listens"
            case "auto" if self._pipeline.command.wanted != command.scale:
                # The run was resumed, or its schedule jumped, in what was read together with the reason for the command.
                assert self.reconciler is not None
                assert self.reconciler.observed is not None
                self._pipeline.refused(until=self.reconciler.observed.step)
                return "outdated"
            case "auto":
                return "sent"
            case _:
                return "suggested"

    def _trainer_ahead(self, command: Command, axis: Axis) -> int | None:
        """Return the trainer's step, where the log is so far behind it that a decision at the log's step is stale."""
        observed = self.reconciler.observed if self.reconciler is not None else None
        trend = self._pipeline.trend
        if observed is None or trend is None or axis != "step" or command.cause not in DECIDED_ON_TREND:
            return None
        return observed.step if observed.step - command.step > max(trend.horizon, MIN_STALE_STEPS) else None

    def send(
        self,
        scale: float,
        *,
        reason: str,
        actor: str,
        now: float,
        cause: str = "operator",
        undoes: bool = False,
        reload: bool = False,
        ramp_steps: int = 0,
    ) -> Desired:
        """Prepare the command of a scale; it is published once it is saved.

        Args:
            scale: Absolute multiplier on the schedule's learning rate.
            reason: Why, in words.
            actor: The operator's name, or OWN_NAME.
            now: Seconds since the epoch.
            cause: Why there is a command, in one word; an approved one keeps that of its proposal.
            undoes: Whether it undoes the command before.
            reload: Whether the trainer is to load its last checkpoint first.
            ramp_steps: Optimizer steps over which the scale moves there; 0 is at once.
        """
        assert self.reconciler is not None
        trend = self._pipeline.trend
        horizon = trend.horizon if trend is not None else 0.0
        desired = self.reconciler.prepare(
            scale, reason=reason, actor=actor, horizon=horizon, now=now, reload=reload, ramp_steps=ramp_steps
        )
        if self._pipeline.command.wanted != scale:
            self._pipeline.ask(scale)
        self._pipeline.unanswered = True
        if cause == "operator":
            self._count(cause, "asked")
        self._count(cause, "sent")
        self._in_flight, self._undoes = cause, undoes or cause in GO_BACK
        return desired

    def receive(self, now: float, ticks: float) -> tuple[JournalEvent, list[Event]] | None:
        """Read what the trainer wrote, and tell the pipeline.

        Args:
            now: Seconds since the epoch.
            ticks: Monotonic seconds.

        Returns:
            The journal event and the pipeline's events that follow from it, or None when there is nothing for the journal. Two trainers
            on one directory say hello in turn, again and again: of these the journal has the 1st, 2nd, 4th, 8th.
        """
        reconciler = self.reconciler
        if reconciler is None or (reconciler.observed is None and not _may_exist(reconciler.control.path)):
            return None
        self.takes_turns = ticks - self._returned_at < TURNS_SECONDS
        before = reconciler.observed
        acknowledgement = reconciler.look(ticks)
        self._unheard = self._unheard + 1 if reconciler.control.unreadable else 0
        if reconciler.observed is not None and reconciler.observed is not before:
            self._pipeline.set_total_steps(reconciler.observed.total_steps or 0, "trainer")
        if acknowledgement is None:
            return None
        self._pipeline.unanswered = False
        observed, desired = acknowledgement.observed, acknowledgement.desired
        # A command with a ramp counts as its last scale, from its first step on.
        scale, ramp = observed.scale, {}
        if acknowledgement.kind == "hello":
            scale = observed.target_scale or observed.scale
        elif acknowledgement.kind == "acknowledged" and desired is not None and desired.ramp_steps:
            scale, ramp = desired.scale, {"ramp_steps": desired.ramp_steps}
        common = {"run": self._run, "scale": scale, "generation": acknowledgement.generation}
        match acknowledgement.kind:
            case "hello":
                self.scales, self.causes = [scale], [""]
                event = {"event": "hello", **common, "step": observed.step, "client": observed.client}
                if observed.two_trainers:
                    event["two_trainers"] = True
                events = self._pipeline.joined(self._pipeline.step or observed.step, scale)
                said_goodbye = before is not None and before.life == "ended"
                is_news = acknowledgement.taken_over or self._is_news(observed.incarnation, ticks, alone=said_goodbye)
                return (event, events) if is_news else None
            case "acknowledged":
                self._applied(scale)
                self.applied_time = now
                step = observed.applied_step if observed.applied_step is not None else observed.step
                rates = {"schedule_lr": dict(observed.schedule_lr), "effective_lr": dict(observed.effective_lr)}
                event = {"event": "acknowledged", **common, **ramp, "step": step, **rates}
                return event, self._pipeline.acknowledged(step, scale)
            case "rejected":
                return self._rejection(acknowledgement, common), []

    def _is_news(self, incarnation: str, ticks: float, *, alone: bool) -> bool:
        """Whether the journal is to have the hello of an incarnation, so that flapping ones let it grow by their logarithm only.

        One that comes back `alone`, when the other has said goodbye, takes no turns with it.
        """
        if incarnation not in self._met:
            self._met = [*self._met, incarnation][-MET:]
            return True
        self._returns += 1
        if not alone:
            self._returned_at, self.takes_turns = ticks, True
        return self._returns & (self._returns - 1) == 0

    def _applied(self, scale: float) -> None:
        """Count the command that the trainer has acknowledged."""
        self._count(self._in_flight, "applied")
        if self._undoes and self.causes and self.causes[-1]:
            self._count(self.causes[-1], "taken_back")
        self.scales.append(scale)
        self.causes.append(self._in_flight)

    def _rejection(self, acknowledgement: Acknowledgement, common: JournalEvent) -> JournalEvent:
        observed = acknowledgement.observed
        code = acknowledgement.code or observed.code or observed.status
        self.rejected[code] += 1
        self._count(self._in_flight, "rejected")
        self._pipeline.refused()
        message = in_words(code, acknowledgement.desired, observed, self._pipeline.options, run=self._run)
        return {"event": "rejected", **common, "step": observed.step, "code": code, "message": message}

    def clock_stepped(self, seconds: float) -> None:
        """See `WatchedRun.clock_stepped`."""
        if self.applied_time is not None:
            self.applied_time += seconds
        if self.reconciler is not None:
            self.reconciler.clock_stepped(seconds)

    def publish(self) -> None:
        """Send the command in flight, unless it is sent already."""
        if self.reconciler is not None:
            self.reconciler.publish()


def count_key(cause: str, state: str) -> str:
    """Return the key of `RunCommands.counts`, JSON-plain, for a cause (`CAUSES`) and a state (`STATES`)."""
    return f"{cause} {state}"


def voids_proposals(event: JournalEvent) -> bool:
    """Whether nothing that was proposed before holds any more: it expired, another scale is in use, or the curve has changed by force."""
    return event["event"] in ("expired", "acknowledged", "hello") or (
        event["event"] == "phase" and event["cause"] != "level_shift"
    )


def _may_exist(path: Path) -> bool:
    """Whether a closer look is worth it. Most runs have no trainer attached, and every turn asks."""
    try:
        os.lstat(path)  # Path.lstat costs five times as much
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
