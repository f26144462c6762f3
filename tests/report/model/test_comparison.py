"""Several runs on one page: compared at the step that all have, and refused where they cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.report_page import Page

from lrwatch.errors import InputError
from lrwatch.report import MetricCurve, ReportData, compare, render
from lrwatch.report.model.data import RunState

HOSTILE = "</script><img src=x onerror=alert(1)>"


def run(name: str, level: float, steps: int = 1_000, fall: float = 0.0) -> ReportData:
    """A run at a level, which falls by so much in its second half."""
    values = np.full(steps, level)
    values[500:] -= fall
    curve = MetricCurve("loss", "train", np.arange(steps), values)
    events = ({"event": "finding", "kind": "plateau", "step": 5}, {"event": "command", "step": 6, "scale": 0.5})
    return ReportData(
        name,
        f"{name}: loss",
        "loss",
        "step",
        (curve,),
        events,
        state=RunState("plateau", "warn", f"{name} stands", sentence=f"{name} stands"),
    )


def test_runs_are_compared_at_the_last_step_that_all_have() -> None:
    longer = run("longer", 3.0, 1_000, fall=2.0)
    page = compare([longer, run("shorter", 2.0, 400)])
    assert page.lead == "At step 399, the last that all have: shorter 2 and longer 3 (50\u00a0% higher)."
    assert [(one.name, one.common, one.end, one.last) for one in page.runs] == [
        ("shorter", 2.0, 2.0, 399), ("longer", 3.0, 1.0, 999),
    ]  # fmt: skip
    assert [(one.findings, one.changes, one.stands) for one in page.runs] == [
        ("1 plateau", 1, "shorter stands"), ("1 plateau", 1, "longer stands"),
    ]  # fmt: skip
    assert [curve.name for curve in page.curves] == ["shorter", "longer"]


def test_of_a_metric_that_should_rise_the_highest_comes_first() -> None:
    page = compare([run("a", 0.5), run("b", 0.8)], "max")
    assert page.lead == "At step 999, the last: b 0.8 and a 0.5 (38\u00a0% lower)."


def test_two_runs_of_one_name_stay_two_and_one_without_a_finite_value_is_last() -> None:
    page = compare([run("a", float("nan")), run("a", 2.0)])
    assert [(one.name, one.common, one.lowest) for one in page.runs] == [("a (2)", 2.0, 2.0), ("a", None, None)]
    assert page.lead.endswith("a (2) 2 and a has no finite value.")


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (replace(run("b", 1.0), axis="epoch"), "found epochs"),
        (replace(run("b", 1.0), metric="other"), "expected a metric that decides"),
        (replace(run("b", 1.0), curves=()), "expected a metric that decides"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: ReportData, found: str) -> None:
    with pytest.raises(InputError, match=found):
        compare([run("a", 1.0), other])


def test_the_page_has_a_row_and_a_line_for_each_run_and_hostile_names_are_text() -> None:
    page = Page(render(compare([run(HOSTILE, 1.0), *(run(f"r{i}", 2.0 + i) for i in range(8))])))
    assert [row[0] for row in page.tables[0][1:]] == [HOSTILE, *(f"r{i}" for i in range(8))]
    assert not page.all("img")
    assert "Not drawn, for want of room: r5, r6, r7." in page.words
    assert "No changes." not in page.words
