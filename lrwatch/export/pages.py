"""The page at `/`: where each run stands, in words, and the links. Everything on it is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from lrwatch._version import __version__
from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.export.labels import label_value

# The page is for a glance; `lrwatch status` lists any number of runs.
MAX_RUNS_SHOWN = 200

_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>lrwatch</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #ccc; padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; }
:root { color-scheme: light dark; }
</style>
"""

_LINKS = '<p><a href="/metrics">metrics</a> · <a href="/healthz">health</a> · <a href="/readyz">readiness</a></p>\n'


def page(snapshot: Snapshot | None) -> bytes:
    """The landing page in UTF-8; `None` while nothing was published."""
    return "".join((_HEAD, f"<h1>lrwatch {escape(__version__)}</h1>\n", *_runs(snapshot), _LINKS)).encode()


def _runs(snapshot: Snapshot | None) -> Iterator[str]:
    if snapshot is None or not snapshot.runs:
        yield "<p>No run is watched yet.</p>\n"
        return
    yield "<table>\n<tr><th>Run<th>State<th>Step<th>Value<th>LR scale<th>Mode</tr>\n"
    for run in snapshot.runs[:MAX_RUNS_SHOWN]:
        yield _row(run)
    yield "</table>\n"
    if len(snapshot.runs) > MAX_RUNS_SHOWN:
        yield f"<p>and {len(snapshot.runs) - MAX_RUNS_SHOWN} more: see <code>lrwatch status</code></p>\n"


def _row(run: RunStatus) -> str:
    watched = next((m for m in run.metrics if m.name == run.metric), None)
    state: str = watched.trend.state if watched and watched.trend else "undecided"
    if not run.up:
        state = f"not readable: {run.problem}" if run.problem else "not readable"
    value = f"{run.metric} {watched.value:.6g}" if watched else ""
    scale = f"{run.scale:g}" if run.wanted is None else f"{run.scale:g}, asked for {run.wanted:g}"
    step = "" if run.step is None else str(run.step)
    cells = "".join(
        f'<td class="number">{escape(label_value(c))}' for c in (run.name, state, step, value, scale, run.mode)
    )
    return f"<tr>{cells}</tr>\n"
