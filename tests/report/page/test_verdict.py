"""A page begins with a verdict, explains its marks once, and is written for people: states, panels, evidence, settings."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
from support.report_events import answer, command
from support.report_page import Page

from lrwatch.core.sample import Floats
from lrwatch.report import MetricCurve, ReportData, compare, render
from lrwatch.report.model.data import CurveRole, RunState


def curve(name: str, values: Floats, role: CurveRole = "train") -> MetricCurve:
    return MetricCurve(name, role, np.arange(len(values)), values)


def page_of(*curves: MetricCurve, events: tuple[dict[str, Any], ...] = (), **fields: Any) -> str:
    return render(ReportData("r", "r: loss", "loss", "step", curves, events, **fields))


FALLING = 1 + np.exp(-np.arange(500) / 100)


def test_the_state_stands_before_what_happened_with_what_a_person_can_do() -> None:
    state = RunState(
        "plateau", "warn", "since step 40: improves by 0.1 %", ("scale 0.5 is proposed; lrwatch approve r 3",)
    )
    words = Page(page_of(curve("loss", FALLING), state=state)).words
    order = ["r: loss", "plateau", "since step 40", "lrwatch approve r 3", "No findings", "loss ends at 1."]
    places = [words.index(part) for part in order]
    assert places == sorted(places)


def test_a_run_that_goes_on_has_no_end_yet() -> None:
    assert "loss is so far at 1." in Page(page_of(curve("loss", FALLING), is_over=False)).words
    assert "There are no values of loss so far." in Page(page_of(is_over=False)).words


def test_losses_share_an_axis_where_both_are_readable_on_it() -> None:
    page = page_of(curve("loss", FALLING), curve("val", FALLING + 0.2, "val"))
    assert "own axis" not in page


@pytest.mark.parametrize("flat", [2.3 + 0.1 * FALLING, 1e-3 * FALLING])
def test_a_validation_loss_of_another_range_has_a_panel_of_its_own(flat: Floats) -> None:
    page = page_of(curve("loss", FALLING), curve("val", flat, "val"))
    assert ">val, own axis</text>" in page
    trends = re.findall(r'<path class="trend (c\d)"', page)
    assert sorted(trends) == ["c0", "c1"], "each curve once"
    assert page.count('class="base"') == 2


def test_the_legend_has_what_is_in_the_chart_and_nothing_else(full_run: ReportData) -> None:
    def marks(page: str) -> set[str]:
        return set(re.findall(r'<li><i class="([\w ]+)">', page))

    assert marks(page_of(curve("loss", FALLING[:50]))) == set()
    assert marks(render(full_run)) == {"mark", "mark found", "tick", "cross", "dash", "dot", "shade", "bold", "arrow"}


def test_no_key_of_the_code_is_on_the_page(full_run: ReportData) -> None:
    words = Page(render(full_run)).words
    assert "improvement in a horizon 0.0021" in words
    assert not re.search(r"\b[a-z]+_[a-z_]+ -?[\d.]", words)


def test_a_scale_that_moves_along_a_line_is_drawn_as_one() -> None:
    events = ({**command(100, 0.1, 1), "ramp_steps": 200}, answer("acknowledged", 100, 0.1, 1))
    page = page_of(curve("loss", FALLING), events=events)
    (path,) = re.findall(r'<path class="rate r0" d="([^"]*)"', page)
    assert path.count("v") > 30, "many small steps instead of one"


def test_a_run_of_a_comparison_is_marked_where_its_rate_changed_and_not_where_it_was_only_proposed() -> None:
    sent = (command(100, 0.5, 1), answer("acknowledged", 104, 0.5, 1))
    proposed = ({**command(200, 0.5, 1), "state": "replayed"},)
    runs = [
        ReportData(name, name, "loss", "step", (curve("loss", FALLING),), events)
        for name, events in (("a", sent), ("b", proposed))
    ]
    data = compare(runs)
    assert [(mark.curve, mark.step) for mark in data.marks] == [("a", 104)]
    assert {one.name: one.changes for one in data.runs} == {"a": 1, "b": 0}
    page = render(data)
    assert "a: change 1, scale 1 to 0.5 at step 104" in page
    assert "change of the learning rate of that run" in page


def test_a_narrow_page_has_the_label_of_each_cell(full_run: ReportData) -> None:
    page = Page(render(full_run))
    for row in page.all("td"):
        assert row.get("data-l") or row.get("class") == "words"


def test_a_page_without_a_state_begins_with_what_happened(full_run: ReportData) -> None:
    assert 'class="state"' not in render(dataclasses.replace(full_run, state=None))
