"""The report: one HTML page that needs nothing but itself.

The content security policy allows the page's own style and script by their hashes and nothing else: no request leaves
the page, and a script that came in with a name would not run even if it were not escaped. The same data gives the same
bytes: no clock, no random name.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrwatch.errors import InputError
from lrwatch.report.chart.layout import lay_out
from lrwatch.report.model.command_groups import group_commands
from lrwatch.report.model.data import ReportData
from lrwatch.report.model.range_tests import range_tests
from lrwatch.report.model.summary import summary
from lrwatch.report.model.timeline import lr_changes
from lrwatch.report.page.changes import changes_table
from lrwatch.report.page.sections import (
    action_rows,
    close_ups,
    finding_rows,
    phase_rows,
    range_test_figures,
    run_figure,
)
from lrwatch.report.page.template import asset, own_markup, template


@dataclass(frozen=True, slots=True)
class Live:
    """What a page has beside the report where a daemon serves it.

    Attributes:
        home: Address of the page of all runs.
        badge, tone: What the run is in, in a word or two, and how urgent that is.
        words: The same as a sentence.
        waits: What a person can do, a sentence each.
        share: How far the run is, as a share of its length, where that is known.
        now: Label and value of what changes by the second.
        script: Keeps the page up to date.
        reload: Seconds after which a browser without script loads the page again.
    """

    home: str
    badge: str
    tone: str
    words: str
    waits: tuple[str, ...]
    share: float | None
    now: tuple[tuple[str, str], ...]
    script: str
    reload: int


def render(data: ReportData, live: Live | None = None) -> str:
    """Render the page as text; it is UTF-8 when it is written.

    Args:
        data: Contents of the report.
        live: What a daemon that serves the page adds, or None for a file.
    """
    changes = lr_changes(data.events)
    groups, tests = group_commands(changes, data.events), range_tests(data, changes)
    layout = lay_out(data, changes, groups)
    style, script = asset("page.css"), asset("page.js")
    return template("page.html.j2").render(
        data=data,
        live=live,
        live_script=own_markup(live.script) if live else "",
        live_hash=_hash(live.script) if live else "",
        summary=data.lead or summary(data, changes, groups, tests),
        figure=run_figure(layout),
        close_ups=close_ups(layout),
        effect_count=len(layout.effects) if layout else 0,
        range_tests=range_test_figures(data, changes, tests),
        changes=changes_table(data, changes, groups),
        findings=finding_rows(data),
        phases=phase_rows(data, changes, groups),
        actions=action_rows(data),
        style=own_markup(style),
        style_hash=_hash(style),
        script=own_markup(script),
        script_hash=_hash(script),
        numbers=own_markup(_json(layout.numbers() if layout else {})),
    )


def write(data: ReportData, path: str | os.PathLike[str]) -> None:
    """Write the page so that a reader sees the old file or the whole new one.

    Raises:
        InputError: The file cannot be written there. Nothing is left behind.
    """
    target = Path(path)
    page = render(data).encode("utf-8")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(page)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise InputError(
            expected="a place where the report can be written",
            found=(error.strerror or str(error)).lower(),
            where=str(target),
            hint="Name a file in an existing directory that you may write to.",
        ) from error


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _json(numbers: dict[str, Any]) -> str:
    """Write numbers only; `<` is escaped all the same, so that nothing can end the element."""
    return json.dumps(numbers, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
