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
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from lrwatch.errors import InputError
from lrwatch.report.chart.axis import short, whole
from lrwatch.report.chart.caption import notes
from lrwatch.report.chart.effect_chart import MAX_CLOSE_UPS, close_up
from lrwatch.report.chart.layout import Drawn, Scene, set_scene
from lrwatch.report.chart.range_test_chart import MAX_RANGES, Range, picture, range_tests, rates_in_words, when
from lrwatch.report.chart.run_chart import BAD_KINDS, MAX_MARKS, draw
from lrwatch.report.model.command_groups import Series, in_series, merged, told
from lrwatch.report.model.data import ReportData
from lrwatch.report.model.operator_actions import orders
from lrwatch.report.model.timeline import Change, changes, integer, of_kind, sentence, text, verdict
from lrwatch.report.page.changes import changes_table
from lrwatch.report.page.markup import esc
from lrwatch.report.page.table import NOTHING, at_step, mark, marks, section, table

# What an event says in columns of its own; the rest of an operator's action is listed as it is.
_KNOWN_KEYS = frozenset(
    {
        "event",
        "run",
        "step",
        "time",
        "id",
        "hash",
        "prev",
        "actor",
        "action",
        "verb",
        "argument",
        "done",
        "message",
        "v",
    }
)

# More pairs than a detector ever gives as its evidence; a foreign journal may hold any number.
MAX_PAIRS = 24

# The paragraph above the picture has no text from outside but names of metrics.
MAX_VERDICT = 2000

_KINDS = {"nonfinite": "non-finite", "too_slow": "too slow"}


def render(data: ReportData) -> str:
    """The page as text; UTF-8 when it is written."""
    rows = changes(data.events)
    scene = set_scene(data, rows)
    series, tests = in_series(rows, data.events), range_tests(data, rows)
    said = verdict(data, rows, told(series, rows, tests))
    style, script = _part("page.css"), _part("page.js")
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    run = f'<p class="run">{esc(data.run)}</p>' if data.run != data.title else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{esc(data.title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f'<header><h1>{esc(data.title)}</h1>{run}</header>\n<p class="verdict">{esc(said, MAX_VERDICT)}</p>\n'
        f"{_figure(scene)}\n{_ranges(data, rows, tests)}{_effects(scene)}{changes_table(data, rows, series)}\n{_findings(data)}\n"
        f"{_phases(data, rows, series)}{_operators(data)}{_facts(data)}\n</main>\n"
        f'<script type="application/json" id="numbers">{_json(scene.numbers() if scene else {})}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
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


def _part(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _json(numbers: dict[str, Any]) -> str:
    """Numbers only; `<` is escaped all the same, so that nothing can end the element."""
    return json.dumps(numbers, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _figure(scene: Scene | None) -> str:
    svg = draw(scene) if scene else ""
    said = "".join(f"<p>{esc(note)}</p>" for note in notes(scene)) if scene else ""
    if scene is None or not svg:
        return f'<div class="none"><p>There is nothing to draw.</p>{said}</div>'
    noun = scene.data.axis
    entries = [_legend(d, number) for number, d in enumerate(scene.drawn)]
    upper, lower = "".join(entries[: len(scene.upper)]), "".join(entries[len(scene.upper) :])
    rates = f'<ul class="read rates">{lower}</ul>' if lower else ""
    buttons = "".join(
        f'<button type="button" data-do="{do}">{label}</button>'
        for do, label in (("in", "Zoom in"), ("out", "Zoom out"), ("all", f"All {noun}s"))
    )
    return (
        f'<figure><ul class="read"><li class="where">at the end</li>{upper}</ul>{rates}'
        f'<div class="frame"><div class="zoom" hidden>{buttons}</div><div class="plot" data-noun="{noun}">{svg}</div></div>'
        f"<figcaption>{said}</figcaption></figure>"
    )


def _legend(d: Drawn, number: int) -> str:
    level = NOTHING if d.level is None else short(d.level)
    swatch = f'<i class="{d.css}"></i>'
    # Where rows are more than one value, the read-out shows a range, and has its room from the beginning.
    css = ' class="ranged"' if (d.rows.finite > 1).any() and d.curve.role != "lr" else ""
    return f'<li data-curve="{number}"{css}>{swatch}<span>{esc(d.name)}</span> <b>{level}</b><small></small></li>'


def _effects(scene: Scene | None) -> str:
    """Each measured change close by, where the journal tells what it was measured against."""
    if scene is None or not scene.effects:
        return ""
    cards = []
    for one in scene.effects[:MAX_CLOSE_UPS]:
        picture, words = close_up(one, scene.data.curves[0], scene.data.axis)
        verdict, _, numbers = one.words.partition(": ")
        back = f" Taken back by {mark(one.change.taken_back)}." if one.change.taken_back else ""
        cards.append(
            f'<figure class="close"><h3>{mark(one.number)} <b class="{one.css}">{verdict}</b>: <span>{numbers}</span></h3>'
            f'<div class="room">{picture}</div><figcaption>{esc(words)}{back}</figcaption></figure>'
        )
    count = len(scene.effects)
    more = f'<p class="none">The first {len(cards)} of {count:,}.</p>' if count > len(cards) else ""
    intro = (
        f'<p class="intro">The level of {esc(scene.data.metric)} that came, against the line before each change, continued '
        "(dashed). Band and bar are 95\u00a0% intervals.</p>"
    )
    return section("What the changes brought", f'{intro}<div class="closes">{"".join(cards)}</div>{more}') + "\n"


def _ranges(data: ReportData, rows: Sequence[Change], tests: Sequence[Range]) -> str:
    """Each range test: its picture and its words, or its words alone where there is nothing to draw."""
    if not tests:
        return ""
    drawn = [test for test in tests if len(test.scales)]
    cards, failed = [], []
    for order, test in enumerate(drawn[-MAX_RANGES:], 1):
        lead = "" if test.first is None or test.last is None else f"{marks(test.first, test.last)} "
        said = "".join(f"<p>{esc(words)}</p>" for words in (sentence(test.message), rates_in_words(test)) if words)
        cards.append(
            f'<figure class="close range"><h3>{lead}<span>{when(test, rows, data.axis)}</span></h3>'
            f'<div class="room">{picture(test, order, data.metric)}</div><figcaption>{said}</figcaption></figure>'
        )
    for test in [test for test in tests if not len(test.scales)][-MAX_RANGES:]:
        where = f"{data.axis} {whole(test.step)}: " if test.step is not None else ""
        failed.append(f"<p>{esc(sentence(where + test.message))}</p>")
    more = f'<p class="none">The newest {len(cards)} of {len(drawn):,}.</p>' if len(drawn) > len(cards) else ""
    intro = (
        f'<p class="intro">The level of {esc(data.metric)} in the second half of each stair, over the scale of the learning rate '
        "(logarithmic). Steepest: where the level fell by most from one stair to the next; valley: in the middle of the longest "
        "fall.</p>"
    )
    shown = f'{intro}<div class="closes">{"".join(cards)}</div>{more}' if cards else ""
    title = "Range test" if len(tests) == 1 else "Range tests"
    return section(title, f"{shown}{''.join(failed)}") + "\n"


def _findings(data: ReportData) -> str:
    findings = of_kind(data.events, "finding")
    if not findings:
        return section("Findings", '<p class="none">None.</p>')
    body = []
    for number, e in enumerate(findings[:MAX_MARKS], 1):
        kind = text(e, "kind")
        css = ' class="k bad"' if kind in BAD_KINDS else ' class="k"'
        body.append(
            f'<tr id="finding-{number}"><th scope="row">F{number}</th><td class="n">{at_step(integer(e, "step"))}</td>'
            f'<td{css}>{esc(_KINDS.get(kind, kind))}</td><td class="name">{esc(text(e, "metric"))}</td>'
            f'<td class="words">{esc(text(e, "message"))}<small>{_pairs(e.get("evidence"))}</small></td></tr>'
        )
    heads = ("", f"n:{data.axis.capitalize()}", "Kind", "Metric", "What was seen, and the evidence")
    return section("Findings", table("Findings", heads, body, len(findings)))


def _phases(data: ReportData, rows: Sequence[Change], series: Sequence[Series]) -> str:
    phases = merged(data.events, rows, series)
    if not phases:
        return ""
    body = [
        f'<tr><td class="n">{at_step(integer(e, "step"))}</td><td class="k">{esc(text(e, "cause").replace("_", " "))}</td>'
        f'<td class="words">{esc(text(e, "message"))}{_further(count)}</td></tr>'
        for e, count in phases[:MAX_MARKS]
    ]
    heads = (f"n:From {data.axis}", "Cause", "What happened")
    shown = sum(count for _, count in phases[:MAX_MARKS])
    return section("Phases", table("Phases", heads, body, sum(count for _, count in phases), shown)) + "\n"


def _further(count: int) -> str:
    return f"<small>and {count - 1:,} more, one for each change of the series</small>" if count > 1 else ""


def _operators(data: ReportData) -> str:
    actions = orders(data.events)
    if not actions:
        return ""
    body = []
    for order in actions[:MAX_MARKS]:
        event = data.events[order.place]
        said = esc(text(event, "message"))
        more = _pairs({k: v for k, v in event.items() if k not in _KNOWN_KEYS})
        details = f"{said}<small>{more}</small>" if said and more else said or more
        refused = "" if order.done else '<b class="bad">refused</b>: '
        body.append(
            f'<tr><td class="n">{at_step(order.step)}</td><td>{esc(order.actor) or NOTHING}</td>'
            f'<td class="name">{esc(order.words) or NOTHING}</td><td class="words">{refused}{details}</td></tr>'
        )
    heads = (f"n:{data.axis.capitalize()}", "Who", "Action", "Details")
    return section("What operators did", table("Actions", heads, body, len(actions))) + "\n"


def _facts(data: ReportData) -> str:
    if not data.facts:
        return ""
    items = "".join(f"<dt>{esc(label)}</dt><dd>{esc(value)}</dd>" for label, value in data.facts)
    return section("Facts", f"<dl>{items}</dl>")


def _pairs(evidence: object) -> str:
    """Evidence as `name value` pairs, numbers in four digits, whole ones in full."""
    if not isinstance(evidence, Mapping):
        return ""
    return " · ".join(f"{esc(key)} {_value(value)}" for key, value in islice(evidence.items(), MAX_PAIRS))


def _value(value: object) -> str:
    if isinstance(value, float):
        return short(value)
    return esc(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value)
