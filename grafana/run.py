"""The dashboard of one run."""

from __future__ import annotations

from parts import (
    BLUE,
    ENCODED,
    GREEN,
    GREY,
    ORANGE,
    PAGES,
    RED,
    WIDTH,
    annotation,
    band,
    bars,
    dashboard,
    fixed,
    graph,
    link,
    mapping,
    series,
    stat,
    steps,
    table,
    target,
    variable,
)  # fmt: skip
from queries import CHOICE, CRITICAL, DAEMON, STATE_MAPPING, state, watched

# Equal, not a pattern: Grafana does not escape a variable of one value, and a run may be called `gpt2+rope`.
ONE = f'{DAEMON}, run="$run"'
WATCHED = watched(ONE)

OVERVIEW = [
    stat(
        "State",
        "Whether the run is alive, and where its watched metric stands. On a plateau means: on the evidence it gains less per "
        "horizon than is worth having.",
        "short",
        state(ONE),
        mappings=STATE_MAPPING,
        noValue="too early to say",
    ),
    stat(
        "Critical findings",
        "Times in the chosen time range that a metric was not finite, or left the level that it had reached.",
        "short",
        f"sum by (run) (increase(lrwatch_findings_total{{{ONE}, {CRITICAL}}}[$__range]))",
        thresholds=steps((None, GREEN), (0.5, RED)),
        decimals=0,
        noValue="none yet",
    ),
    stat("Step", "Newest step of the run.", "locale", f"lrwatch_run_step{{{ONE}}}", decimals=0),
    stat(
        "Progress",
        "Share of the run that is done, where its length is known.",
        "percentunit",
        f"lrwatch_run_progress_ratio{{{ONE}}}",
        noValue="length unknown",
    ),
    stat(
        "Tells by step",
        "Estimated step at which lrwatch can judge whether the watched metric is on a plateau, while it cannot yet.",
        "locale",
        f"lrwatch_run_tells_at_step{{{ONE}}} {WATCHED}",
        decimals=0,
        noValue="-",
    ),
    stat(
        "Last sample",
        "Time since the newest sample was written.",
        "s",
        f"time() - lrwatch_run_last_sample_timestamp_seconds{{{ONE}}}",
        thresholds=steps((None, GREEN), (900, ORANGE), (3600, RED)),
        decimals=0,
    ),
    stat(
        "LR scale",
        "Last acknowledged multiplier on the learning rate of the trainer's own schedule. 1 is untouched.",
        "none",
        f"lrwatch_lr_scale{{{ONE}}}",
    ),
    stat(
        "Pending command",
        "Age of the command that the trainer has not acknowledged yet; 0 when there is none.",
        "s",
        f"lrwatch_command_pending_seconds{{{ONE}}}",
        thresholds=steps((None, GREEN), (60, ORANGE), (600, RED)),
        decimals=0,
    ),
    stat(
        "Waits for approval",
        "Commands that wait for a person: `lrwatch status RUN` says what they are, `lrwatch approve RUN ID` sends one.",
        "short",
        f"lrwatch_proposals_pending{{{ONE}}}",
        thresholds=steps((None, GREEN), (0.5, ORANGE)),
        decimals=0,
    ),
    stat(
        "ID to approve",
        "Number of the newest command that waits, for `lrwatch approve RUN ID` and `lrwatch deny RUN ID`.",
        "none",
        f"lrwatch_proposal_id{{{ONE}}}",
        noValue="nothing waits",
    ),
    stat(
        "Control",
        "Whether this daemon may command the run: an operator may hold it (`lrwatch resume RUN` ends that), or another daemon may "
        "have taken over.",
        "short",
        f"lrwatch_run_held{{{ONE}}} + 2 * lrwatch_run_fenced{{{ONE}}}",
        mappings=mapping(
            {
                0: ("free", GREEN),
                1: ("held", ORANGE),
                2: ("taken over", RED),
                3: ("held, and taken over", RED),
            }
        ),
    ),
    stat(
        "Log",
        "Whether the logs of the run can be read.",
        "short",
        f"lrwatch_run_up{{{ONE}}}",
        mappings=mapping({0: ("not readable", RED), 1: ("readable", GREEN)}),
    ),
]

TRAINING = [
    graph(
        "Watched metric",
        "Newest value of the watched metric. Shaded: on a plateau (orange), or getting worse (red). Vertical lines: commands that "
        "the trainer applied.",
        "short",
        [
            target(f"lrwatch_run_metric_value{{{ONE}}} {WATCHED}", "{{metric}}"),
            target(f'lrwatch_run_trend{{{ONE}, state="plateau"}} {WATCHED}', "plateau: {{metric}}"),
            target(f'lrwatch_run_trend{{{ONE}, state="rising"}} {WATCHED}', "rising: {{metric}}"),
        ],
        width=WIDTH,
        overrides=[
            series(
                f"/^{word}: /",
                unit="short",
                color=fixed(color),
                min=0,
                max=1,
                custom_axisPlacement="hidden",
                custom_lineWidth=0,
                custom_fillOpacity=15,
                custom_lineInterpolation="stepAfter",
            )
            for word, color in (("plateau", ORANGE), ("rising", RED))
        ],
    ),
    graph(
        "Improvement per horizon",
        "How much the watched metric gains per horizon, relative to its level, with its confidence band. Below the "
        "line at 0 it gets worse. A band wholly above the required improvement means: continuing is worth it.",
        "percentunit",
        [
            target(f"lrwatch_run_improvement_ratio_upper{{{ONE}}} {WATCHED}", "upper bound"),
            target(f"lrwatch_run_improvement_ratio_lower{{{ONE}}} {WATCHED}", "lower bound"),
            target(f"lrwatch_run_improvement_ratio{{{ONE}}} {WATCHED}", "improvement"),
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
            target(f"lrwatch_lr_schedule{{{ONE}}}", "schedule, group {{group}}"),
            target(f"lrwatch_lr_effective{{{ONE}}}", "effective, group {{group}}"),
        ],
        custom={"scaleDistribution": {"type": "log", "log": 10}},
        overrides=[series("/^schedule/", custom_lineStyle={"fill": "dash", "dash": [8, 6]}, custom_lineWidth=1)],
    ),
    graph(
        "Scale and pending command",
        "The acknowledged scale (left) and the age of a command without acknowledgement (right).",
        "none",
        [
            target(f"lrwatch_lr_scale{{{ONE}}}", "scale"),
            target(f"lrwatch_command_pending_seconds{{{ONE}}}", "pending"),
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
        "Relative to the level before. A band wholly above the line at 0: it helped; wholly below: it cost "
        "progress; across: no certain gain. Empty until a command was measured, a horizon or more after it was applied.",
        "percentunit",
        [
            target(f"lrwatch_effect_gain_ratio_upper{{{ONE}}}", "upper bound"),
            target(f"lrwatch_effect_gain_ratio_lower{{{ONE}}}", "lower bound"),
            target(f"lrwatch_effect_gain_ratio{{{ONE}}}", "gain"),
        ],
        custom={"lineInterpolation": "stepAfter", "thresholdsStyle": {"mode": "line"}},
        defaults={"decimals": 2, "thresholds": steps((None, "transparent"), (0, GREY))},
        overrides=band("gain", GREEN),
    ),
    graph(
        "Metrics of the log",
        "Newest values of the metrics chosen above, watched or not.",
        "short",
        [target(f'lrwatch_run_metric_value{{{ONE}, metric=~"$metric"}}', "{{metric}}")],
        width=WIDTH,
        custom={"lineWidth": 1},
    ),
]

EVENTS = [
    bars(
        "Findings",
        "What the detectors found, by kind, per interval.",
        [target(f"increase(lrwatch_findings_total{{{ONE}}}[$__rate_interval])", "{{kind}}")],
    ),
    bars(
        "Commands",
        "Commands that the trainer applied, by reason, and those that it refused, by code, per interval.",
        [
            target(f'increase(lrwatch_commands_total{{{ONE}, state="applied"}}[$__rate_interval])', "{{reason}}"),
            target(f"increase(lrwatch_commands_rejected_total{{{ONE}}}[$__rate_interval]) > 0", "refused: {{code}}"),
        ],
    ),
    bars(
        "Effects",
        "Commands that were measured, by what they brought, per interval.",
        [target(f"increase(lrwatch_effects_total{{{ONE}}}[$__rate_interval])", "{{verdict}}")],
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
            target(f"rate(lrwatch_ingest_lines_total{{{ONE}}}[$__rate_interval])", "lines"),
            target(f"rate(lrwatch_ingest_samples_total{{{ONE}}}[$__rate_interval])", "samples"),
        ],
        width=8,
    ),
    graph(
        "Lag and throughput",
        "Bytes in the logs that are not read yet, and bytes read per second. A growing lag: the daemon "
        "does not keep up.",
        "bytes",
        [
            target(f"lrwatch_ingest_lag_bytes{{{ONE}}}", "lag"),
            target(f"rate(lrwatch_ingest_bytes_total{{{ONE}}}[$__rate_interval])", "read per second"),
        ],
        width=8,
        defaults={"min": 0},
        overrides=[series("read per second", unit="Bps", custom_axisPlacement="right", custom_lineWidth=1)],
    ),
    graph(
        "Unusable lines",
        "Log lines per second that could not be used, by reason. `lrwatch read --explain FILE` says why.",
        "cps",
        [target(f"rate(lrwatch_ingest_errors_total{{{ONE}}}[$__rate_interval])", "{{reason}}")],
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
        "per interval. All but the last should stay at 0. None tried: nothing happened, or no channel is set up.",
        "short",
        [
            target(f"sum(increase(lrwatch_series_dropped_total{{{DAEMON}}}[$__rate_interval]))", "series dropped"),
            target(
                f"sum(increase(lrwatch_notifications_failed_total{{{DAEMON}}}[$__rate_interval]))",
                "notifications failed",
            ),
            target(f"sum(increase(lrwatch_notifications_total{{{DAEMON}}}[$__rate_interval]))", "notifications tried"),
        ],
        width=8,
        defaults={"min": 0},
    ),
    table(
        "Run and daemon",
        "The run, its watched metric, the mode of its controller, the strategy that decides now, and the fencing number "
        "under which the daemon commands it. Two daemons with a number for one run are one too many.",
        [
            target(
                f"lrwatch_controller_token{{{ONE}}} * on (job, instance, run) group_left (metric, mode) "
                f"lrwatch_run_info{{{ONE}}} * on (job, instance, run) group_left (strategy) "
                f"lrwatch_run_strategy_info{{{ONE}}} * on (job, instance) group_left (version) "
                f"lrwatch_build_info{{{DAEMON}}}",
                instant=True,
            )
        ],
    ),
]

RUN = dashboard(
    "lrwatch-run",
    "lrwatch: run",
    "One training run as lrwatch sees it: its loss, what it gains, its learning rate, what was done.",
    links=[
        link(
            "All runs",
            "/d/lrwatch-fleet?${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${pages:queryparam}",
            "The dashboard of all runs",
        ),
        link("Page of this run", f"$pages/runs/${{run:{ENCODED}}}", "What lrwatch itself shows of it"),
    ],
    annotations=[
        annotation(
            "Command applied",
            GREEN,
            f"lrwatch_command_applied_timestamp_seconds{{{ONE}}} * 1000",
            "{{run}}: the trainer applied a command",
            useValueForTime="on",
        ),
        annotation(
            "Command refused",
            RED,
            f"increase(lrwatch_commands_rejected_total{{{ONE}}}[$__rate_interval]) > 0",
            "{{run}}: the trainer refused a command, {{code}}",
        ),
        annotation(
            "Critical finding",
            ORANGE,
            f"increase(lrwatch_findings_total{{{ONE}, {CRITICAL}}}[$__rate_interval]) > 0",
            "{{run}}: {{kind}}",
        ),
    ],
    variables=[
        *CHOICE,
        variable("run", "Run", f"label_values(lrwatch_run_info{{{DAEMON}}}, run)", many=False),
        variable("metric", "Metric", f"label_values(lrwatch_run_metric_value{{{ONE}}}, metric)", many=True),
        PAGES,
    ],
    rows=[("Now", OVERVIEW), ("Training", TRAINING), ("Events", EVENTS), ("Watching", HEALTH)],
)
