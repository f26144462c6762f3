"""What the outside may see of the daemon, frozen: the exporter, `status` and the health checks read this and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lrwatch.core.events import Verdict

TrendState = Literal["improving", "plateau", "undecided"]


@dataclass(frozen=True, slots=True)
class TrendStatus:
    """Where a watched metric stands. Ratios are improvement per horizon over the level of the metric.

    `detectable` is the smallest `min_improvement`, as a ratio, at which a metric that does not improve would be a finding by now.
    """

    state: TrendState
    improvement: float
    lower: float
    upper: float
    horizon_steps: float
    detectable: float = math.inf


@dataclass(frozen=True, slots=True)
class MetricStatus:
    """The newest value of one metric of a run; `trend` only where a detector watches it and has seen enough.

    Attributes:
        judged: Whether a detector watches it.
    """

    name: str
    step: int
    value: float
    trend: TrendStatus | None = None
    judged: bool = False

    @property
    def state(self) -> TrendState | None:
        """The state of the trend; undecided where too little was seen yet, None where nobody watches."""
        if self.trend is not None:
            return self.trend.state
        return "undecided" if self.judged else None


@dataclass(frozen=True, slots=True)
class EffectStatus:
    """What the newest command that was measured did. `gain` is relative to the level before, positive is better, bounded at 95 %."""

    step: int
    scale: float
    gain: float
    lower: float
    upper: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run.

    Attributes:
        name: The run's name, unique in the daemon.
        mode: observe, suggest, approve or auto. strategy: The one that decides now.
        metric: The watched metric, or "" while none was seen.
        up: False while nothing can be read; `why` says what is missing.
        step: Newest step of any metric, or None.
        last_sample_time: Seconds since the epoch at which the newest sample arrived, or None.
        findings: Kind to count. errors: Reason to count of lines that could not be used.
        scale: The last acknowledged scale. wanted: The scale of the command in flight, if it differs.
        schedule_lr, effective_lr: Parameter group name to learning rate, as the trainer reported it.
        commands: Cause to count. rejected: Code to count.
        pending_seconds: Age of the command that is not acknowledged yet, 0 when there is none.
        effect: What the newest measured command did, or None. effects: Verdict to count.
        applied_time: Seconds since the epoch of the last acknowledged command, or None.
        token: Fencing number under which this daemon commands the run.
        lag_bytes: Bytes that lie in the logs and were not read yet.
    """

    name: str
    mode: str
    strategy: str = "plateau"
    metric: str = ""
    up: bool = False
    why: str = ""
    step: int | None = None
    last_sample_time: float | None = None
    metrics: tuple[MetricStatus, ...] = ()
    findings: Mapping[str, int] = field(default_factory=dict)
    scale: float = 1.0
    wanted: float | None = None
    schedule_lr: Mapping[str, float] = field(default_factory=dict)
    effective_lr: Mapping[str, float] = field(default_factory=dict)
    commands: Mapping[str, int] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    pending_seconds: float = 0.0
    effect: EffectStatus | None = None
    effects: Mapping[str, int] = field(default_factory=dict)
    applied_time: float | None = None
    token: int = 0
    bytes: int = 0
    lines: int = 0
    samples: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    lag_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All runs at one moment; `time` is seconds since the epoch."""

    time: float
    runs: tuple[RunStatus, ...] = ()
