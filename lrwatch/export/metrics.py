"""Every metric that `/metrics` serves, in one table: its name, type, labels and help, and how it is read from a run.

A new metric of runs is a field of `lrwatch.core.snapshot` and a row here; the collector is a loop over the rows. The names are
part of the contract; dashboards, alert rules and the documentation are checked against this table. One file because it is one table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from lrwatch.core.events import CAUSES, KINDS, STATES, Verdict
from lrwatch.core.life import LIVES
from lrwatch.core.snapshot import FAULT_KINDS, EffectStatus, MetricState, MetricStatus, RunStatus, TrendStatus
from lrwatch.protocol import RejectionCode

SeriesValues = float | None | Mapping[str, float] | Mapping[tuple[str, str], float]
"""One sample, none, or samples by the value of the last label, or by the values of the last two."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: As a query writes it, so a counter ends in `_total` and an info metric in `_info`.
        type: Its type. An info metric is always 1.
        labels: Names of its labels; a metric of runs begins with `run`, a metric of their metrics with `run`, `metric`.
        help: One sentence.
        essential: Whether a page, an alert or a person needs it of every run: see `collector.bounded`.
        read: Its values in the status of a run.
        read_metric: Its values in the status of one metric of a run.
        further: Labels beside those of `labels`, which a user has named, with their values.
    """

    name: str
    type: Literal["gauge", "counter", "info", "histogram"]
    labels: tuple[str, ...]
    help: str
    essential: bool = False
    read: Callable[[RunStatus], SeriesValues] | None = None
    read_metric: Callable[[MetricStatus], SeriesValues] | None = None
    further: Callable[[RunStatus], Mapping[str, str]] | None = None


def _from_zero(values: Iterable[str], counts: Mapping[str, float]) -> Mapping[str, float]:
    """Start each of `values` at 0: Prometheus' increase() does not see a series that is born at 1."""
    return {**dict.fromkeys(values, 0), **counts}


def _if_commanded(run: RunStatus, values: tuple[str, ...]) -> tuple[str, ...]:
    """`values` if the run can be commanded: this daemon has a token for its trainer, or has decided on a command before it needs one."""
    return values if run.token or run.commands else ()


def _commands(run: RunStatus) -> SeriesValues:
    known = [(cause, state) for cause in _if_commanded(run, CAUSES) for state in STATES]
    found = {(cause, state): n for cause, states in run.commands.items() for state, n in states.items()}
    return {**dict.fromkeys(known, 0), **found}


def _effect(read: Callable[[EffectStatus], float]) -> Callable[[RunStatus], SeriesValues]:
    return lambda run: None if run.effect is None else read(run.effect)


def _trend(read: Callable[[TrendStatus], float]) -> Callable[[MetricStatus], SeriesValues]:
    return lambda metric: None if metric.trend is None else read(metric.trend)


def _states(metric: MetricStatus) -> SeriesValues:
    return None if not metric.watched else {state: float(metric.state == state) for state in _STATES}


_STATES: tuple[str, ...] = get_args(MetricState)
_NOT_BETTER: tuple[MetricState, ...] = ("plateau", "rising")
_LIVES: tuple[str, ...] = LIVES
_KINDS = tuple(KINDS)
_VERDICTS: tuple[str, ...] = get_args(Verdict)
_CODES: tuple[str, ...] = get_args(RejectionCode)

BUILD_INFO = Metric("lrwatch_build_info", "info", ("version",), "Version of the running lrwatch; always 1.")

# In the order in which they are served when there are too many series; those that are essential come before all others.
RUN_METRICS: tuple[Metric, ...] = (
    Metric(
        "lrwatch_run_info",
        "info",
        ("run", "metric", "mode"),
        "A watched run, its watched metric, the mode of its controller, and the labels of [run] labels; always 1.",
        essential=True,
        read=lambda run: {(run.metric, run.mode): 1.0},
        further=lambda run: run.labels,
    ),
    Metric(
        "lrwatch_run_strategy_info",
        "info",
        ("run", "strategy"),
        "The strategy that decides on the run now; always 1.",
        read=lambda run: {run.strategy: 1.0},
    ),
    Metric(
        "lrwatch_run_up",
        "gauge",
        ("run",),
        "1 while the logs of the run can be read, else 0.",
        essential=True,
        read=lambda run: float(run.up),
    ),
    Metric(
        "lrwatch_run_life",
        "gauge",
        ("run", "life"),
        "1 for the life that the run is in (starting, running, ended, lost, finished, removed), 0 for the others.",
        essential=True,
        read=lambda run: {life: float(life == run.life) for life in _LIVES},
    ),
    Metric(
        "lrwatch_run_step",
        "gauge",
        ("run",),
        "Newest step that any metric of the run has reached.",
        essential=True,
        read=lambda run: run.step,
    ),
    Metric(
        "lrwatch_run_progress_ratio",
        "gauge",
        ("run",),
        "Newest step of the run over the length of the run, where that is known.",
        read=lambda run: None if run.step is None or not run.total_steps else run.step / run.total_steps,
    ),
    Metric(
        "lrwatch_run_metric_value",
        "gauge",
        ("run", "metric"),
        "Newest value of a metric of the run, in its own unit.",
        essential=True,
        read_metric=lambda metric: metric.value,
    ),
    Metric(
        "lrwatch_run_last_sample_timestamp_seconds",
        "gauge",
        ("run",),
        "Unix time at which the newest sample was written.",
        essential=True,
        read=lambda run: run.last_sample_time,
    ),
    Metric(
        "lrwatch_run_patience_seconds",
        "gauge",
        ("run",),
        "Longest silence that is normal for this run, by its own gaps between samples, pauses for checkpoints and evaluations included; absent while too few gaps are known.",
        essential=True,
        read=lambda run: run.patience_seconds,
    ),
    Metric(
        "lrwatch_run_plateau",
        "gauge",
        ("run", "metric"),
        "1 while the metric is on a plateau or rising, 0 while it improves or cannot be judged yet.",
        essential=True,
        read_metric=lambda metric: None if metric.trend is None else float(metric.state in _NOT_BETTER),
    ),
    Metric(
        "lrwatch_run_improvement_ratio",
        "gauge",
        ("run", "metric"),
        "Improvement of the metric per horizon, relative to its level; positive is better.",
        essential=True,
        read_metric=_trend(lambda trend: trend.improvement),
    ),
    Metric(
        "lrwatch_run_improvement_ratio_lower",
        "gauge",
        ("run", "metric"),
        "Lower confidence bound of the improvement per horizon.",
        read_metric=_trend(lambda trend: trend.lower),
    ),
    Metric(
        "lrwatch_run_improvement_ratio_upper",
        "gauge",
        ("run", "metric"),
        "Upper confidence bound of the improvement per horizon.",
        read_metric=_trend(lambda trend: trend.upper),
    ),
    Metric(
        "lrwatch_run_tells_at_step",
        "gauge",
        ("run", "metric"),
        "Estimated step at which the metric can be judged, while it cannot be judged yet.",
        read_metric=lambda metric: metric.tells_at,
    ),
    Metric(
        "lrwatch_run_detectable_improvement_ratio",
        "gauge",
        ("run", "metric"),
        "Smallest improvement per horizon that would show through the noise by now, relative to the level.",
        read_metric=_trend(lambda trend: trend.detectable),
    ),
    Metric(
        "lrwatch_run_trend",
        "gauge",
        ("run", "metric", "state"),
        "1 for the state that the metric is in (improving, plateau, cannot_tell_yet, rising, not_judged), 0 for the others.",
        essential=True,
        read_metric=_states,
    ),
    Metric(
        "lrwatch_findings_total",
        "counter",
        ("run", "kind"),
        "Findings of the detectors, by kind; served once the logs that were there at first are read.",
        essential=True,
        # What a backlog holds is part of the first value, and never an increase that alerts.
        read=lambda run: None if run.catching_up else _from_zero(_KINDS, run.findings),
    ),
    Metric(
        "lrwatch_finding_timestamp_seconds",
        "gauge",
        ("run", "kind"),
        "Unix time at which the sample of the newest finding of this kind was written; what the logs held when they were first read is left out.",
        essential=True,
        read=lambda run: {kind: found.time for kind, found in run.found.items()},
    ),
    Metric(
        "lrwatch_finding_step",
        "gauge",
        ("run", "kind"),
        "Step of the newest finding of this kind.",
        essential=True,
        read=lambda run: {kind: float(found.step) for kind, found in run.found.items()},
    ),
    Metric(
        "lrwatch_lr_schedule",
        "gauge",
        ("run", "group"),
        "Learning rate that the trainer's own schedule gives, as the trainer reported it.",
        essential=True,
        read=lambda run: run.schedule_lr,
    ),
    Metric(
        "lrwatch_lr_effective",
        "gauge",
        ("run", "group"),
        "Learning rate that the optimizer used, as the trainer reported it.",
        essential=True,
        read=lambda run: run.effective_lr,
    ),
    Metric(
        "lrwatch_lr_scale",
        "gauge",
        ("run",),
        "Last acknowledged multiplier on the schedule's learning rate; 1 is untouched.",
        essential=True,
        read=lambda run: run.scale,
    ),
    Metric(
        "lrwatch_commands_total",
        "counter",
        ("run", "reason", "state"),
        "Commands by cause and by state: asked (decided, or requested by an operator), sent, applied, rejected, proven, taken_back.",
        read=_commands,
    ),
    Metric(
        "lrwatch_proposals_pending",
        "gauge",
        ("run",),
        "Commands of the run that wait for a person to approve or deny them.",
        essential=True,
        read=lambda run: len(run.proposals),
    ),
    Metric(
        "lrwatch_proposal_id",
        "gauge",
        ("run",),
        "Number by which the newest command that waits is approved or denied; absent when there is none.",
        essential=True,
        read=lambda run: run.proposals[-1].id if run.proposals else None,
    ),
    Metric(
        "lrwatch_run_held",
        "gauge",
        ("run",),
        "1 while an operator holds the run, so that decisions are journalled and not sent, else 0.",
        essential=True,
        read=lambda run: float(run.held),
    ),
    Metric(
        "lrwatch_run_fenced",
        "gauge",
        ("run",),
        "1 while this daemon's commands are refused because another one has taken over the run, else 0.",
        essential=True,
        read=lambda run: float(run.fenced),
    ),
    Metric(
        "lrwatch_commands_rejected_total",
        "counter",
        ("run", "code"),
        "Commands that the trainer refused, by code.",
        essential=True,
        read=lambda run: _from_zero(_if_commanded(run, _CODES), run.rejected),
    ),
    Metric(
        "lrwatch_command_pending_seconds",
        "gauge",
        ("run",),
        "Age of the command that the trainer has not acknowledged yet; 0 when there is none.",
        essential=True,
        read=lambda run: run.pending_seconds,
    ),
    Metric(
        "lrwatch_command_applied_timestamp_seconds",
        "gauge",
        ("run",),
        "Unix time of the last acknowledged command.",
        read=lambda run: run.applied_time,
    ),
    Metric(
        "lrwatch_effect_gain_ratio",
        "gauge",
        ("run",),
        "Measured gain of the newest change against the old rate, relative to the level before; positive is better.",
        essential=True,
        read=_effect(lambda effect: effect.gain),
    ),
    Metric(
        "lrwatch_effect_gain_ratio_lower",
        "gauge",
        ("run",),
        "Lower 95 % bound of the measured gain of the newest change.",
        read=_effect(lambda effect: effect.lower),
    ),
    Metric(
        "lrwatch_effect_gain_ratio_upper",
        "gauge",
        ("run",),
        "Upper 95 % bound of the measured gain of the newest change.",
        read=_effect(lambda effect: effect.upper),
    ),
    Metric(
        "lrwatch_effects_total",
        "counter",
        ("run", "verdict"),
        "Measured changes, by verdict: helped, no certain gain, cost progress.",
        essential=True,
        read=lambda run: _from_zero(_if_commanded(run, _VERDICTS), run.effects),
    ),
    Metric(
        "lrwatch_controller_token",
        "gauge",
        ("run",),
        "Fencing number under which this daemon commands the run.",
        essential=True,
        read=lambda run: run.token,
    ),
    Metric(
        "lrwatch_ingest_bytes_total",
        "counter",
        ("run",),
        "Bytes read from the logs of the run.",
        read=lambda run: run.bytes,
    ),
    Metric(
        "lrwatch_ingest_lines_total",
        "counter",
        ("run",),
        "Lines read from the logs of the run.",
        essential=True,
        read=lambda run: run.lines,
    ),
    Metric(
        "lrwatch_ingest_samples_total",
        "counter",
        ("run",),
        "Samples found in the logs of the run.",
        read=lambda run: run.samples,
    ),
    Metric(
        "lrwatch_ingest_errors_total",
        "counter",
        ("run", "reason"),
        "Lines of the run's logs that could not be used, by reason.",
        essential=True,
        read=lambda run: run.errors,
    ),
    Metric(
        "lrwatch_ingest_lag_bytes",
        "gauge",
        ("run",),
        "Bytes in the run's logs that are not read yet.",
        read=lambda run: run.lag_bytes,
    ),
    Metric(
        "lrwatch_run_faults_total",
        "counter",
        ("run", "kind"),
        "Faults of lrwatch in the run that it survived, by their place; message is an unusable message of the trainer.",
        read=lambda run: _from_zero(FAULT_KINDS, run.faults),
    ),
    Metric(
        "lrwatch_run_trainer_fault",
        "gauge",
        ("run", "kind"),
        "1 while the trainer says that its optimizer does not act, and why, or that another process uses its control directory.",
        essential=True,
        read=lambda run: dict.fromkeys(run.trainer_faults, 1),
    ),
)

WATCH_PATH_UP = Metric(
    "lrwatch_watch_path_up",
    "gauge",
    ("path",),
    "1 while something to read is found at a watched path, else 0.",
)

JOURNAL_ENTRIES = Metric(
    "lrwatch_journal_entries_total",
    "counter",
    (),
    "Entries that were ever written into the journal: the number of the newest one, those that are no longer kept included.",
)

SERIES_DROPPED = Metric(
    "lrwatch_series_dropped_total",
    "counter",
    (),
    "Series that the limits kept out of /metrics, summed over the published states that were scraped.",
)
NOTIFICATIONS = Metric("lrwatch_notifications_total", "counter", (), "Notifications that were tried.")
NOTIFICATIONS_FAILED = Metric(
    "lrwatch_notifications_failed_total", "counter", (), "Notifications that could not be delivered."
)
LOOP_DURATION = Metric(
    "lrwatch_loop_duration_seconds",
    "histogram",
    (),
    "Time that one round of the daemon took: read, decide, act, publish.",
)

METRICS: tuple[Metric, ...] = (
    BUILD_INFO, *RUN_METRICS, WATCH_PATH_UP, JOURNAL_ENTRIES, SERIES_DROPPED, NOTIFICATIONS, NOTIFICATIONS_FAILED, LOOP_DURATION,
)  # fmt: skip
