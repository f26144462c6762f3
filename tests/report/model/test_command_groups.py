"""Commands that belong together: one mark and one row for a range test or a schedule, and which strategy decided when."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from support.report_page import Page

from lrwatch.core.events import Command, Counterfactual, Effect, Phase, RangeTest, as_json
from lrwatch.report import MetricCurve, ReportData, render
from lrwatch.report.chart.run_chart import CROWD
from lrwatch.report.chart.svg import NARROW
from lrwatch.report.model.command_groups import answers_in_words, group_commands, merged_phases
from lrwatch.report.model.operator_actions import operator_actions, strategy_periods
from lrwatch.report.model.timeline import lr_changes

Events = list[dict[str, Any]]


def commands(
    cause: str, steps: range, scales: list[float], *, why: str = "cosine: scale ", answered: bool = True
) -> Events:
    """Commands, each with its answer two steps later, and the phase that it begins."""
    found = []
    for step, scale in zip(steps, scales, strict=True):
        found.append(as_json(Command(step, scale, f"{why}{scale:g}", cause), "r"))
        if answered:
            found.append({"event": "acknowledged", "step": step + 2, "scale": scale})
            found.append(as_json(Phase(step + 2, "command", f"scale {scale:g}"), "r"))
    return found


def sweep(begin: int = 1000, base: float = 1.0, *, over: bool = True, answered: bool = True) -> Events:
    """A range test of four stairs and the way back."""
    scales = [0.1, 0.3, 1.0, 3.0, base]
    found = commands("range_test", range(begin, begin + 500, 100), scales, why="range test: ", answered=answered)
    ended = RangeTest(begin + 402, (0.1, 0.3, 1.0), (2.0, 1.9, 1.5), 1.0, 0.3, 3.0, "it fell fastest at 1")
    return [*found, as_json(ended, "r")] if over else found


def cosine(begin: int = 2000, count: int = 16, **more: Any) -> Events:
    scales = [1 - (i + 1) / 20 for i in range(count)]
    return commands("schedule", range(begin, begin + 50 * count, 50), scales, **more)


def follow(step: int, strategy: str, *, done: bool = True, **numbers: int) -> dict[str, Any]:
    argument = json.dumps({"strategy": strategy, "every": 0, "length": 0} | numbers)
    event = {"verb": "strategy", "argument": argument, "actor": "anna", "done": done, "message": "so be it"}
    return {"event": "operator", "run": "r", "step": step, **event}


def run(*events: dict[str, Any]) -> ReportData:
    steps = np.arange(4000)
    values = 2.0 + np.random.default_rng(0).normal(0, 0.01, 4000)
    return ReportData("r", "r", "loss", "step", (MetricCurve("loss", "train", steps, values),), events)


def found(*events: dict[str, Any]) -> list[tuple[int, int, str]]:
    return [(one.first, one.last, one.name) for one in group_commands(lr_changes(events), events)]


def test_a_range_test_and_the_stairs_of_a_schedule_are_one_each() -> None:
    alone = as_json(Command(900, 0.5, "plateau"), "r")

    assert found(alone, *sweep(), *cosine(), as_json(Command(3900, 0.4, "plateau"), "r")) == [
        (2, 6, "range test"),
        (7, 22, "16 stairs of cosine"),
    ]


def test_two_range_tests_in_a_row_are_two_also_if_another_strategy_is_ordered_meanwhile() -> None:
    first, second = sweep(1000), sweep(2000)
    ordered = [*first[:6], follow(1150, "observe"), *first[6:]]

    assert found(*ordered, *second) == [(1, 5, "range test"), (6, 10, "range test")]


def test_a_schedule_ends_where_another_is_ordered_and_not_where_the_order_was_refused() -> None:
    refused = follow(2300, "nonsense", done=False)
    assert found(*cosine(2000, 6), refused, *cosine(2300, 6)) == [(1, 12, "12 stairs of cosine")]
    assert found(*cosine(2000, 6), follow(2300, "wsd"), *cosine(2301, 5, why="wsd: scale ")) == [
        (1, 6, "6 stairs of cosine"),
        (7, 11, "5 stairs of wsd"),
    ]


def test_few_steps_of_a_schedule_are_told_one_by_one() -> None:
    assert found(*cosine(count=3)) == []
    assert found(*cosine(count=4, why="")) == [(1, 4, "4 stairs of a schedule")]


def test_the_answers_to_a_series_are_counted() -> None:
    def said(*events: dict[str, Any]) -> str:
        (one,) = group_commands(lr_changes(events), events)
        return answers_in_words(one)

    events = cosine(count=5)
    assert said(*events) == "all 5"
    refused = {"event": "rejected", "step": 9, "scale": events[0]["scale"], "code": "held"}
    assert said(events[0], refused, *events[3:-2]) == "3, 1 refused, 1 without an answer"


def test_the_table_has_one_row_that_unfolds() -> None:
    source = render(run(*sweep(), *cosine()))
    outer, *folded = Page(source).tables[:3]

    assert [row for row in outer[1:] if len(row) > 2] == [
        ["1\u20135", "1,000to 1,400", "0.1 to 3then 1", "range testit fell fastest at 1", "all 5", "not measured"],
        ["6\u201321", "2,000to 2,750", "1 → 0.2", "16 stairs of cosine", "all 16", "not measured"],
    ]
    assert [[row[0] for row in table[1:]] for table in folded] == [[*map(str, range(1, 6))], [*map(str, range(6, 22))]]
    assert source.count("<details><summary>Each of the 16</summary>") == 1


def test_what_the_stairs_of_a_schedule_brought_is_counted_in_its_row() -> None:
    line = Counterfactual(2002, 2.0, 0.01, 2.0, 0.01, 1.9, 0.01)
    effect = as_json(Effect(2040, 0.95, 0.05, 0.04, 0.06, "better", line), "r")
    stairs = cosine(count=4)

    assert Page(render(run(*stairs[:3], effect, *stairs[3:]))).tables[0][1][-1] == "1 helped"


def test_a_range_test_that_is_not_over_says_so() -> None:
    page = Page(render(run(*sweep(over=False))))

    assert page.tables[0][1][2:4] == ["0.1 to 3", "range testnot over yet"]
    assert "Among them: a range test that is not over." in page.words


def test_the_paragraph_tells_tests_and_stairs_in_words() -> None:
    words = Page(render(run(*sweep(), *cosine(), *cosine(3000, 1, why="wsd: scale ")))).words

    assert "Among them: a range test (steepest at scale 1), 16 stairs of cosine and 1 stair of wsd." in words
    two = Page(render(run(*sweep(), *sweep(2000)))).words
    assert "Among them: 2 range tests (steepest at scale 1 and 1)." in two
    assert "Among them" not in Page(render(run(as_json(Command(5, 0.5, "plateau"), "r")))).words


def test_the_picture_has_one_mark_for_a_series_that_leads_to_its_row() -> None:
    source = render(run(*sweep(), *cosine()))
    page = Page(source)

    marks = {a["href"]: a["aria-label"] for a in page.all("a", **{"class": "badge"})}
    assert marks == {"#changes-1": "1 to 5, range test", "#changes-6": "6 to 21, 16 stairs of cosine"}
    ids = {a["id"] for _, a, _ in page.elements if "id" in a}
    assert {href[1:] for href in marks} <= ids
    assert len(page.all("path", **{"class": "group-span"})) == 2
    assert len(page.all("g", **{"class": "ack"})) == 2


def lines_through(source: str) -> list[float]:
    """Where lines go through both panels, as shares of the width."""
    hairs = re.findall(r'data-at="([^"]*)"[^>]*><line class="hair change" y1="([\d.]+)" y2="([\d.]+)"', source)
    return [float(share) for share, begin, end in hairs if float(end) - float(begin) > 100]


@pytest.mark.parametrize("count", [40, 190])
def test_lines_through_the_picture_never_make_a_bar(count: int) -> None:
    many = [as_json(Command(1000 + 2 * i, 0.99**i, "plateau"), "r") for i in range(count)]

    source = render(run(*sweep(100), *many))

    assert source.count('class="hair change"') == min(count + 5, 200)
    assert all((b - a) * NARROW >= CROWD - 1e-3 for a, b in pairwise(lines_through(source)))


def test_the_phases_of_one_series_are_one() -> None:
    other = as_json(Phase(3000, "level_shift", "up"), "r")
    events = [as_json(Phase(0, "start", "begin"), "r"), *sweep(), *cosine(), other]
    rows = lr_changes(events)

    counts = [
        (phase["cause"], phase["step"], count)
        for phase, count in merged_phases(events, rows, group_commands(rows, events))
    ]
    assert counts == [("start", 0, 1), ("command", 1002, 5), ("command", 2002, 16), ("level_shift", 3000, 1)]
    page = Page(render(run(*events)))
    assert page.tables[-1][2] == ["1,002", "command", "scale 0.1and 4 more, one for each change of the group"]
    assert "The first" not in page.words


def test_strategies_stand_above_the_picture_and_where_they_begin_in_the_table() -> None:
    decay = {"event": "operator", "step": 3900, "verb": "decay", "argument": "", "actor": "ben", "done": True}
    events = [follow(990, "range_test", length=500), *sweep(), follow(1990, "wsd"), *cosine(why="wsd: scale "), decay]
    page = Page(render(run(*events)))

    assert [row[:4] for row in page.tables[0] if len(row) > 2 and not row[0]] == [
        ["", "990", "", "range test decides from here on (length 500), chosen by anna"],
        ["", "1,990", "", "wsd decides from here on, chosen by anna"],
        ["", "3,900", "", "the decay begins, chosen by ben"],
    ]
    assert len(page.all("path", **{"class": "period"})) == 2
    assert "range test decides from step 990 to 1,402. wsd decides from step 1,990 on." in page.words


def test_an_order_without_any_change_is_in_the_table_too() -> None:
    page = Page(render(run(follow(100, "observe"))))

    assert page.tables[0][1][3] == "observe decides from here on, chosen by anna"
    assert "No changes." not in page.words


def test_after_a_range_test_the_strategy_before_decides_again_or_the_one_ordered_meanwhile() -> None:
    def periods(*events: dict[str, Any]) -> list[tuple[str, int, int | None]]:
        return [(one.name, one.begin, one.end) for one in strategy_periods(events)]

    test = sweep()
    assert periods(follow(10, "cosine"), follow(999, "range_test"), *test) == [
        ("cosine", 10, 999), ("range test", 999, 1402), ("cosine", 1402, None),
    ]  # fmt: skip
    assert periods(follow(999, "range_test"), *test[:4], follow(1100, "wsd"), *test[4:]) == [
        ("range test", 999, 1402),
        ("wsd", 1402, None),
    ]
    assert periods(follow(999, "range_test"), *test) == [("range test", 999, 1402)]
    assert periods(follow(5, "step", done=False), *test) == []


@pytest.mark.parametrize("argument", ["", "nonsense", "[1]", "3", '{"strategy": ', "[" * 5000, '{"length": 1e400}'])
def test_odd_orders_are_told_as_they_are(argument: str) -> None:
    event = {**follow(10, "x"), "argument": argument}
    (order,) = operator_actions([event])

    assert order.strategy == ""
    assert strategy_periods([event]) == []
    assert render(run(event))


def test_the_answers_of_a_series_that_were_refused_are_all_crossed() -> None:
    stairs = cosine(count=6)
    events = [{**e, "event": "rejected", "code": "held"} if e["event"] == "acknowledged" else e for e in stairs]

    assert len(Page(render(run(*events))).all("g", **{"class": "refused"})) == 6
