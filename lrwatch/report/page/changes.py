"""The table of the changes of the learning rate: one row for each, one that unfolds for each series, and which strategy decided."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lrwatch.report.chart.axis import short
from lrwatch.report.chart.effect_chart import compared, css_of, in_words
from lrwatch.report.chart.run_chart import MAX_MARKS
from lrwatch.report.model.command_groups import Series, answers
from lrwatch.report.model.data import ReportData
from lrwatch.report.model.operator_actions import Order, orders
from lrwatch.report.model.timeline import Change, listed
from lrwatch.report.page.markup import esc
from lrwatch.report.page.table import NOTHING, at_step, bare, mark, section, table

_TITLE = "Changes of the learning rate"


def changes_table(data: ReportData, rows: Sequence[Change], series: Sequence[Series]) -> str:
    """The section with the table."""
    told = [order for order in orders(data.events) if order.changes_strategy][:MAX_MARKS]
    if not rows and not told:
        return section(_TITLE, '<p class="none">None was asked for.</p>')
    heads = ("", f"n:{data.axis.capitalize()}", "n:Scale", "Reason", "Acknowledged", "Measured effect")
    undone = {c.taken_back: number for number, c in enumerate(rows, 1)}
    begins = {one.first: one for one in series}
    shown = rows[:MAX_MARKS]
    body: list[str] = []
    waiting: Series | None = None
    each: list[str] = []
    for number, c in enumerate(shown, 1):
        while told and told[0].place < c.place and waiting is None:
            body.append(_order(told.pop(0)))
        if number in begins:
            waiting, each = begins[number], []
        row = _row(number, c, data.axis, undone.get(number))
        if waiting is None:
            body.append(row)
            continue
        each.append(row)
        if number in (waiting.last, len(shown)):
            body.append(_series(waiting, heads, each))
            waiting = None
    body += [_order(order) for order in told]
    return section(_TITLE, table("Changes", heads, body, len(rows), len(shown)))


def _row(number: int, c: Change, axis: str, undoes: int | None) -> str:
    scale = NOTHING if c.scale is None else short(c.scale)
    return (
        f'<tr id="change-{number}"><th scope="row">{number}</th><td class="n">{at_step(c.step)}</td>'
        f'<td class="n">{short(c.before)} → {scale}</td><td class="words">{esc(c.reason) or NOTHING}</td>'
        f'<td>{_answer(c)}</td><td class="effect">{_effect(c, axis, undoes)}</td></tr>'
    )


def _series(one: Series, heads: Sequence[str], each: Sequence[str]) -> str:
    """Two rows: what the changes were together, and each of them, folded."""
    steps = [c.step for c in one.changes if c.step is not None]
    scales = [c.scale for c in one.changes if c.scale is not None]
    where = at_step(steps[0]) + (f"<small>to {at_step(steps[-1])}</small>" if steps[1:] else "") if steps else NOTHING
    scale = NOTHING
    if scales and one.test is None:
        scale = f"{short(one.changes[0].before)} → {short(scales[-1])}"
    elif scales:
        back = f"<small>then {short(scales[-1])}</small>" if one.ending else ""
        scale = f"{short(min(scales))} to {short(max(scales))}{back}"
    words = f"<b>{esc(one.name)}</b>"
    if one.test is not None:
        words += f"<small>{esc(one.ending) or 'not over yet'}</small>"
    said = Counter(c.effect.verdict for c in one.changes if c.effect is not None)
    effect = (
        listed([f"{count:,} {verdict or 'without numbers'}" for verdict, count in said.items()])
        if said
        else "not measured"
    )
    return (
        f'<tr class="series" id="{one.row}"><th scope="row">{one.first}\u2013{one.last}</th><td class="n">{where}</td>'
        f'<td class="n">{scale}</td><td class="words">{words}</td><td>{answers(one)}</td><td class="effect">{effect}</td></tr>'
        f'<tr class="fold"><td></td><td colspan="{len(heads) - 1}"><details><summary>Each of the {len(one.changes):,}</summary>'
        f"{bare(heads, each)}</details></td></tr>"
    )


def _order(order: Order) -> str:
    """From here on another strategy decides."""
    if order.verb == "decay":
        what = "<b>the decay begins</b>"
    else:
        _, _, numbers = order.words.partition(", ")
        what = f"<b>{esc(order.strategy)}</b> decides from here on{f' ({esc(numbers)})' if numbers else ''}"
    by = f", ordered by {esc(order.actor)}" if order.actor else ""
    cells = f'<td class="n">{at_step(order.step)}</td><td></td><td class="words">{what}{by}</td>'
    return f'<tr class="order"><td></td>{cells}<td></td><td></td></tr>'


def _answer(c: Change) -> str:
    if c.answer == "acknowledged":
        late = c.answer_step - c.step if c.answer_step is not None and c.step is not None else 0
        return f"{at_step(c.answer_step)}" + (f"<small>{late:,} later</small>" if late > 0 else "")
    if c.answer == "rejected":
        return f'<span class="bad">refused</span><small>{esc(c.code) or "no reason given"}</small>'
    return "no answer"


def _effect(c: Change, axis: str, undoes: int | None) -> str:
    e = c.effect
    if e is None:
        return f"takes {mark(undoes)} back" if undoes else "not measured"
    verdict, _, numbers = in_words(e).partition(": ")
    parts = [f"<small>{numbers}</small>"] if numbers else []
    parts += [f"<small>{esc(words)}</small>" for words in (compared(e, axis) or e.message,) if words]
    parts += [f"<small>taken back by {mark(c.taken_back)}</small>"] if c.taken_back else []
    return f'<b class="k {css_of(e)}">{verdict or NOTHING}</b>{"".join(parts)}'
