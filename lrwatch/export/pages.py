"""The page at `/`: the state of each run in words, and the links. Everything on it is escaped.

Jinja2 is loaded and the template compiled when the page is first served, so that a daemon nobody looks at has neither.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from lrwatch._version import __version__
from lrwatch.core.life import OVER
from lrwatch.core.snapshot import RunStatus, Snapshot
from lrwatch.export.labels import label_value

if TYPE_CHECKING:
    from jinja2 import Template

# The page is for a glance; `lrwatch status` lists any number of runs.
MAX_RUNS_SHOWN = 200

# A state in words with what waits for a person, at the most; names of runs are cut there too.
MAX_CELL_CHARS = 600


class RunRow(NamedTuple):
    """A run in words, one field for each column."""

    name: str
    state: str
    step: str
    value: str
    scale: str
    mode: str


def page(snapshot: Snapshot | None) -> bytes:
    """Render the landing page in UTF-8; `snapshot` is None while nothing was published."""
    runs = snapshot.runs if snapshot is not None else ()
    rows = [_row(run) for run in runs[:MAX_RUNS_SHOWN]]
    return _template().render(version=__version__, runs=rows, more=len(runs) - len(rows)).encode()


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: label_value(str(value), MAX_CELL_CHARS),
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    return environment.get_template("pages.html.j2")


def _row(run: RunStatus) -> RunRow:
    watched = next((m for m in run.metrics if m.name == run.metric), None)
    state = watched.words if watched else "cannot tell yet: no metric decides so far"
    if not run.up:
        state = f"not readable: {run.problem}" if run.problem else "not readable"
    state = "; ".join([state, *_waits(run)])
    if run.life in OVER:  # why it can no longer be read matters no more
        state = f"{run.life}: {run.life_note}"
    value = f"{run.metric} {watched.value:.6g}" if watched else ""
    scale = f"{run.scale:g}" if run.wanted is None else f"{run.scale:g}, asked for {run.wanted:g}"
    step = "" if run.step is None else str(run.step)
    return RunRow(run.name, state, step, value, scale, run.mode)


def _waits(run: RunStatus) -> list[str]:
    """Return what waits for a person, with what to type."""
    waits = [f"proposed: scale {one.scale:g}, before step {one.expires_at}: {one.approve}" for one in run.proposals]
    waits += ["held: no command is sent"] if run.held else []
    waits += ["another daemon commands this run"] if run.fenced else []
    return waits
