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
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

from lrwatch.errors import InputError
from lrwatch.report.axis import short, whole
from lrwatch.report.caption import notes
from lrwatch.report.chart import BAD_KINDS, MAX_MARKS, draw
from lrwatch.report.data import ReportData
from lrwatch.report.effects import MAX_CLOSE_UPS, close_up, compared, css_of, in_words
from lrwatch.report.markup import esc
from lrwatch.report.scene import Drawn, Scene, set_scene
from lrwatch.report.story import Change, changes, integer, of_kind, text, verdict

# What an event says in columns of its own; the rest of an operator's action is listed as it is.
_KNOWN_KEYS = frozenset({"event", "run", "step", "time", "id", "hash", "prev", "actor", "action", "v"})

# More pairs than a detector ever gives as its evidence; a foreign journal may hold any number.
MAX_PAIRS = 24

# What a cell shows where the event says nothing.
_NOTHING = "\u2013"

_KINDS = {"nonfinite": "non-finite", "too_slow": "too slow"}


def render(data: ReportData) -> str:
    """The page as text; UTF-8 when it is written."""
    rows = changes(data.events)
    scene = set_scene(data, rows)
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
        f'<header><h1>{esc(data.title)}</h1>{run}</header>\n<p class="verdict">{esc(verdict(data, rows))}</p>\n'
        f"{_figure(scene)}\n{_effects(scene)}{_changes(data, rows)}\n{_findings(data)}\n{_phases(data)}{_operators(data)}"
        f"{_facts(data)}\n</main>\n"
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
    level = _NOTHING if d.level is None else short(d.level)
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
        back = f" Taken back by {_mark(one.change.taken_back)}." if one.change.taken_back else ""
        cards.append(
            f'<figure class="close"><h3>{_mark(one.number)} <b class="{one.css}">{verdict}</b>: <span>{numbers}</span></h3>'
            f'<div class="room">{picture}</div><figcaption>{esc(words)}{back}</figcaption></figure>'
        )
    count = len(scene.effects)
    more = f'<p class="none">The first {len(cards)} of {count:,}.</p>' if count > len(cards) else ""
    intro = (
        f'<p class="intro">The level of {esc(scene.data.metric)} that came, against the line before each change, continued '
        "(dashed). Band and bar are 95\u00a0% intervals.</p>"
    )
    return _section("What the changes brought", f'{intro}<div class="closes">{"".join(cards)}</div>{more}') + "\n"


def _mark(number: int) -> str:
    """The number of a change, as it stands in the picture, leading to its row."""
    return f'<a class="mark" href="#change-{number}" aria-label="change {number}">{number}</a>'


def _changes(data: ReportData, rows: Sequence[Change]) -> str:
    if not rows:
        return _section("Changes of the learning rate", '<p class="none">None was asked for.</p>')
    body = []
    undone = {c.taken_back: number for number, c in enumerate(rows, 1)}
    for number, c in enumerate(rows[:MAX_MARKS], 1):
        scale = _NOTHING if c.scale is None else short(c.scale)
        body.append(
            f'<tr id="change-{number}"><th scope="row">{number}</th><td class="n">{_step(c.step)}</td>'
            f'<td class="n">{short(c.before)} → {scale}</td><td class="words">{esc(c.reason) or _NOTHING}</td>'
            f'<td>{_answer(c)}</td><td class="effect">{_effect(c, data.axis, undone.get(number))}</td></tr>'
        )
    heads = ("", f"n:{data.axis.capitalize()}", "n:Scale", "Reason", "Acknowledged", "Measured effect")
    return _section("Changes of the learning rate", _table("Changes", heads, body, len(rows)))


def _answer(c: Change) -> str:
    if c.answer == "acknowledged":
        late = c.answer_step - c.step if c.answer_step is not None and c.step is not None else 0
        return f"{_step(c.answer_step)}" + (f"<small>{late:,} later</small>" if late > 0 else "")
    if c.answer == "rejected":
        return f'<span class="bad">refused</span><small>{esc(c.code) or "no reason given"}</small>'
    return "no answer"


def _effect(c: Change, axis: str, undoes: int | None) -> str:
    e = c.effect
    if e is None:
        return f"takes {_mark(undoes)} back" if undoes else "not measured"
    verdict, _, numbers = in_words(e).partition(": ")
    parts = [f"<small>{numbers}</small>"] if numbers else []
    parts += [f"<small>{esc(words)}</small>" for words in (compared(e, axis) or e.message,) if words]
    parts += [f"<small>taken back by {_mark(c.taken_back)}</small>"] if c.taken_back else []
    return f'<b class="k {css_of(e)}">{verdict or _NOTHING}</b>{"".join(parts)}'


def _findings(data: ReportData) -> str:
    findings = of_kind(data.events, "finding")
    if not findings:
        return _section("Findings", '<p class="none">None.</p>')
    body = []
    for number, e in enumerate(findings[:MAX_MARKS], 1):
        kind = text(e, "kind")
        css = ' class="k bad"' if kind in BAD_KINDS else ' class="k"'
        body.append(
            f'<tr id="finding-{number}"><th scope="row">F{number}</th><td class="n">{_step(integer(e, "step"))}</td>'
            f'<td{css}>{esc(_KINDS.get(kind, kind))}</td><td class="name">{esc(text(e, "metric"))}</td>'
            f'<td class="words">{esc(text(e, "message"))}<small>{_pairs(e.get("evidence"))}</small></td></tr>'
        )
    heads = ("", f"n:{data.axis.capitalize()}", "Kind", "Metric", "What was seen, and the evidence")
    return _section("Findings", _table("Findings", heads, body, len(findings)))


def _phases(data: ReportData) -> str:
    phases = of_kind(data.events, "phase")
    if not phases:
        return ""
    body = [
        f'<tr><td class="n">{_step(integer(e, "step"))}</td><td class="k">{esc(text(e, "cause").replace("_", " "))}</td>'
        f'<td class="words">{esc(text(e, "message"))}</td></tr>'
        for e in phases[:MAX_MARKS]
    ]
    heads = (f"n:From {data.axis}", "Cause", "What happened")
    return _section("Phases", _table("Phases", heads, body, len(phases))) + "\n"


def _operators(data: ReportData) -> str:
    actions = of_kind(data.events, "operator")
    if not actions:
        return ""
    body = [
        f'<tr><td class="n">{_step(integer(e, "step"))}</td><td>{esc(text(e, "actor")) or _NOTHING}</td>'
        f"<td>{esc(text(e, 'action')) or _NOTHING}</td>"
        f'<td class="words">{_pairs({k: v for k, v in e.items() if k not in _KNOWN_KEYS})}</td></tr>'
        for e in actions[:MAX_MARKS]
    ]
    heads = (f"n:{data.axis.capitalize()}", "Who", "Action", "Details")
    return _section("What operators did", _table("Actions", heads, body, len(actions))) + "\n"


def _facts(data: ReportData) -> str:
    if not data.facts:
        return ""
    items = "".join(f"<dt>{esc(label)}</dt><dd>{esc(value)}</dd>" for label, value in data.facts)
    return _section("Facts", f"<dl>{items}</dl>")


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section aria-labelledby="{name}"><h2 id="{name}">{title}</h2>{content}</section>'


def _table(name: str, heads: Iterable[str], body: Sequence[str], count: int) -> str:
    """A table; a head that begins with `n:` stands over numbers, an empty one over the marks of the picture."""
    cells = []
    for head in heads:
        words = head.removeprefix("n:")
        css = ' class="n"' if words != head else ""
        cells.append(f'<th scope="col"{css}>{words or "No."}</th>')
    more = (
        f"<caption>The first {len(body):,} of {count:,}; the journal holds all.</caption>" if count > len(body) else ""
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{name}"><table>{more}'
        f"<thead><tr>{''.join(cells)}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _step(step: int | None) -> str:
    return _NOTHING if step is None else whole(step)


def _pairs(evidence: object) -> str:
    """Evidence as `name value` pairs, numbers in four digits, whole ones in full."""
    if not isinstance(evidence, Mapping):
        return ""
    return " · ".join(f"{esc(key)} {_value(value)}" for key, value in islice(evidence.items(), MAX_PAIRS))


def _value(value: object) -> str:
    if isinstance(value, float):
        return short(value)
    return esc(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value)
