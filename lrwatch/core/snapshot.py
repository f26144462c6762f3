"""The state of all runs, frozen: the exporter, `status` and the health checks read this and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from lrwatch.core.events import Verdict
from lrwatch.core.life import Life
from lrwatch.core.run_length import LengthSource

MetricState = Literal["improving", "plateau", "cannot_tell_yet", "rising", "not_judged"]
"""The state of a metric: exactly one at a time. A metric to maximise that falls is `rising` too: it gets worse."""

FaultKind = Literal["turn", "state", "save", "request", "status", "message"]
"""Where a fault was: in reading and deciding, in the saved state, in saving, in an operator's request, in working out the status,
in a message of the trainer."""

FAULT_KINDS: tuple[str, ...] = get_args(FaultKind)


@dataclass(frozen=True, slots=True)
class TrendStatus:
    """The trend of a watched metric. Ratios are improvement per horizon over the level of the metric.

    Attributes:
        improvement, lower, upper: The improvement and its confidence bounds, as ratios.
        horizon_steps: The horizon, in steps.
        detectable: Smallest `min_improvement` whose absence could be proven by now, as a ratio.
    """

    improvement: float
    lower: float
    upper: float
    horizon_steps: float
    detectable: float = math.inf


@dataclass(frozen=True, slots=True)
class MetricStatus:
    """The newest value of one metric of a run.

    Attributes:
        name: The metric.
        step: Step of the value. value: In the metric's own unit.
        trend: Its trend, where a detector watches it and has enough samples, or None.
        watched: Whether detectors watch it.
        state: Its state. words: The state as a sentence, with its numbers: see `core.standing`.
        since: The step at which the plateau, or the rise, was found; else None.
        tells_at: The step by about which a plateau of it can be told, while it cannot and where that can be said; else None.
    """

    name: str
    step: int
    value: float
    trend: TrendStatus | None = None
    watched: bool = False
    state: MetricState = "not_judged"
    words: str = "not judged"
    since: int | None = None
    tells_at: int | None = None


@dataclass(frozen=True, slots=True)
class EffectStatus:
    """The effect of the newest measured command.

    Attributes:
        step: Step at which it was applied. scale: The scale that it set.
        gain: Improvement against continuing without it, relative to the level before; positive is better.
        lower, upper: 95 % bounds of the gain.
        verdict: What the interval says.
        others: Significant changes of the other losses meanwhile, in words.
    """

    step: int
    scale: float
    gain: float
    lower: float
    upper: float
    verdict: Verdict
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundStatus:
    """The newest finding of one kind.

    Attributes:
        step: Step of the finding.
        time: When its sample was written, in seconds since the epoch.
    """

    step: int
    time: float


@dataclass(frozen=True, slots=True)
class ProposalStatus:
    """A command that waits for a person.

    Attributes:
        id: Number of its journal entry.
        step: Step at which it was decided. scale: The scale that it asks for.
        cause, reason: Why, in one word and in a sentence.
        expires_at: The step from which on it is void.
        approve: The command that approves it, to be typed as it is.
    """

    id: int
    step: int
    scale: float
    cause: str
    reason: str
    expires_at: int
    approve: str


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run.

    Attributes:
        name: The run's name, unique in the daemon.
        mode: observe, suggest, approve or auto. strategy: The one that decides now.
        metric: The metric that decides, or "" before there is one.
        metric_source: Who says so: "name" for its name, "config" for [run] metric or --metric, or "".
        up: False while nothing can be read; `problem` says what is missing.
        step: Newest step of any metric, or None.
        total_steps: Length of the run, counted as `step` is; 0 where nobody knows it. length_source: Who says so, or "".
        last_sample_time: Seconds since the epoch at which the newest sample arrived, or None.
        metrics: The newest value of each metric.
        labels: Labels that its user gave it: [run] labels.
        findings: Kind to count. found: Kind to the newest finding, without those that the logs held when they were first seen. errors: Reason to count of lines that could not be used.
        scale: The last acknowledged scale. wanted: The scale of the command in flight, or None.
        schedule_lr, effective_lr: Parameter group name to learning rate, as the trainer reported it.
        commands: Cause to what became of commands (asked, sent, applied, rejected, proven, taken_back) to count.
        rejected: Code to count.
        proposals: Commands that wait for a person.
        held: Whether an operator holds the run. fenced: Whether another daemon has taken over its commands.
        pending_seconds: Age of the command that is not acknowledged yet, 0 when there is none.
        effect: The effect of the newest measured command, or None. effects: Verdict to count.
        curve: Means of the metric that decides over the run so far, in parts of about equal length, oldest first; for a small picture.
        applied_time: Seconds since the epoch of the last acknowledged command, or None.
        token: Fencing number under which this daemon commands the run.
        bytes, lines, samples: What was read from the logs.
        lag_bytes: Bytes in the logs that were not read yet.
        life: What the run is in. life_since: Seconds since the epoch since when, or None. life_note: How that is known, a sentence.
        patience_seconds: Silence that the run's own gaps explain, in seconds; None where there are too few of them.
        catching_up: Whether the logs that were there when lrwatch came are not yet read to their end.
        faults: Kind to count of what went wrong in lrwatch, or with a message of the trainer, and was survived.
        trainer_faults: Kinds of what the trainer says is wrong with it: why its optimizer does not act, or that there are two of it.
        logs: Path of each log to what it is to the run, in words: which metrics are taken from it, or that it is a copy.
    """

    name: str
    mode: str
    strategy: str = "plateau"
    metric: str = ""
    metric_source: Literal["", "name", "config"] = ""
    up: bool = False
    problem: str = ""
    step: int | None = None
    total_steps: int = 0
    length_source: LengthSource = ""
    last_sample_time: float | None = None
    metrics: tuple[MetricStatus, ...] = ()
    findings: Mapping[str, int] = field(default_factory=dict)
    found: Mapping[str, FoundStatus] = field(default_factory=dict)
    scale: float = 1.0
    wanted: float | None = None
    schedule_lr: Mapping[str, float] = field(default_factory=dict)
    effective_lr: Mapping[str, float] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    proposals: tuple[ProposalStatus, ...] = ()
    held: bool = False
    fenced: bool = False
    pending_seconds: float = 0.0
    effect: EffectStatus | None = None
    effects: Mapping[str, int] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    applied_time: float | None = None
    token: int = 0
    bytes: int = 0
    lines: int = 0
    samples: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    lag_bytes: int = 0
    faults: Mapping[str, int] = field(default_factory=dict)
    life: Life = "starting"
    life_since: float | None = None
    life_note: str = ""
    patience_seconds: float | None = None
    catching_up: bool = False
    trainer_faults: tuple[str, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the status as `lrwatch status --format json` prints it; `problem` is its key `why`."""
        return {"why" if key == "problem" else key: value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All runs at one moment.

    Attributes:
        time: Seconds since the epoch.
        runs: The runs.
        paths: Whether something to read was found there, by the watched path as it was given.
        problem: Why the state cannot be saved, as a sentence, or "".
        journal_entries: Number of the newest entry of the journal; None where it cannot be read.
    """

    time: float
    runs: tuple[RunStatus, ...] = ()
    paths: Mapping[str, bool] = field(default_factory=dict)
    problem: str = ""
    journal_entries: int | None = None
