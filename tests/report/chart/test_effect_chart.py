"""What a change brought, drawn: the line before it continued, what came, close by, and in words for who cannot see it."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest

from lrwatch.core.events import Command, Counterfactual, Effect, as_json
from lrwatch.report import MetricCurve, ReportData, render
from lrwatch.report.chart.effect_chart import CORNERS, MAX_CLOSE_UPS, POINTS, DrawableEffect, _means, drawable_effects
from lrwatch.report.model.timeline import lr_changes
from lrwatch.report.text import MINUS


def run(*events: dict[str, Any], noise: float = 0.02) -> ReportData:
    """A loss at 2 that falls to 1.9 behind step 1,000, where a cut was."""
    steps = np.arange(2000)
    values = np.where(steps < 1000, 2.0, 1.9) + np.random.default_rng(0).normal(0, noise, 2000)
    return ReportData("r", "r", "loss", "step", (MetricCurve("loss", "train", steps, values),), events)


def cut(step: int = 1000, scale: float = 0.5) -> dict[str, Any]:
    return as_json(Command(step, scale, "why"), "r")


def effect(
    gain: float = 0.05, margin: float = 0.01, step: int = 1600, scale: float = 0.5, **line: float
) -> dict[str, Any]:
    against = dataclasses.replace(Counterfactual(1004, 2.0, 0.003, 2.0, 0.01, 1.9, 0.004), **line)  # type: ignore[arg-type]
    return as_json(Effect(step, scale, gain, gain - margin, gain + margin, "in words", against), "r")


def only(data: ReportData) -> DrawableEffect:
    (found,) = drawable_effects(data, lr_changes(data.events))
    return found


def pictures(source: str) -> list[str]:
    """The close-ups of a page."""
    return re.findall(r'<figure class="close">.*?</figure>', source, re.DOTALL)


def test_the_line_goes_on_from_the_change_to_the_measurement_and_its_band_widens() -> None:
    steps, level, low, high = only(run(cut(), effect(before=2.0, expected=1.95))).continued()

    assert (len(steps), steps[0], steps[-1]) == (CORNERS, 1004, 1600)
    assert (level[0], level[-1]) == (2.0, 1.95)
    assert high[0] - level[0] == pytest.approx(1.96 * 0.003)
    assert high[-1] - level[-1] == level[-1] - low[-1] == pytest.approx(1.96 * 0.01)
    assert (np.diff(high - low) > 0).all()


def test_the_picture_of_the_run_has_line_band_and_mark_of_each_effect(full_run: ReportData) -> None:
    source = render(full_run).replace(pictures(render(full_run))[0], "")

    assert source.count('class="expected"') == source.count('class="interval"') == 1
    (title,) = re.findall(r'<circle class="measured helped"[^>]*><title>(.*?)</title>', source)
    assert title == "1 helped: 12.0 % better (8.0 to 16.0 %); 0.4300 at step 2,900 instead of 0.4900 at the old rate"
    assert "dashed: the line before a change, continued" in source


def test_those_who_cannot_see_it_are_told(full_run: ReportData) -> None:
    source = render(full_run)

    description = re.findall(r"<desc[^>]*>(.*?)</desc>", source)[0]
    assert "Change 1 helped: 12.0 % better (8.0 to 16.0 %); 0.4300 at step 2,900 instead of 0.4900" in description
    (label,) = re.findall(r'role="img" aria-label="([^"]*)"', source)
    assert label == (
        "helped: 12.0 % better (8.0 to 16.0 %). 0.4300 at step 2,900 instead of 0.4900 at the old rate. "
        "Each point is the mean of 75 values."
    )


@pytest.mark.parametrize(
    ("gain", "margin", "css", "words"),
    [
        (0.05, 0.01, "helped", "helped</b>: <span>5.0 % better (4.0 to 6.0 %)"),
        (0.004, 0.01, "unsure", "no certain gain</b>: <span>0.4 % better (0.6 % worse to 1.4 % better)"),
        (-0.004, 0.01, "unsure", "no gain</b>: <span>0.4 % worse (1.4 % worse to 0.6 % better)"),
        (-0.05, 0.01, "cost", "cost progress</b>: <span>5.0 % worse (4.0 to 6.0 %)"),
    ],
)
def test_a_close_up_says_what_came_of_the_change(gain: float, margin: float, css: str, words: str) -> None:
    (picture,) = pictures(render(run(cut(), effect(gain, margin))))

    assert f'<b class="{css}">{words}</span>' in picture
    assert f'<circle class="measured {css}"' in picture
    assert ">actual 1.900<" in picture
    assert ">expected 2.000<" in picture
    assert ">scale 0.5<" in picture
    assert '<a class="mark" href="#change-1" aria-label="change 1">1</a>' in picture


def test_what_was_taken_back_says_by_which_change() -> None:
    back = {**cut(1601, 1.0), "cause": "restore"}
    source = render(run(cut(), effect(-0.002), back))

    assert "Taken back by <a" in pictures(source)[0]
    assert 'taken back by <a class="mark" href="#change-2"' in source
    assert (
        '<td class="effect" data-l="Effect">takes <a class="mark" href="#change-1" aria-label="change 1">1</a> back</td>'
        in source
    )


def test_the_points_are_means_on_both_sides_that_a_spike_does_not_bend() -> None:
    data = run()
    values = data.curves[0].values.copy()
    values[1200], values[1201] = 1e300, np.nan

    steps, means, each = _means(dataclasses.replace(data.curves[0], values=values), 1000, 600)

    assert (len(steps), each) == (2 * POINTS, 50)
    assert means == pytest.approx(np.repeat([2.0, 1.9], POINTS), abs=0.02)
    assert (steps[:POINTS] < 1000).all()
    assert (steps[POINTS:] >= 1000).all()


def test_few_values_are_shown_one_by_one() -> None:
    data = run()
    curve = MetricCurve("loss", "val", data.curves[0].steps[::200], data.curves[0].values[::200])
    (picture,) = pictures(render(dataclasses.replace(data, curves=(curve,), events=(cut(), effect()))))

    assert "is the mean" not in picture


def test_an_effect_on_another_metric_is_told_and_not_drawn() -> None:
    source = render(run(cut(), effect(before=0.03, expected=0.03, came=0.02)))

    assert not pictures(source)
    assert 'class="expected"' not in source
    assert "0.02000 at step 1,600 instead of 0.03000 at the old rate" in source


def test_a_journal_that_does_not_tell_the_line_is_shown_in_its_own_words() -> None:
    old = as_json(Effect(1600, 0.5, 0.05, 0.04, 0.06, "better than going on"), "r")
    source = render(run(cut(), old))

    assert not pictures(source)
    assert "<small>5.0 % better (4.0 to 6.0 %)</small><small>better than going on</small>" in source
    assert "dashed: the line" not in source


def test_an_effect_without_numbers_is_a_dash() -> None:
    assert '<td class="effect" data-l="Effect"><b class="k unsure">\u2013</b></td>' in render(
        run({"event": "effect", "scale": 0.5})
    )


@pytest.mark.parametrize(
    "line",
    [
        {"expected": 1e149, "expected_error": 1e149},
        {"before": -1e149, "before_error": 1e140},
        {"came_error": 0.0, "expected_error": 0.0, "before_error": 0.0, "before": 1.9, "expected": 1.9},
        {"since": -(2**52)},
        {"since": 1599},
        {"before_error": -1.0},
    ],
)
def test_odd_lines_give_a_picture_all_the_same(line: dict[str, Any]) -> None:
    source = render(run(cut(), effect(**line), noise=0.0))

    numbers = re.findall(r' (?:d|x|y|cy|y1|y2|height)="([^"]*)"', source)
    assert len(pictures(source)) == 1
    assert not [value for value in numbers if "nan" in value or "inf" in value]


def test_a_negative_level_has_a_true_minus_sign() -> None:
    data = run(cut(), effect(before=-2.0, expected=-2.0, came=-1.9))
    mirrored = (dataclasses.replace(data.curves[0], values=-data.curves[0].values),)

    assert f"actual {MINUS}1.900<" in render(dataclasses.replace(data, curves=mirrored))


def test_of_many_effects_the_first_are_drawn_close_by() -> None:
    events = [e for i in range(30) for e in (cut(1000 + i, 0.5**i), effect(scale=0.5**i))]
    source = render(run(*events))

    assert len(pictures(source)) == MAX_CLOSE_UPS
    assert f"The first {MAX_CLOSE_UPS} of 30." in source
