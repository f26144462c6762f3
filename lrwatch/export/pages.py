"""The page at `/`: all runs at a glance, those first that need a person. Everything on it is escaped.

It works without script, which a browser then loads again every few seconds; with script only what has changed is exchanged,
so that the focus and the place on the page stay. The content security policy allows the page's own style and script by
their hashes, requests to where the page came from, and nothing else.

Jinja2 is loaded and the template compiled when the page is first served, so that a daemon nobody looks at has neither.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from lrwatch._version import __version__
from lrwatch.core.overview import ASKING, by_attention, headline, heights
from lrwatch.core.snapshot import Snapshot
from lrwatch.export.labels import label_value

if TYPE_CHECKING:
    from jinja2 import Environment

# The page is for a glance; `lrwatch status` lists any number of runs.
MAX_RUNS_SHOWN = 200

# A state in words with what waits for a person, at the most; names of runs are cut there too.
MAX_CELL_CHARS = 600

# Seconds between two looks of a page at its daemon, with script and without: without, all of it is loaded and drawn again.
REFRESH_SECONDS = 3
RELOAD_SECONDS = 10

# Size of the small picture of a curve, in pixels, and the room that its line keeps from the edge.
CURVE_WIDTH, CURVE_HEIGHT, CURVE_ROOM = 120, 30, 3

RUNS = "/runs/"


def page(snapshot: Snapshot | None) -> bytes:
    """Render the page of all runs in UTF-8; `snapshot` is None while nothing was published."""
    runs = by_attention(snapshot.runs, snapshot.time) if snapshot is not None else []
    return (
        _environment()
        .get_template("pages.html.j2")
        .render(
            version=__version__,
            headline=headline(runs),
            asking=sum(one.tone in ASKING for one in runs),
            runs=runs[:MAX_RUNS_SHOWN],
            more=max(0, len(runs) - MAX_RUNS_SHOWN),
            refresh=REFRESH_SECONDS,
            reload=RELOAD_SECONDS,
        )
        .encode()
    )


def address_of(run: str) -> str:
    """Return the path at which the page of a run is served.

    >>> address_of("a/b c")
    '/runs/a%2Fb%20c'
    """
    return RUNS + quote(run, safe="", errors="backslashreplace")


def policy(*scripts: str, style: str = "") -> str:
    """Return the content security policy of a page whose scripts and style are these."""
    allowed = " ".join(_hash(script) for script in scripts) or "'none'"
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {allowed}; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


@cache
def page_policy() -> str:
    """Return the content security policy of the page of all runs."""
    return policy(live_script(), style=_environment().get_template("pages.css").render())


@cache
def live_script() -> str:
    """Return the script that keeps a page up to date."""
    return _environment().get_template("live.js").render(refresh=REFRESH_SECONDS)


def curve_path(values: tuple[float, ...]) -> str:
    """Draw the small picture of a curve, as the path of an SVG of CURVE_WIDTH by CURVE_HEIGHT pixels.

    >>> curve_path((4.0, 2.0, 1.0))
    'M3 3L60 3L117 27'
    """
    if len(values) < 2:
        return ""
    across, down, last = CURVE_WIDTH - 2 * CURVE_ROOM, CURVE_HEIGHT - 2 * CURVE_ROOM, len(values) - 1
    points = (
        f"{CURVE_ROOM + across * i / last:.4g} {CURVE_ROOM + down * (1 - height):.4g}"
        for i, height in enumerate(heights(values))
    )
    return "M" + "L".join(points)


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


@cache
def _environment() -> Environment:
    """Return the environment of the templates; script and style are included as they are, as parts of the template."""
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
    environment.filters |= {"address": address_of, "curve": curve_path}
    return environment
