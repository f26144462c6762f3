"""Learning-rate range tests that ended, with their own changes and the learning rate at scale 1."""

from __future__ import annotations

import math
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lrwatch.core.sample import Floats
from lrwatch.report.model.data import LARGEST, MetricCurve, ReportData
from lrwatch.report.model.event_fields import JsonEvent, integer, number, text
from lrwatch.report.model.timeline import LrChange
from lrwatch.report.text import short, whole

# Scales that are drawn; a test has a dozen.
MAX_SCALES = 100

# Learning rates over scales that differ by no more than this are one: logs are rounded.
SAME_RATE = 0.01


@dataclass(frozen=True, slots=True)
class RangeTestRecord:
    """Result of a range test in the journal, and what the rest of the report knows about it.

    Attributes:
        step: Step of the result.
        scales, levels: Scales that were tried, rising, and the level on each, shape (n,).
        steepest, valley, diverges: Scales that stand out.
        message: The result in words.
        first, last: Numbers, from 1, of its first and last change.
        before, after: Scale in use before the test and after it.
        rate: Learning rate at scale 1, if it was the same throughout.
    """

    step: int | None
    scales: Floats
    levels: Floats
    steepest: float | None
    valley: float | None
    diverges: float | None
    message: str
    first: int | None = None
    last: int | None = None
    before: float | None = None
    after: float | None = None
    rate: float | None = None


def range_tests(data: ReportData, changes: Sequence[LrChange]) -> list[RangeTestRecord]:
    """Return the range tests that ended, in order."""
    ends = [(place, e) for place, e in enumerate(data.events) if e.get("event") == "range_test"]
    places = [place for place, _ in ends]
    own: dict[int, list[tuple[int, LrChange]]] = {}
    for change_number, change in enumerate(changes, 1):
        if change.cause == "range_test":
            own.setdefault(bisect_left(places, change.place), []).append((change_number, change))
    return [_record(data, event, place, own.get(i, [])) for i, (place, event) in enumerate(ends)]


def rates_in_words(test: RangeTestRecord) -> str:
    """Name the learning rates of the scales that stand out; empty where the rate at scale 1 is not known."""
    if test.rate is None:
        return ""
    named = (("steepest", test.steepest), ("valley", test.valley), ("diverges", test.diverges))
    rates = [f"{name} at {short(scale * test.rate)}" for name, scale in named if scale is not None]
    return f"As learning rates, at {short(test.rate)} for scale 1: {', '.join(rates)}." if rates else ""


def span_in_words(test: RangeTestRecord, changes: Sequence[LrChange], axis: str) -> str:
    """Name the first and the last step of a test, as far as they are known."""
    begin = changes[test.first - 1].step if test.first is not None else None
    ends = [whole(step) for step in (begin, test.step) if step is not None]
    return f"{axis} {' to '.join(ends)}" if ends else ""


def same_scale(a: float, b: float) -> bool:
    """Compare two scales up to the rounding of floats."""
    return math.isclose(a, b, rel_tol=1e-9)


def _record(data: ReportData, event: JsonEvent, place: int, own: list[tuple[int, LrChange]]) -> RangeTestRecord:
    scales, levels = _pairs(event)
    steepest, valley, diverges = (_positive(event, key) for key in ("steepest", "valley", "diverges"))
    record = RangeTestRecord(integer(event, "step"), scales, levels, steepest, valley, diverges, text(event, "message"))
    if not own:
        return record
    members = [change for _, change in own]
    in_use = [c.scale for c in members if c.answer != "rejected" and c.scale is not None]
    return replace(
        record,
        first=own[0][0],
        last=own[-1][0],
        before=members[0].before,
        after=in_use[-1] if in_use else None,
        rate=_rate(data, members, place),
    )


def _pairs(event: JsonEvent) -> tuple[Floats, Floats]:
    """Return the scales with their levels, rising; those that are no numbers are left out."""
    scales, levels = event.get("scales"), event.get("levels")
    if not isinstance(scales, Sequence) or not isinstance(levels, Sequence):
        return np.empty(0), np.empty(0)
    pairs = []
    for scale, level in list(zip(scales, levels, strict=False))[:MAX_SCALES]:
        pair = {"scale": scale, "level": level}
        a, b = _positive(pair, "scale"), number(pair, "level")
        if a is not None and b is not None:
            pairs.append((a, min(max(float(b), -LARGEST), LARGEST)))
    pairs.sort(key=lambda pair: pair[0])
    return np.array([a for a, _ in pairs], np.float64), np.array([b for _, b in pairs], np.float64)


def _positive(event: JsonEvent, key: str) -> float | None:
    """Return a scale that a logarithmic axis can hold."""
    value = number(event, key)
    return float(value) if value is not None and 1e-100 < value < 1e100 else None


def _rate(data: ReportData, members: Sequence[LrChange], end: int) -> float | None:
    """Return the learning rate at scale 1, from the trainer's answers, else from the log; None where it moved or is not one."""
    answered = [
        value
        for event in data.events[members[0].place : end]
        if event.get("event") == "acknowledged" and isinstance(rates := event.get("schedule_lr"), dict)
        for key in rates
        if (value := _positive(rates, key)) is not None
    ]
    if answered:
        return _common(answered)
    logged = [rate for c in data.curves if c.role == "lr" and (rate := _logged(c, members)) is not None]
    return _common(logged)


def _logged(curve: MetricCurve, members: Sequence[LrChange]) -> float | None:
    """Return the learning rate at scale 1 by a curve of the log, be it the schedule's or the one that was used."""
    applied = [
        (c.answer_step if c.answer_step is not None else c.step, c.scale) for c in members if c.answer != "rejected"
    ]
    stairs = [(step, scale) for step, scale in applied if step is not None and scale is not None and scale > 0]
    rates, over = [], []
    for (begin, scale), (end, _) in pairwise(stairs):
        inside = curve.values[(curve.steps > begin) & (curve.steps < end)]
        inside = inside[np.isfinite(inside) & (inside > 0)]
        if len(inside):
            rates.append(float(np.median(inside)))
            over.append(rates[-1] / scale)
    if len(rates) < 2:
        return None
    return _common(rates) or _common(over)


def _common(rates: Sequence[float]) -> float | None:
    """Return the median of rates that are all the same, else None."""
    if not rates or not 0 < max(rates) <= (1 + SAME_RATE) * min(rates) < sys.float_info.max:
        return None
    return float(np.median(np.array(rates)))
