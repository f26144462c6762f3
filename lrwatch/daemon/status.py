"""What a snapshot shows of one run: its counters, its newest effect, and its problem in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from lrwatch.config import Config
from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.events import Effect, Event, Finding
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.proposal import Proposal, how_to_approve
from lrwatch.core.snapshot import EffectStatus, FoundStatus, MetricStatus, ProposalStatus, RunStatus
from lrwatch.daemon.commands import RunCommands
from lrwatch.daemon.life import LifeWatch
from lrwatch.daemon.logs import RunLogs
from lrwatch.daemon.trainer import trainer_faults, trainer_problem

CLIENT_COLUMNS = frozenset({"time", "scale"})
"""What the client's own log has beside the metrics of the training."""


class StatusView(Checkpointed):
    """The status of one run, computed on demand and cached until something changes.

    Args:
        run: The run's name.
        config: The settings.
        pipeline: What the run's metrics did.
        logs: What was read.
        commands: What the trainer was sent and answered.
        life: What the run is in.
        curve: Gives the curve of the metric that decides, for a small picture.

    Attributes:
        findings: Counter of findings by kind.
        found: The newest finding of each kind, without those that the logs held when they were first seen.
        effects: Counter of measured commands by verdict.
        effect: The newest measured command, or None.
        last_sample_time: Seconds since the epoch at which the newest sample was written, or None.
        patience: Seconds of silence that the run's own gaps explain, or None where there are too few.
        caught_up: Whether the logs were read to their end once.
        save_problem: Why the last save failed, as a sentence, or "".
    """

    SAVED = ("findings", "effects", "last_sample_time", "caught_up")

    def __init__(
        self, run: str, config: Config, pipeline: Pipeline, logs: RunLogs, commands: RunCommands, life: LifeWatch,
        curve: Callable[[], tuple[float, ...]],
    ) -> None:  # fmt: skip
        self._run = run
        self._config = config
        self._pipeline = pipeline
        self._logs = logs
        self._commands = commands
        self._life = life
        self._curve = curve
        self.patience: float | None = None
        self.caught_up = False
        self.findings: Counter[str] = Counter()
        self.found: dict[str, FoundStatus] = {}
        self.effects: Counter[str] = Counter()
        self.effect: EffectStatus | None = None
        self.last_sample_time: float | None = None
        self.save_problem = ""
        self._status: RunStatus | None = None
        self._outside: tuple[Any, ...] = ()

    def count(self, event: Event) -> None:
        """Count a finding or an effect."""
        if isinstance(event, Finding):
            self.findings[event.kind] += 1
            if self.caught_up and self.last_sample_time is not None:
                self.found[event.kind] = FoundStatus(event.step, self.last_sample_time)
        elif isinstance(event, Effect):
            self.effects[event.verdict] += 1
            self.effect = EffectStatus(
                event.step, event.scale, event.gain, event.lower, event.upper, event.verdict,
                tuple(other.words for other in event.others if other.is_sure),
            )  # fmt: skip

    def clock_stepped(self, seconds: float) -> None:
        """See `WatchedRun.clock_stepped`."""
        if self.last_sample_time is not None:
            self.last_sample_time += seconds
        self.found = {kind: replace(one, time=one.time + seconds) for kind, one in self.found.items()}

    def invalidate(self) -> None:
        """Compute the status again at the next demand."""
        self._status = None

    def outside_changed(self) -> bool:
        """Whether anything changed since the last call that the status shows and that no sample or event brings."""
        outside = self._read_outside()
        changed = outside != self._outside
        self._outside = outside
        return changed

    def _read_outside(self) -> tuple[Any, ...]:
        tails = [(reader.tail.problem, reader.tail.lag) for reader in self._logs.readers]
        reconciler = self._commands.reconciler
        if reconciler is None:
            return (tails, self._commands.held)
        errors = reconciler.control.errors
        return (
            tails,
            self._commands.held,
            self._commands.takes_turns,
            reconciler.fenced,
            reconciler.observed,
            reconciler.problem,
            reconciler.token,
            sum(errors.values()) if errors else 0,
        )

    @property
    def problem(self) -> str:
        """The reason why this run cannot be judged, as a sentence, or ""."""
        if self.save_problem:
            return self.save_problem
        reconciler = self._commands.reconciler
        if reconciler is not None and reconciler.problem:
            return reconciler.problem
        if problem := self._logs.problem:
            return problem
        names = self._pipeline.metrics.names
        wanted = self._config.metric
        if wanted and names and wanted not in names:
            return f"no metric {wanted!r} in the logs; seen were {', '.join(names)}"
        if names and self._pipeline.metric is None:
            return f"no metric looks like a loss; name one with --metric: {', '.join(names)}"
        if not names and (self._logs.ingest["bytes"] or any(reader.tail.lag for reader in self._logs.readers)):
            return "nothing so far that could be understood as a metric"
        return ""

    def at(self, now: float) -> RunStatus:
        """Return the status at `now`, in seconds since the epoch."""
        reconciler = self._commands.reconciler
        waits = reconciler is not None and reconciler.pending_since is not None
        if self._status is None or waits:
            self._status = self._build(now)
        return self._status

    def proposals(self, proposals: Mapping[int, Proposal]) -> tuple[ProposalStatus, ...]:
        """Return those of `proposals` that are not void, as `lrwatch status` shows them."""
        step = self._pipeline.step
        return tuple(
            ProposalStatus(
                entry, one.step, one.scale, one.cause, one.reason, one.expires_at, how_to_approve(self._run, entry)
            )
            for entry, one in proposals.items()
            if step is None or step < one.expires_at
        )

    def _build(self, now: float) -> RunStatus:
        problem = self.problem
        pipeline, logs, commands = self._pipeline, self._logs, self._commands
        reconciler = commands.reconciler
        observed = reconciler.observed if reconciler is not None else None
        pending = reconciler.pending if reconciler is not None else None
        pending_since = reconciler.pending_since if reconciler is not None else None
        errors = logs.errors
        if reconciler is not None and reconciler.control.errors:
            errors = errors + reconciler.control.errors
        return RunStatus(
            name=self._run,
            mode=self._config.policy.mode,
            strategy=pipeline.policy.strategy.NAME,
            metric=pipeline.metric or "",
            metric_source="" if pipeline.metric is None else "config" if self._config.metric else "name",
            up=not problem,
            # Its logs tell as before, so it is not down.
            problem=problem
            or commands.rival
            or trainer_problem(observed, gone=self._life.gone, takes_turns=commands.takes_turns),
            trainer_faults=trainer_faults(observed, gone=self._life.gone, takes_turns=commands.takes_turns),
            step=pipeline.step,
            total_steps=(total_steps := pipeline.length.counted_in(logs.axis)),
            length_source=pipeline.length.source if total_steps else "",
            last_sample_time=self.last_sample_time,
            metrics=self._metrics(),
            findings=dict(self.findings),
            found=dict(self.found),
            scale=observed.scale if observed is not None else 1.0,
            wanted=pending.scale if pending is not None else None,
            # The schedule times the scale is not what a warm start uses: left out, it cannot be taken for a mismatch.
            schedule_lr=dict(observed.schedule_lr) if observed is not None and observed.warm_until is None else {},
            effective_lr=dict(observed.effective_lr) if observed is not None else {},
            commands=commands.by_state(),
            proposals=self.proposals(commands.proposals),
            held=commands.held,
            fenced=commands.fenced,
            rejected=dict(commands.rejected),
            # A trainer that is gone keeps nobody waiting.
            pending_seconds=max(0.0, now - pending_since) if pending_since and not self._life.gone else 0.0,
            curve=self._curve(),
            applied_time=commands.applied_time,
            effect=self.effect,
            effects=dict(self.effects),
            token=reconciler.token if reconciler is not None else 0,
            bytes=logs.ingest["bytes"],
            lines=logs.ingest["lines"],
            samples=logs.ingest["samples"],
            errors=dict(errors),
            lag_bytes=logs.lag,
            faults={"message": strange} if (strange := self._strange_messages()) else {},
            life=self._life.life,
            life_since=self._life.since,
            life_note=self._life.note,
            patience_seconds=self.patience,
            catching_up=not self.caught_up,
            logs=logs.roles(),
            labels=self._config.run.labels,
        )

    def _metrics(self) -> tuple[MetricStatus, ...]:
        """Return the metrics of the run; what the client logs beside them has a place of its own, and is none."""
        own = CLIENT_COLUMNS if self._logs.has_client_log else ()
        return tuple(one for one in self._pipeline.metrics.statuses(at_no_cost=True) if one.name not in own)

    def _strange_messages(self) -> int:
        reconciler = self._commands.reconciler
        return sum(reconciler.control.errors.values()) if reconciler is not None else 0

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values."""
        return {
            **super().state(),
            "effect": None if self.effect is None else asdict(self.effect),
            "found": {kind: asdict(one) for kind, one in self.found.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self.found = {kind: FoundStatus(**one) for kind, one in state["found"].items()}
        effect = state["effect"]
        self.effect = None if effect is None else EffectStatus(**{**effect, "others": tuple(effect["others"])})
