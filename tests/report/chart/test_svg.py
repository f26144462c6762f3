from __future__ import annotations

import re
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.report.chart.axis import ChartAxis
from lrwatch.report.chart.svg import StepMark, badges, line

# What the accessibility guidelines ask of text and of lines.
TEXT, LINES = 4.5, 3.0


def mark(step: float, number: int) -> StepMark:
    return StepMark(step, f"F{number}", f"finding {number}", f"finding-{number}", "found")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 1000), max_size=80))
def test_badges_never_touch_and_lose_no_mark(steps: list[int]) -> None:
    marks = [mark(float(step), number) for number, step in enumerate(sorted(steps), 1)]

    drawn = badges(marks, ChartAxis(0.0, 1000.0))

    assert [m for b in drawn for m in b.members] == marks
    assert not any(a.touches(b) for a, b in pairwise(drawn))


def test_neighbours_share_a_badge_that_names_the_first_and_the_last() -> None:
    drawn = badges([mark(100, 9), mark(101, 10), mark(102, 11), mark(800, 12)], ChartAxis(0.0, 1000.0))

    assert [b.label for b in drawn] == ["F9\u2013F11", "F12"]


def test_a_held_value_is_drawn_as_a_step_and_a_single_point_as_a_dot() -> None:
    axis = ChartAxis(0.0, 10.0)
    steps, values, lift = np.array([0, 5, 10]), np.array([10.0, 5.0, 5.0]), np.zeros(3, np.bool_)

    assert line((steps, values, lift), axis, axis, 10, hold=True) == "M0 0h50000v50h50000"
    assert line((steps, values, lift), axis, axis, 10) == "M0 0l50000 50 50000 0"
    assert line((steps[:1], values[:1], lift[:1]), axis, axis, 10) == "M0 0h0"


def luminance(colour: str) -> float:
    digits = colour if len(colour) == 6 else "".join(2 * c for c in colour)
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1, 2], ids=["light", "dark", "print"])
def test_colours_stand_out_from_the_paper(theme: int) -> None:
    css = resources.files("lrwatch.report.page").joinpath("page.css").read_text("utf-8")
    block = re.findall(r":root \{([^}]*)\}", css)[theme]
    colours = dict(re.findall(r"--(\w+): #([0-9a-f]+)", block))

    for name in ("ink", "soft", "bad", "good"):
        assert contrast(colours[name], colours["paper"]) >= TEXT, name
        assert contrast(colours[name], colours["band"]) >= TEXT, name
    for name in ("c0", "c1", "c2", "c3", "c4", "c5", "other"):
        assert contrast(colours[name], colours["paper"]) >= LINES, name
    assert contrast(colours["on"], colours["change"]) >= TEXT
