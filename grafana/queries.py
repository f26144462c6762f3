"""What both dashboards ask: which series are chosen, and where a run stands, as one number."""

from __future__ import annotations

from parts import GREEN, GREY, ORANGE, PURPLE, RED, Json, mapping, variable

DAEMON = 'job=~"$job", instance=~"$instance"'

# The variables that choose scrape jobs and daemons.
CHOICE = [
    variable("job", "Job", "label_values(lrwatch_build_info, job)", many=True),
    variable("instance", "Instance", 'label_values(lrwatch_build_info{job=~"$job"}, instance)', many=True),
]

# Where a run stands, the most urgent with the highest number, so that a table sorts by it.
# A life comes before a state of the metric: of a run that is over nobody asks whether it still improves.
STATES = (
    ("state", "improving", "improving", GREEN),
    ("state", "not_judged", "not judged", GREY),
    ("state", "cannot_tell_yet", "cannot tell yet", GREY),
    ("life", "starting", "no samples yet", GREY),
    ("life", "finished", "was over when found", GREY),
    ("life", "ended", "ended", GREY),
    ("life", "removed", "logs removed", GREY),
    ("state", "plateau", "plateau", ORANGE),
    ("state", "rising", "rising", RED),
    ("life", "lost", "lost", RED),
    ("value", "", "not finite", PURPLE),
)
STATE_MAPPING: list[Json] = mapping({number: (text, color) for number, (_, _, text, color) in enumerate(STATES)})

# Findings that say that the run is being lost.
CRITICAL = 'kind=~"nonfinite|divergence"'


def watched(selector: str) -> str:
    """Return the condition that a series is of the metric that decides in its run."""
    return f"and on (job, instance, run, metric) lrwatch_run_info{{{selector}}}"


def state(selector: str, by: str = "run") -> str:
    """Return a query that gives the number in `STATES` of each run.

    Args:
        selector: Label matchers of the runs.
        by: The labels that tell runs apart.
    """
    numbers = {(kind, word): number for number, (kind, word, _, _) in enumerate(STATES)}
    over = [
        f'{number} * (lrwatch_run_life{{{selector}, life="{word}"}} == 1)'
        for (kind, word), number in numbers.items()
        if kind == "life"
    ]
    value = f"lrwatch_run_metric_value{{{selector}}}"
    # NaN is not itself, and infinity less itself is NaN.
    not_finite = (
        f"{numbers['value', '']} * group by (job, instance, run) (({value} - {value} != 0) {watched(selector)})"
    )
    of_metric = " or ".join(
        f'{number} * (lrwatch_run_trend{{{selector}, state="{word}"}} == 1)'
        for (kind, word), number in numbers.items()
        if kind == "state"
    )
    runs = "on (job, instance, run)"
    return (
        f"max by ({by}) (({' or '.join(over)}) or {runs} ({not_finite}) or {runs} (({of_metric}) {watched(selector)}))"
    )
