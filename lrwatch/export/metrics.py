"""Every metric that `/metrics` serves, once: its name, type, labels and help.

The names are part of the contract; dashboards and alert rules are checked against this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: `name` as a query writes it, so a counter ends in `_total` and an info metric in `_info`."""

    name: str
    kind: Literal["gauge", "counter", "info", "histogram"]
    help: str
    labels: tuple[str, ...] = ()


BUILD_INFO = Metric("lrwatch_build_info", "info", "Version of the running lrwatch; always 1.", ("version",))

RUN_INFO = Metric(
    "lrwatch_run_info",
    "info",
    "A watched run, its watched metric and the mode of its controller; always 1.",
    ("run", "metric", "mode"),
)
RUN_STRATEGY = Metric(
    "lrwatch_run_strategy_info", "info", "The strategy that decides on the run now; always 1.", ("run", "strategy")
)
RUN_UP = Metric("lrwatch_run_up", "gauge", "1 while the logs of the run can be read, else 0.", ("run",))
RUN_STEP = Metric("lrwatch_run_step", "gauge", "Newest step that any metric of the run has reached.", ("run",))
RUN_METRIC_VALUE = Metric(
    "lrwatch_run_metric_value", "gauge", "Newest value of a metric of the run, in its own unit.", ("run", "metric")
)
RUN_LAST_SAMPLE = Metric(
    "lrwatch_run_last_sample_timestamp_seconds", "gauge", "Unix time at which the newest sample arrived.", ("run",)
)
RUN_PLATEAU = Metric(
    "lrwatch_run_plateau",
    "gauge",
    "1 while the metric is on a plateau, 0 while it improves or the evidence is not enough.",
    ("run", "metric"),
)
RUN_IMPROVEMENT = Metric(
    "lrwatch_run_improvement_ratio",
    "gauge",
    "Improvement of the metric per horizon, relative to its level; positive is better.",
    ("run", "metric"),
)
RUN_IMPROVEMENT_LOWER = Metric(
    "lrwatch_run_improvement_ratio_lower",
    "gauge",
    "Lower confidence bound of the improvement per horizon.",
    ("run", "metric"),
)
RUN_IMPROVEMENT_UPPER = Metric(
    "lrwatch_run_improvement_ratio_upper",
    "gauge",
    "Upper confidence bound of the improvement per horizon.",
    ("run", "metric"),
)
RUN_DETECTABLE = Metric(
    "lrwatch_run_detectable_improvement_ratio",
    "gauge",
    "Smallest improvement per horizon whose absence could be told by now, relative to the level.",
    ("run", "metric"),
)
RUN_TREND = Metric(
    "lrwatch_run_trend",
    "gauge",
    "1 for the state that the metric is in (improving, plateau, undecided), 0 for the others.",
    ("run", "metric", "state"),
)
FINDINGS = Metric("lrwatch_findings_total", "counter", "Findings of the detectors, by kind.", ("run", "kind"))

LR_SCHEDULE = Metric(
    "lrwatch_lr_schedule",
    "gauge",
    "Learning rate that the trainer's own schedule gives, as the trainer reported it.",
    ("run", "group"),
)
LR_EFFECTIVE = Metric(
    "lrwatch_lr_effective",
    "gauge",
    "Learning rate that the optimizer used, as the trainer reported it.",
    ("run", "group"),
)
LR_SCALE = Metric(
    "lrwatch_lr_scale",
    "gauge",
    "Last acknowledged multiplier on the schedule's learning rate; 1 is untouched.",
    ("run",),
)

COMMANDS = Metric("lrwatch_commands_total", "counter", "Commands to the trainer, by reason.", ("run", "reason"))
COMMANDS_REJECTED = Metric(
    "lrwatch_commands_rejected_total", "counter", "Commands that the trainer refused, by code.", ("run", "code")
)
COMMAND_PENDING = Metric(
    "lrwatch_command_pending_seconds",
    "gauge",
    "Age of the command that the trainer has not acknowledged yet; 0 when there is none.",
    ("run",),
)
COMMAND_APPLIED = Metric(
    "lrwatch_command_applied_timestamp_seconds",
    "gauge",
    "Unix time of the last acknowledged command.",
    ("run",),
)
EFFECT_GAIN = Metric(
    "lrwatch_effect_gain_ratio",
    "gauge",
    "What the newest measured command brought against going on, relative to the level before; positive is better.",
    ("run",),
)
EFFECT_GAIN_LOWER = Metric("lrwatch_effect_gain_ratio_lower", "gauge", "Lower 95 % bound of that gain.", ("run",))
EFFECT_GAIN_UPPER = Metric("lrwatch_effect_gain_ratio_upper", "gauge", "Upper 95 % bound of that gain.", ("run",))
EFFECTS = Metric(
    "lrwatch_effects_total", "counter", "Measured commands, by what the interval says.", ("run", "verdict")
)
CONTROLLER_TOKEN = Metric(
    "lrwatch_controller_token", "gauge", "Fencing number under which this daemon commands the run.", ("run",)
)

INGEST_BYTES = Metric("lrwatch_ingest_bytes_total", "counter", "Bytes read from the logs of the run.", ("run",))
INGEST_LINES = Metric("lrwatch_ingest_lines_total", "counter", "Lines read from the logs of the run.", ("run",))
INGEST_SAMPLES = Metric("lrwatch_ingest_samples_total", "counter", "Samples found in the logs of the run.", ("run",))
INGEST_ERRORS = Metric(
    "lrwatch_ingest_errors_total",
    "counter",
    "Lines of the run's logs that could not be used, by reason.",
    ("run", "reason"),
)
INGEST_LAG = Metric(
    "lrwatch_ingest_lag_bytes", "gauge", "Bytes that lie in the run's logs and were not read yet.", ("run",)
)

SERIES_DROPPED = Metric(
    "lrwatch_series_dropped_total",
    "counter",
    "Series that the limits kept out of /metrics, summed over the published states that were scraped.",
)
NOTIFICATIONS = Metric("lrwatch_notifications_total", "counter", "Notifications that were tried.")
NOTIFICATIONS_FAILED = Metric(
    "lrwatch_notifications_failed_total", "counter", "Notifications that could not be delivered."
)
LOOP_DURATION = Metric(
    "lrwatch_loop_duration_seconds", "histogram", "Time that one round of the daemon took: read, decide, act, publish."
)

METRICS: tuple[Metric, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
