"""Builder of dashboards/run.json. The JSON is what is shipped and imported; this script keeps its panels alike.

After a change: `make golden`. A test fails while the two differ. A panel of its own is one call in the row where it belongs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from parts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    WIDTH,
    Json,
    annotation,
    band,
    bars,
    fixed,
    graph,
    panel,
    place,
    series,
    stat,
    steps,
    target,
    variable,
)  # fmt: skip

DAEMON = 'job=~"$job", instance=~"$instance"'
RUN = f'{DAEMON}, run=~"$run"'
WATCHED = f"and on (job, instance, run, metric) lrwatch_run_info{{{RUN}}}"

# The states of a metric, each with a number; the first one is 0.
STATES = (
    ("improving", "improving", GREEN),
    ("plateau", "plateau", ORANGE),
    ("cannot_tell_yet", "cannot tell yet", GREY),
    ("rising", "rising", RED),
    ("not_judged", "not judged", GREY),
)
STATE = " or ".join(
    f'{number} * (lrwatch_run_trend{{{RUN}, state="{state}"}} == 1)' for number, (state, _, _) in enumerate(STATES)
)

OVERVIEW = [
    stat(
        "State",
        "Where the watched metric stands. On a plateau means: on the evidence it gains less per horizon than is worth having. "
        "While that cannot be told yet, `lrwatch status` says by about which step it can.",
        "short",
        f"max by (run) (({STATE}) {WATCHED})",
        mappings=[
            {
                "type": "value",
                "options": {
                    str(number): {"text": text, "color": color} for number, (_, text, color) in enumerate(STATES)
                },
            }
        ],
        noValue="too early to say",
    ),
    stat("Step", "Newest step of the run.", "locale", f"lrwatch_run_step{{{RUN}}}", decimals=0),
    stat(
        "Last sample",
        "Time since the log gave its newest sample.",
        "s",
        f"time() - lrwatch_run_last_sample_timestamp_seconds{{{RUN}}}",
        thresholds=steps((None, GREEN), (900, ORANGE), (3600, RED)),
        decimals=0,
    ),
    stat(
        "LR scale",
        "Last acknowledged multiplier on the learning rate of the trainer's own schedule. 1 is untouched.",
        "none",
        f"lrwatch_lr_scale{{{RUN}}}",
    ),
    stat(
        "Pending command",
        "Age of the command that the trainer has not acknowledged yet; 0 when there is none.",
        "s",
        f"lrwatch_command_pending_seconds{{{RUN}}}",
        thresholds=steps((None, GREEN), (60, ORANGE), (600, RED)),
        decimals=0,
    ),
    stat(
        "Log",
        "Whether the logs of the run can be read.",
        "short",
        f"lrwatch_run_up{{{RUN}}}",
        mappings=[
            {
                "type": "value",
                "options": {"0": {"text": "not readable", "color": RED}, "1": {"text": "readable", "color": GREEN}},
            }
        ],
    ),
]

TRAINING = [
    graph(
        "Watched metric",
        "Newest value of the watched metric. Shaded: on a plateau. Vertical lines: commands that the trainer applied.",
        "short",
        [
            target(f"lrwatch_run_metric_value{{{RUN}}} {WATCHED}", "{{metric}}"),
            target(f"lrwatch_run_plateau{{{RUN}}} {WATCHED}", "plateau: {{metric}}"),
        ],
        width=WIDTH,
        overrides=[
            series(
                "/^plateau: /",
                unit="short",
                color=fixed(ORANGE),
                min=0,
                max=1,
                custom_axisPlacement="hidden",
                custom_lineWidth=0,
                custom_fillOpacity=15,
                custom_lineInterpolation="stepAfter",
            )
        ],
    ),
    graph(
        "Improvement per horizon",
        "How much the watched metric gains per horizon, relative to its level, with its confidence band. Below the "
        "line at 0 it gets worse. A band that lies wholly above the wanted improvement means: going on is worth it.",
        "percentunit",
        [
            target(f"lrwatch_run_improvement_ratio_upper{{{RUN}}} {WATCHED}", "upper bound"),
            target(f"lrwatch_run_improvement_ratio_lower{{{RUN}}} {WATCHED}", "lower bound"),
            target(f"lrwatch_run_improvement_ratio{{{RUN}}} {WATCHED}", "improvement"),
        ],
        custom={"thresholdsStyle": {"mode": "line"}},
        defaults={"thresholds": steps((None, "transparent"), (0, GREY))},
        overrides=band("improvement", BLUE),
    ),
    graph(
        "Learning rate",
        "What the trainer's own schedule gives (dashed) and what the optimizer used, by parameter group. Logarithmic.",
        "sci",
        [
            target(f"lrwatch_lr_schedule{{{RUN}}}", "schedule, group {{group}}"),
            target(f"lrwatch_lr_effective{{{RUN}}}", "effective, group {{group}}"),
        ],
        custom={"scaleDistribution": {"type": "log", "log": 10}},
        overrides=[series("/^schedule/", custom_lineStyle={"fill": "dash", "dash": [8, 6]}, custom_lineWidth=1)],
    ),
    graph(
        "Scale and pending command",
        "The acknowledged scale (left) and the age of a command without acknowledgement (right).",
        "none",
        [
            target(f"lrwatch_lr_scale{{{RUN}}}", "scale"),
            target(f"lrwatch_command_pending_seconds{{{RUN}}}", "pending"),
        ],
        custom={"lineInterpolation": "stepAfter"},
        defaults={"min": 0},
        overrides=[
            series("pending", unit="s", color=fixed(ORANGE), custom_axisPlacement="right", custom_fillOpacity=20)
        ],
    ),
    graph(
        "Effect of the newest command",
        "What the newest command that was measured brought, against the line before it, continued, with the 95 % bounds. "
        "Relative to the level before. A band that lies wholly above the line at 0: it helped; wholly below: it cost "
        "progress; across: no certain gain. Empty until a command was measured, a horizon or more after it was applied.",
        "percentunit",
        [
            target(f"lrwatch_effect_gain_ratio_upper{{{RUN}}}", "upper bound"),
            target(f"lrwatch_effect_gain_ratio_lower{{{RUN}}}", "lower bound"),
            target(f"lrwatch_effect_gain_ratio{{{RUN}}}", "gain"),
        ],
        custom={"lineInterpolation": "stepAfter", "thresholdsStyle": {"mode": "line"}},
        defaults={"decimals": 2, "thresholds": steps((None, "transparent"), (0, GREY))},
        overrides=band("gain", GREEN),
    ),
    graph(
        "Metrics of the log",
        "Newest values of the metrics chosen above, watched or not.",
        "short",
        [target(f'lrwatch_run_metric_value{{{RUN}, metric=~"$metric"}}', "{{metric}}")],
        width=WIDTH,
        custom={"lineWidth": 1},
    ),
]

EVENTS = [
    bars(
        "Findings",
        "What the detectors found, by kind, per interval.",
        [target(f"increase(lrwatch_findings_total{{{RUN}}}[$__rate_interval])", "{{kind}}")],
    ),
    bars(
        "Commands",
        "Commands that the trainer applied, by reason, and those that it refused, by code, per interval.",
        [
            target(f'increase(lrwatch_commands_total{{{RUN}, state="applied"}}[$__rate_interval])', "{{reason}}"),
            target(f"increase(lrwatch_commands_rejected_total{{{RUN}}}[$__rate_interval]) > 0", "refused: {{code}}"),
        ],
    ),
    bars(
        "Effects",
        "Commands that were measured, by what they brought, per interval.",
        [target(f"increase(lrwatch_effects_total{{{RUN}}}[$__rate_interval])", "{{verdict}}")],
        overrides=[
            series("helped", color=fixed(GREEN)),
            series("no certain gain", color=fixed(GREY)),
            series("cost progress", color=fixed(RED)),
        ],
    ),
]

HEALTH = [
    graph(
        "Reading",
        "Lines and samples that are read per second.",
        "cps",
        [
            target(f"rate(lrwatch_ingest_lines_total{{{RUN}}}[$__rate_interval])", "lines"),
            target(f"rate(lrwatch_ingest_samples_total{{{RUN}}}[$__rate_interval])", "samples"),
        ],
        width=8,
    ),
    graph(
        "Lag and throughput",
        "Bytes that lie in the logs and were not read yet, and bytes read per second. A lag that grows: the daemon "
        "does not keep up.",
        "bytes",
        [
            target(f"lrwatch_ingest_lag_bytes{{{RUN}}}", "lag"),
            target(f"rate(lrwatch_ingest_bytes_total{{{RUN}}}[$__rate_interval])", "read per second"),
        ],
        width=8,
        defaults={"min": 0},
        overrides=[series("read per second", unit="Bps", custom_axisPlacement="right", custom_lineWidth=1)],
    ),
    graph(
        "Unusable lines",
        "Log lines per second that could not be used, by reason. `lrwatch read --explain FILE` says why.",
        "cps",
        [target(f"rate(lrwatch_ingest_errors_total{{{RUN}}}[$__rate_interval])", "{{reason}}")],
        width=8,
    ),
    graph(
        "Daemon: time per round",
        "How long one round of the daemon takes: read, decide, act, publish.",
        "s",
        [
            target(
                "histogram_quantile(0.5, sum by (le, instance) "
                f"(rate(lrwatch_loop_duration_seconds_bucket{{{DAEMON}}}[$__rate_interval])))",
                "median, {{instance}}",
            ),
            target(
                "histogram_quantile(0.99, sum by (le, instance) "
                f"(rate(lrwatch_loop_duration_seconds_bucket{{{DAEMON}}}[$__rate_interval])))",
                "99 %, {{instance}}",
            ),
        ],
        width=8,
    ),
    graph(
        "Daemon: processor and memory",
        "What the daemon takes from the machine: processor share (left) and resident memory (right).",
        "percentunit",
        [
            target(f"rate(process_cpu_seconds_total{{{DAEMON}}}[$__rate_interval])", "processor, {{instance}}"),
            target(f"process_resident_memory_bytes{{{DAEMON}}}", "memory, {{instance}}"),
        ],
        width=8,
        defaults={"min": 0},
        overrides=[series("/^memory/", unit="bytes", custom_axisPlacement="right")],
    ),
    graph(
        "Daemon: losses",
        "Series that the limits kept out of the metrics, and notifications that failed, out of all that were tried, "
        "per interval. All but the last should stay at 0.",
        "short",
        [
            target(f"increase(lrwatch_series_dropped_total{{{DAEMON}}}[$__rate_interval])", "series dropped"),
            target(
                f"increase(lrwatch_notifications_failed_total{{{DAEMON}}}[$__rate_interval])", "notifications failed"
            ),
            target(f"increase(lrwatch_notifications_total{{{DAEMON}}}[$__rate_interval])", "notifications tried"),
        ],
        width=8,
        defaults={"min": 0},
    ),
    panel(
        "table",
        "Run and daemon",
        "The run, its watched metric, the mode of its controller, the strategy that decides now, and the fencing number "
        "under which the daemon commands it. Two daemons with a number for one run are one too many.",
        "none",
        WIDTH,
        [
            target(
                f"lrwatch_controller_token{{{RUN}}} * on (job, instance, run) group_left (metric, mode) "
                f"lrwatch_run_info{{{RUN}}} * on (job, instance, run) group_left (strategy) "
                f"lrwatch_run_strategy_info{{{RUN}}} * on (job, instance) group_left (version) "
                f"lrwatch_build_info{{{DAEMON}}}",
                instant=True,
            )
        ],
        options={"showHeader": True},
    ),
]

DASHBOARD: Json = {
    "uid": "lrwatch-run",
    "title": "lrwatch: run",
    "description": "One training run as lrwatch sees it: its loss, what it gains, its learning rate, what was done.",
    "tags": ["lrwatch", "training"],
    "schemaVersion": 39,
    "editable": False,
    "graphTooltip": 1,
    "refresh": "30s",
    "time": {"from": "now-6h", "to": "now"},
    "timezone": "browser",
    "annotations": {
        "list": [
            annotation(
                "Command applied",
                GREEN,
                f"lrwatch_command_applied_timestamp_seconds{{{RUN}}} * 1000",
                "{{run}}: the trainer applied a command",
                useValueForTime="on",
            ),
            annotation(
                "Command refused",
                RED,
                f"increase(lrwatch_commands_rejected_total{{{RUN}}}[$__rate_interval]) > 0",
                "{{run}}: the trainer refused a command, {{code}}",
            ),
        ]
    },
    "templating": {
        "list": [
            {
                "type": "datasource",
                "name": "datasource",
                "label": "Data source",
                "query": "prometheus",
                "current": {},
                "refresh": 1,
            },
            variable("job", "Job", "label_values(lrwatch_build_info, job)", many=True),
            variable("instance", "Instance", 'label_values(lrwatch_build_info{job=~"$job"}, instance)', many=True),
            variable("run", "Run", f"label_values(lrwatch_run_info{{{DAEMON}}}, run)", many=False),
            variable("metric", "Metric", f"label_values(lrwatch_run_metric_value{{{RUN}}}, metric)", many=True),
        ]
    },
    "panels": place([("Now", OVERVIEW), ("Training", TRAINING), ("Events", EVENTS), ("Watching", HEALTH)]),
}

if __name__ == "__main__":
    default = Path(__file__).with_name("dashboards") / "run.json"
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    output.write_text(json.dumps(DASHBOARD, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
