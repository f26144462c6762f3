"""A range test, drawn: levels over scales, the scales that stand out, labels that do not touch, and words for who cannot see it."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.report_page import Page

from lrwatch.core.events import Command, RangeTest, as_json
from lrwatch.core.sample import Floats
from lrwatch.report import MetricCurve, ReportData, render
from lrwatch.report.chart.axis import ChartAxis
from lrwatch.report.chart.scale_labels import NARROW, ScaleLabel, label_lanes, label_span, scale_labels
from lrwatch.report.model.range_tests import RangeTestRecord, range_tests
from lrwatch.report.model.timeline import lr_changes
from lrwatch.report.page.sections import MAX_RANGE_TESTS

SCALES = (0.1, 0.2, 0.4, 0.8, 1.6)
LEVELS = (2.0, 1.9, 1.6, 1.5, 1.7)
MESSAGE = "5 of 6 scales were tried; it fell fastest at 0.4; scale 1 is restored"


def result(step: int = 1700, **other: Any) -> dict[str, Any]:
    event = RangeTest(step, SCALES, LEVELS, 0.4, 0.2, 3.2, MESSAGE)
    return as_json(dataclasses.replace(event, **other), "r")


def sweep(
    begin: int = 1000, base: float = 1.0, schedule: dict[str, float] | None = None, **other: Any
) -> list[dict[str, Any]]:
    found = []
    for i, scale in enumerate((*SCALES, 3.2, base)):
        step = begin + 100 * i
        found.append(as_json(Command(step, scale, "range test", "range_test"), "r"))
        rates = {} if schedule is None else {"schedule_lr": schedule}
        found.append({"event": "acknowledged", "step": step + 2, "scale": scale, **rates})
    return [*found, result(begin + 602, **other)]


def run(*events: dict[str, Any], rate: Floats | None = None) -> ReportData:
    steps = np.arange(3000)
    curves = [MetricCurve("loss", "train", steps, np.full(3000, 2.0))]
    curves += [] if rate is None else [MetricCurve("lr", "lr", steps, rate)]
    return ReportData("r", "r", "loss", "step", tuple(curves), events)


def only(data: ReportData) -> RangeTestRecord:
    (found,) = range_tests(data, lr_changes(data.events))
    return found


def pictures(source: str) -> list[str]:
    return re.findall(r'<figure class="close range">.*?</figure>', source, re.DOTALL)


def followed(base: float) -> Floats:
    """What a log shows of a schedule at 0.1 throughout `sweep`, as it was used."""
    rate = np.full(3000, 0.1)
    for i, scale in enumerate((*SCALES, 3.2, base)):
        rate[1002 + 100 * i :] = 0.1 * scale
    return rate


def test_a_range_test_knows_its_changes_and_the_scale_before_and_after() -> None:
    first = as_json(Command(10, 0.5, "plateau"), "r")
    test = only(run(first, {"event": "acknowledged", "step": 12, "scale": 0.5}, *sweep(base=0.5)))

    assert (test.first, test.last, test.before, test.after) == (2, 8, 0.5, 0.5)
    assert (test.scales.tolist(), test.levels.tolist()) == (list(SCALES), list(LEVELS))


def test_the_picture_has_points_marks_and_labels() -> None:
    (picture,) = pictures(render(run(*sweep())))

    assert picture.count('<circle class="point') == len(SCALES)
    assert picture.count('<circle class="point steepest"') == picture.count('<circle class="point valley"') == 1
    words = re.findall(r'<text class="name (\w+)"[^>]*>([^<]*)<', picture)
    assert words == [
        ("valley", "valley 0.2"),
        ("steepest", "steepest 0.4"),
        ("use", "in use 1"),
        ("diverges", "diverges 3.2"),
    ]
    assert picture.count('class="beyond"') == 1
    assert '<a class="mark" href="#changes-1" aria-label="changes 1 to 7">1\u20137</a>' in picture
    assert "<span>step 1,000 to 1,602</span>" in picture
    assert "<p>5 of 6 scales were tried; it fell fastest at 0.4; scale 1 is restored.</p>" in picture


def test_those_who_cannot_see_it_are_told() -> None:
    source = render(run(*sweep(), *sweep(2000)))

    ids = {a["id"] for _, a, _ in Page(source).elements if "id" in a}
    named = re.findall(r'role="img" aria-labelledby="([^"]*)"', source)
    assert len(named) == 2
    assert {name for names in named for name in names.split()} <= ids
    (title, words), _ = re.findall(r'<title id="range-\d-title">(.*?)</title><desc[^>]*>(.*?)</desc>', source)
    assert title == "loss over the scale of the learning rate"
    assert words == (
        "Levels by scale: 2 at 0.1, 1.9 at 0.2, 1.6 at 0.4, 1.5 at 0.8, 1.7 at 1.6. "
        "Marked: valley 0.2; steepest 0.4; in use 1; diverges 3.2."
    )


def test_the_scale_axis_is_logarithmic() -> None:
    (picture,) = pictures(render(run(*sweep())))

    at = [float(share) for share in re.findall(r'data-at="([^"]*)"[^>]*><circle', picture)]
    assert np.diff(at) == pytest.approx(np.full(4, at[1] - at[0]), rel=1e-3)


@pytest.mark.parametrize(
    ("base", "steepest", "valley", "expected"),
    [
        (0.4, 0.4, 0.4, ["steepest, valley, in use 0.4", "diverges 3.2"]),
        (1.0, None, None, ["in use 1", "diverges 3.2"]),
        (0.2, 0.2, 0.4, ["steepest, in use 0.2", "valley 0.4", "diverges 3.2"]),
    ],
)
def test_what_is_at_the_same_scale_has_one_label(
    base: float, steepest: float | None, valley: float | None, expected: list[str]
) -> None:
    before = [as_json(Command(10, base, "x"), "r"), {"event": "acknowledged", "step": 12, "scale": base}]
    test = only(run(*before, *sweep(base=base, steepest=steepest, valley=valley)))

    assert [one.words for one in scale_labels(test)] == expected


def test_a_scale_that_is_not_what_it_was_before_is_marked_twice() -> None:
    assert [one.words for one in scale_labels(only(run(*sweep(base=0.5, diverges=None))))] == [
        "valley 0.2", "steepest 0.4", "after 0.5", "before 1",
    ]  # fmt: skip


def test_a_result_without_its_commands_is_drawn_without_the_scale_in_use() -> None:
    (picture,) = pictures(render(run(result())))

    assert "in use" not in picture
    assert 'class="mark"' not in picture
    assert "<span>step 1,700</span>" in picture


@settings(max_examples=150, deadline=None)
@given(st.lists(st.floats(0.001, 100), min_size=1, max_size=5, unique=True))
def test_labels_never_touch_on_a_narrow_page(scales: list[float]) -> None:
    labels = [ScaleLabel(scale, f"diverges {scale:.4g}", "x") for scale in sorted(scales)]
    low, high = min(scales), max(scales)
    x = ChartAxis(low / 1.2, high * 1.2, log=True)

    placed = label_lanes(labels, x)

    spans = [
        (lane, *label_span(x.share(one.scale) * NARROW, 6.3 * len(one.words), anchor))
        for one, (lane, anchor) in zip(labels, placed, strict=True)
    ]
    for (lane, low, high), (other, begin, end) in itertools.combinations(spans, 2):
        assert lane != other or high <= begin or low >= end


@pytest.mark.parametrize(
    ("schedule", "rate", "expected"),
    [
        ({"0": 0.1}, None, 0.1),
        ({"0": 0.1, "1": 0.1}, None, 0.1),
        ({"0": 0.1, "1": 0.2}, followed(1.0), None),
        ({}, followed(1.0), 0.1),
        ({}, np.full(3000, 0.1), 0.1),
        ({}, np.linspace(0.1, 0.05, 3000), None),
        ({}, np.full(3000, np.nan), None),
        ({}, None, None),
    ],
    ids=["answers", "two groups", "two rates", "used", "schedule", "moves", "not finite", "unknown"],
)
def test_the_learning_rate_at_scale_1_is_known_if_it_was_one(
    schedule: dict[str, float], rate: Floats | None, expected: float | None
) -> None:
    data = run(*sweep(schedule=schedule), rate=rate)

    assert only(data).rate == (None if expected is None else pytest.approx(expected))
    (picture,) = pictures(render(data))
    said = "As learning rates, at 0.1 for scale 1: steepest at 0.04, valley at 0.02, diverges at 0.32."
    assert (said in picture) == (">rate</text>" in picture) == (expected is not None)


def test_a_test_that_could_not_begin_is_told_in_words() -> None:
    failed = as_json(RangeTest(812, (), (), None, None, None, "no range test: mode must be auto"), "r")
    page = Page(source := render(run(failed)))

    assert not pictures(source)
    assert "Step 812: no range test: mode must be auto." in page.words
    assert "A range test found nothing." in page.words
    assert "Among them" not in page.words


def test_without_a_range_test_there_is_nothing_about_one() -> None:
    assert "ange test" not in Page(render(run(as_json(Command(10, 0.5, "plateau"), "r")))).words


def test_of_many_tests_the_newest_are_drawn() -> None:
    source = render(run(*(event for i in range(6) for event in sweep(1000 * i, message=f"test {i}"))))

    assert len(pictures(source)) == MAX_RANGE_TESTS
    assert "<p>Test 5.</p>" in pictures(source)[-1]
    assert f"The newest {MAX_RANGE_TESTS} of 6." in source
    assert ">Range tests</h2>" in source


def test_a_metric_that_should_rise_and_a_loss_over_decades_have_their_axes() -> None:
    (rising,) = pictures(render(run(result(levels=(-5.0, -4.0, -3.0, -2.0, -1.0)))))
    (wide,) = pictures(render(run(result(levels=(1000.0, 100.0, 10.0, 1.0, 0.1)))))

    assert ">\u22124<" in rising
    heights = [float(cy) for cy in re.findall(r'<circle class="point[^>]*cy="([^"]*)"', wide)]
    assert np.diff(heights) == pytest.approx(np.full(4, heights[1] - heights[0]), abs=0.2)


@pytest.mark.parametrize(
    "odd",
    [
        {"scales": None},
        {"scales": "0.1", "levels": "2"},
        {"scales": ["a", None, 0.0, -1.0, math.inf]},
        {"levels": [math.nan] * 5},
        {"levels": [None] * 5},
        {"levels": []},
        {"levels": [1e308, -1e308, 1e308, 0.0, 1.0]},
        {"levels": [2.0] * 5},
        {"scales": [0.1], "levels": [2.0], "diverges": None},
        {"scales": [1e-300, 1e300], "levels": [1, 2]},
        {"steepest": "x", "valley": -1, "diverges": 10**400},
        {"scales": [0.1 * (i + 1) for i in range(5000)], "levels": [1.0] * 5000},
        {"step": None, "message": None},
        {"message": "<script>alert(1)</script>"},
    ],
)
def test_odd_results_give_a_page_all_the_same(odd: dict[str, Any]) -> None:
    source = render(run(*sweep()[:-1], {**result(), **odd}))

    numbers = re.findall(r' (?:d|x|y|cy|y1|y2|width|height)="([^"]*)"', source)
    assert not [value for value in numbers if "nan" in value or "inf" in value]
    assert "<script>alert" not in source
    assert len(source) < 200_000
