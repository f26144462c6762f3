"""The page of one run at `/runs/NAME`: the report, made of what the daemon has in memory and in its journal.

It is made in the thread of the request, one at a time, and handed out again for a moment: so any number of people who look at a
run cost no more than one. No log is read, and no lock is held for longer than it takes to copy some thousand points.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrwatch._version import __version__
from lrwatch.core.life import OVER
from lrwatch.core.names import role
from lrwatch.core.overview import Overview, overview
from lrwatch.core.picture import PictureCurve
from lrwatch.core.snapshot import RunStatus
from lrwatch.errors import InputError
from lrwatch.export.http import Response
from lrwatch.export.pages import RELOAD_SECONDS, live_script, policy
from lrwatch.report import Live, MetricCurve, ReportData, render
from lrwatch.report.model.data import CurveRole
from lrwatch.report.model.settings import settings_in_words
from lrwatch.report.page.template import asset
from lrwatch.store import Store

if TYPE_CHECKING:
    from lrwatch.daemon.watched_run import WatchedRun

# Newest entries of the journal of a run that its page shows.
MAX_ENTRIES = 2_000

# Seconds for which a page is handed out again, and how many pages are kept.
FRESH_SECONDS = 1.0
MAX_PAGES = 32

_ROLES: dict[str, CurveRole] = {"train_loss": "train", "val_loss": "val", "lr": "lr"}


class RunPages:
    """The pages of the runs of one daemon.

    Args:
        runs: Gives the runs that are watched, by name.
        state: Directory of the daemon's state, or None where it keeps none.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self, runs: Callable[[], Mapping[str, WatchedRun]], state: Path | None, *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._runs = runs
        self._state = state
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._made: dict[str, tuple[float, Response]] = {}

    def __call__(self, status: RunStatus, now: float) -> Response:
        """Return the page of a run.

        Args:
            status: Its status.
            now: Seconds since the epoch.
        """
        with self._lock:
            made = self._made.pop(status.name, None)
            if made is None or self._monotonic() - made[0] > FRESH_SECONDS:
                page = self._page(status, now)
                made = self._monotonic(), page
            self._made[status.name] = made
            if len(self._made) > MAX_PAGES:
                del self._made[next(iter(self._made))]
            return made[1]

    def _page(self, status: RunStatus, now: float) -> Response:
        page = render(self._data(status), _live(overview(status, now), status))
        allowed = policy(asset("page.js"), live_script(), style=asset("page.css"))
        return Response(200, "text/html; charset=utf-8", page.encode(), allowed)

    def _data(self, status: RunStatus) -> ReportData:
        run = self._runs().get(status.name)  # None while it is set aside
        curves = [] if run is None else [_curve(one) for one in run.picture.curves()]
        curves.sort(key=lambda curve: curve.name != status.metric)
        events, problem = self._events(status.name)
        values = sum(curve.stands_for or len(curve.values) for curve in curves)
        facts = [
            ("Logs", "; ".join(f"{path}: {what}" if what else path for path, what in status.logs.items()) or "none")
        ]
        facts += [("Journal", problem)] if problem else []
        facts += settings_in_words(run.pipeline.detect, run.pipeline.options) if run is not None else ()
        facts += [("Samples", f"{status.samples:,}, of which {values:,} are drawn"), ("lrwatch", __version__)]
        watched = [one for one in status.metrics if one.watched and one.name != status.metric]
        title = f"{status.name}: {status.metric}" if status.metric else status.name
        return ReportData(
            status.name, title, status.metric, "step" if run is None else run.logs.axis, tuple(curves), tuple(events), tuple(facts),
            standings=() if status.life in OVER else tuple((one.name, one.words) for one in watched), is_over=status.life in OVER,
        )  # fmt: skip

    def _events(self, run: str) -> tuple[list[dict[str, Any]], str]:
        """Return the newest events of the journal, and why there are none, as a sentence, or ""."""
        if self._state is None:
            return [], ""
        try:
            store = Store(self._state)
            try:
                return [entry.as_json() for entry in store.newest(run, MAX_ENTRIES)], ""
            finally:
                store.close()
        except (InputError, sqlite3.Error) as error:
            return [], f"cannot be read now: {error}"


def _curve(one: PictureCurve) -> MetricCurve:
    stands_for = one.seen if one.seen > len(one.values) else 0
    return MetricCurve(one.name, _ROLES.get(role(one.name), "other"), one.steps, one.values, stands_for)


def _live(seen: Overview, status: RunStatus) -> Live:
    rows = [
        ("step", seen.step), ("last sample", seen.age), (seen.metric or "value", seen.value), ("LR scale", seen.scale),
        ("learning rate", seen.rate), ("last change", seen.change), ("mode", seen.mode), ("life", status.life),
    ]  # fmt: skip
    return Live(
        home="/", badge=seen.state, tone=seen.state_tone, words=seen.words, waits=seen.waits, share=seen.share,
        now=tuple((label, value) for label, value in rows if value), script=live_script(), reload=RELOAD_SECONDS,
    )  # fmt: skip
