"""Sections of the page as plain values for the templates: charts with their words, and the rows of the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from lrwatch.core.events import kind_label
from lrwatch.report.chart.caption import LegendItem, legend, notes
from lrwatch.report.chart.effect_chart import MAX_CLOSE_UPS, close_up
from lrwatch.report.chart.layout import ChartLayout, PlottedCurve
from lrwatch.report.chart.range_test_chart import draw_range_test
from lrwatch.report.chart.run_chart import MAX_MARKS, cause_words, draw_run
from lrwatch.report.model import finding_kinds
from lrwatch.report.model.command_groups import CommandGroup, merged_phases
from lrwatch.report.model.data import ReportData
from lrwatch.report.model.event_fields import integer, of_kind, text
from lrwatch.report.model.evidence import in_words
from lrwatch.report.model.operator_actions import OperatorAction, operator_actions
from lrwatch.report.model.range_tests import RangeTestRecord, rates_in_words, span_in_words
from lrwatch.report.model.timeline import LrChange
from lrwatch.report.page.template import own_markup
from lrwatch.report.text import DASH, sentence, short, whole

if TYPE_CHECKING:
    from markupsafe import Markup

# More pairs than a detector ever gives as its evidence; a foreign journal may hold any number.
MAX_PAIRS = 24

# Charts of range tests at the most, the newest ones: nobody looks at each of more tests than these.
MAX_RANGE_TESTS = 4

# Fields of an operator's action that have a column of their own or are of no use to a reader; the rest is listed.
_ACTION_FIELDS = frozenset(
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
        "heard",
        "uid",
        "message",
        "v",
    }
)

Pairs = tuple[tuple[object, str], ...]


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A curve in the legend; `ranged` entries have room for a range in the read-out."""

    css: str
    name: str
    level: str
    ranged: bool


@dataclass(frozen=True, slots=True)
class RunFigure:
    """The run's chart with its legends and notes; `svg` is empty where there is nothing to draw."""

    svg: Markup | str
    noun: str
    upper: tuple[LegendEntry, ...]
    lower: tuple[LegendEntry, ...]
    legend: tuple[LegendItem, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CloseUp:
    """A measured effect with its chart."""

    number: int
    css: str
    verdict: str
    numbers: str
    svg: Markup
    words: str
    taken_back: int | None


@dataclass(frozen=True, slots=True)
class RangeTestFigure:
    """A range test with its chart; `first` and `last` are the numbers of its changes."""

    first: int | None
    last: int | None
    span: str
    svg: Markup
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RangeTests:
    """Range tests with a chart, of how many, and sentences about those that have none."""

    figures: tuple[RangeTestFigure, ...]
    drawable: int
    failures: tuple[str, ...]
    title: str


@dataclass(frozen=True, slots=True)
class FindingRow:
    """A finding with its evidence."""

    number: int
    step: int | None
    kind: str
    bad: bool
    metric: str
    message: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PhaseRow:
    """A phase, and how many further ones it stands for."""

    step: int | None
    cause: str
    message: str
    further: int


@dataclass(frozen=True, slots=True)
class ActionRow:
    """An operator's action with the fields of its event that have no column of their own."""

    action: OperatorAction
    message: str
    more: Pairs


def run_figure(layout: ChartLayout | None) -> RunFigure:
    """Draw the run's chart."""
    if layout is None:
        return RunFigure("", "", (), (), (), ())
    losses = layout.upper + layout.validation
    upper, lower = (tuple(map(_legend_entry, curves)) for curves in (losses, layout.lower))
    svg = own_markup(draw_run(layout))
    return RunFigure(svg, layout.data.axis, upper, lower, tuple(legend(layout)), tuple(notes(layout)))


def close_ups(layout: ChartLayout | None) -> list[CloseUp]:
    """Draw the first measured effects, each on an axis of its own."""
    if layout is None:
        return []
    figures = []
    for one in layout.effects[:MAX_CLOSE_UPS]:
        svg, words = close_up(one, layout.data.curves[0], layout.data.axis)
        verdict, _, numbers = one.words.partition(": ")
        figures.append(CloseUp(one.number, one.css, verdict, numbers, own_markup(svg), words, one.change.taken_back))
    return figures


def range_test_figures(
    data: ReportData, changes: Sequence[LrChange], tests: Sequence[RangeTestRecord]
) -> RangeTests | None:
    """Draw the newest range tests, and put those into words that have nothing to draw.

    Args:
        data: Contents of the report.
        changes: Changes of the learning rate, of `lr_changes`.
        tests: Range tests, of `range_tests`.

    Returns:
        The figures; None if there is no test.
    """
    if not tests:
        return None
    drawable = [test for test in tests if len(test.scales)]
    failed = [test for test in tests if not len(test.scales)]
    figures = [
        RangeTestFigure(
            test.first,
            test.last,
            span_in_words(test, changes, data.axis),
            own_markup(draw_range_test(test, order, data.metric)),
            tuple(words for words in (sentence(test.message), rates_in_words(test)) if words),
        )
        for order, test in enumerate(drawable[-MAX_RANGE_TESTS:], 1)
    ]
    failures = []
    for test in failed[-MAX_RANGE_TESTS:]:
        where = f"{data.axis} {whole(test.step)}: " if test.step is not None else ""
        failures.append(sentence(where + test.message))
    title = "Range test" if len(tests) == 1 else "Range tests"
    return RangeTests(tuple(figures), len(drawable), tuple(failures), title)


def finding_rows(data: ReportData) -> tuple[list[FindingRow], int]:
    """Return the rows of the first findings, and the number of all findings."""
    findings = of_kind(data.events, "finding")
    rows = []
    for number, e in enumerate(findings[:MAX_MARKS], 1):
        kind = text(e, "kind")
        name, bad = kind_label(kind), kind in finding_kinds.BAD_KINDS
        evidence = in_words(e.get("evidence"))
        rows.append(FindingRow(number, integer(e, "step"), name, bad, text(e, "metric"), text(e, "message"), evidence))
    return rows, len(findings)


def phase_rows(
    data: ReportData, changes: Sequence[LrChange], groups: Sequence[CommandGroup]
) -> tuple[list[PhaseRow], int]:
    """Return the rows of the first phases, and the number of all phases.

    Args:
        data: Contents of the report.
        changes: Changes of the learning rate, of `lr_changes`.
        groups: Changes whose phases are one, of `group_commands`.
    """
    phases = merged_phases(data.events, changes, groups)
    rows = [
        PhaseRow(integer(e, "step"), cause_words(text(e, "cause")), text(e, "message"), count - 1)
        for e, count in phases[:MAX_MARKS]
    ]
    return rows, sum(count for _, count in phases)


def action_rows(data: ReportData) -> tuple[list[ActionRow], int]:
    """Return the rows of the first operators' actions, and the number of all of them."""
    actions = operator_actions(data.events)
    rows = []
    for action in actions[:MAX_MARKS]:
        event = data.events[action.place]
        more = {key: value for key, value in event.items() if key not in _ACTION_FIELDS}
        rows.append(ActionRow(action, text(event, "message"), _pairs(more)))
    return rows, len(actions)


def _legend_entry(curve: PlottedCurve) -> LegendEntry:
    level = DASH if curve.level is None else short(curve.level)
    # Where rows are more than one value, the read-out shows a range, and has its room from the beginning.
    ranged = bool((curve.rows.finite > 1).any()) and curve.curve.role != "lr"
    return LegendEntry(curve.css, curve.name, level, ranged)


def _pairs(fields: object) -> Pairs:
    """Return the first fields with their values in words: numbers in four digits, whole ones in full."""
    return tuple(islice(_values(fields), MAX_PAIRS)) if isinstance(fields, Mapping) else ()


def _values(fields: Mapping[object, object]) -> Iterator[tuple[object, str]]:
    for key, value in fields.items():
        if isinstance(value, float):
            yield key, short(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, f"{value:,}"
        else:
            yield key, str(value)
