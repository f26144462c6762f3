"""The dashboard of all runs: who needs attention, one row a run, and the way to each."""

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
    Json,
    bars,
    dashboard,
    graph,
    link,
    series,
    stat,
    steps,
    table,
    target,
    timeline,
)  # fmt: skip
from queries import CHOICE, CRITICAL, DAEMON, STATE_MAPPING, state, watched

BY = "job, instance, run"
CHOSEN = "${datasource:queryparam}&${job:queryparam}&${instance:queryparam}"
NAME = f"${{__data.fields.run:{ENCODED}}}"
RUN_LINKS: list[Json] = [
    {"title": "Dashboard of the run", "url": f"/d/lrwatch-run?{CHOSEN}&var-run={NAME}&var-pages=${{pages:{ENCODED}}}&${{__url_time_range}}"},
    {"title": "Page of the run", "url": f"$pages/runs/{NAME}"},
]  # fmt: skip


def count(title: str, description: str, expr: str, color: str) -> Json:
    """Return a number of runs, in `color` once it is not 0."""
    return stat(
        title, description, "short", expr, thresholds=steps((None, GREEN), (0.5, color)), decimals=0, noValue="0"
    )


def alive(condition: str) -> str:
    """Return the number of runs that are not over, and of which the condition holds."""
    runs = f'lrwatch_run_life{{{DAEMON}, life=~"starting|running|lost"}} == 1'
    return f"count(({condition}) and on (job, instance, run) ({runs}))"


def of_run(expr: str) -> Json:
    """Return a column of the table of runs: one number for each."""
    return target(f"max by ({BY}) ({expr})", instant=True)


OVERVIEW = [
    stat("Running", "Runs that train.", "short", f'sum(lrwatch_run_life{{{DAEMON}, life="running"}})', decimals=0),
    count(
        "Lost",
        "Runs that are silent, and whose process is gone or not known.",
        f'sum(lrwatch_run_life{{{DAEMON}, life="lost"}})',
        RED,
    ),
    count(
        "Critical findings",
        "Times in the chosen time range that a metric of a run was not finite, or left the level that it had reached.",
        f"sum(increase(lrwatch_findings_total{{{DAEMON}, {CRITICAL}}}[$__range]))",
        RED,
    ),
    count(
        "On a plateau",
        "Runs whose watched metric is on a plateau.",
        alive(f'lrwatch_run_trend{{{DAEMON}, state="plateau"}} == 1 {watched(DAEMON)}'),
        ORANGE,
    ),
    count(
        "Waits for approval",
        "Commands that wait for a person: `lrwatch status` lists them, `lrwatch approve RUN ID` sends one.",
        f"sum(lrwatch_proposals_pending{{{DAEMON}}})",
        ORANGE,
    ),
    count(
        "Held or taken over",
        "Runs that lrwatch may not command now: an operator holds them, or another daemon commands them.",
        alive(f"lrwatch_run_held{{{DAEMON}}} + lrwatch_run_fenced{{{DAEMON}}} > 0"),
        ORANGE,
    ),
]

RUNS = [
    table(
        "Runs",
        "One row a run, those that need attention first. A click on the name leads to the dashboard of the run, and to its page.",
        [
            target(state(DAEMON, BY), instant=True),
            of_run(f"lrwatch_proposals_pending{{{DAEMON}}}"),
            of_run(f"increase(lrwatch_findings_total{{{DAEMON}, {CRITICAL}}}[$__range])"),
            of_run(f"lrwatch_run_metric_value{{{DAEMON}}} {watched(DAEMON)}"),
            of_run(f"lrwatch_run_step{{{DAEMON}}}"),
            of_run(f"lrwatch_run_progress_ratio{{{DAEMON}}}"),
            of_run(f"lrwatch_lr_scale{{{DAEMON}}}"),
            of_run(f"time() - lrwatch_run_last_sample_timestamp_seconds{{{DAEMON}}}"),
        ],
        columns={
            "run": "run", "Value #A": "state", "Value #B": "waits for approval", "Value #C": "critical findings",
            "Value #D": "watched metric", "Value #E": "step", "Value #F": "progress", "Value #G": "LR scale",
            "Value #H": "last sample", "instance": "instance", "job": "job",
        },
        sort="state",
        height=13,
        overrides=[
            series("run", links=RUN_LINKS),
            series("state", mappings=STATE_MAPPING, custom_cellOptions={"type": "color-text"}),
            series("waits for approval", thresholds=steps((None, "text"), (0.5, ORANGE)), color={"mode": "thresholds"}, custom_cellOptions={"type": "color-text"}),
            series("critical findings", decimals=0, thresholds=steps((None, "text"), (0.5, RED)), color={"mode": "thresholds"}, custom_cellOptions={"type": "color-text"}),
            series("step", unit="locale", decimals=0),
            series("progress", unit="percentunit", min=0, max=1, custom_cellOptions={"type": "gauge", "mode": "basic"}, color={"mode": "fixed", "fixedColor": BLUE}),
            series("last sample", unit="s", decimals=0),
        ],
    ),
    timeline(
        "States",
        "What each run was in, and when.",
        state(DAEMON, BY),
        "{{run}}",
        STATE_MAPPING,
    ),
]  # fmt: skip

COURSE = [
    graph(
        "Watched metrics",
        "Newest value of the metric that decides, by run. Logarithmic.",
        "short",
        [target(f"lrwatch_run_metric_value{{{DAEMON}}} {watched(DAEMON)}", "{{run}}: {{metric}}")],
        custom={"lineWidth": 1, "scaleDistribution": {"type": "log", "log": 10}},
    ),
    graph(
        "Progress",
        "Share of each run that is done, where its length is known.",
        "percentunit",
        [target(f"lrwatch_run_progress_ratio{{{DAEMON}}}", "{{run}}")],
        custom={"lineWidth": 1},
        defaults={"min": 0, "max": 1},
    ),
    bars(
        "Findings",
        "What the detectors found in all runs, by kind, per interval.",
        [target(f"sum by (kind) (increase(lrwatch_findings_total{{{DAEMON}}}[$__rate_interval]))", "{{kind}}")],
    ),
    bars(
        "Commands",
        "What became of commands to all runs, per interval: proven ones were measured to have helped, taken back are trials that "
        "were not.",
        [
            target(
                f'sum by (state) (increase(lrwatch_commands_total{{{DAEMON}, state!="asked"}}[$__rate_interval]))',
                "{{state}}",
            )
        ],
    ),
    bars(
        "Refused commands",
        "Commands that trainers refused, by code, per interval.",
        [
            target(
                f"sum by (code) (increase(lrwatch_commands_rejected_total{{{DAEMON}}}[$__rate_interval]))", "{{code}}"
            )
        ],
    ),
]

WATCHING = [
    table(
        "Firing alerts",
        "Alerts of Prometheus that fire now. Needs the rules of deploy/prometheus.",
        [target(f'ALERTS{{{DAEMON}, alertstate="firing"}}', instant=True)],
        columns={"alertname": "alert", "severity": "severity", "run": "run", "instance": "instance"},
        overrides=[series("run", links=RUN_LINKS)],
        width=WIDTH // 2,
    ),
    table(
        "Daemons",
        "The daemons that watch, their versions, and how many runs each has.",
        [
            target(
                f"count by (job, instance) (lrwatch_run_up{{{DAEMON}}}) * on (job, instance) group_left (version) "
                f"lrwatch_build_info{{{DAEMON}}}",
                instant=True,
            )
        ],
        columns={"instance": "instance", "version": "version", "Value": "runs", "job": "job"},
        width=WIDTH // 2,
    ),
    graph(
        "Paths without logs",
        "1 for a path that is watched and where nothing to read is found.",
        "short",
        [target(f"1 - lrwatch_watch_path_up{{{DAEMON}}}", "{{path}}")],
        width=8,
        defaults={"min": 0, "max": 1, "decimals": 0},
    ),
    graph(
        "Lag",
        "Bytes in the logs that are not read yet, by daemon. If they grow, the daemon does not keep up.",
        "bytes",
        [target(f"sum by (instance) (lrwatch_ingest_lag_bytes{{{DAEMON}}})", "{{instance}}")],
        width=8,
        defaults={"min": 0},
    ),
    graph(
        "Time per round",
        "How long 99 of 100 rounds of a daemon take at the most: read, decide, act, publish.",
        "s",
        [
            target(
                "histogram_quantile(0.99, sum by (le, instance) "
                f"(rate(lrwatch_loop_duration_seconds_bucket{{{DAEMON}}}[$__rate_interval])))",
                "{{instance}}",
            )
        ],
        width=8,
        overrides=[series("/.*/", color={"mode": "fixed", "fixedColor": GREY})],
    ),
]

FLEET = dashboard(
    "lrwatch-fleet",
    "lrwatch: all runs",
    "All training runs that lrwatch watches, those that need attention first.",
    links=[link("Page of all runs", "$pages/", "What lrwatch itself shows of them")],
    variables=[*CHOICE, PAGES],
    rows=[("Now", OVERVIEW), ("Runs", RUNS), ("Course", COURSE), ("Watching", WATCHING)],
)
