"""Several runs on one page: the metric that decides each of them in one chart, and a table of where each stands.

Runs are compared at the last step that all of them have. A run that went on for longer is not better for that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from lrwatch.errors import InputError
from lrwatch.report.model import finding_kinds
from lrwatch.report.model.data import ComparedRun, CurveMark, MetricCurve, ReportData
from lrwatch.report.model.event_fields import of_kind, text
from lrwatch.report.model.summary import final_level
from lrwatch.report.model.timeline import lr_changes
from lrwatch.report.text import listed, short, whole

# Differences of levels below this, as a share, are not worth a number.
SAME = 0.0005


def compare(runs: Sequence[ReportData], direction: Literal["min", "max"] = "min") -> ReportData:
    """Return the contents of one page about several runs.

    Args:
        runs: The contents of the page of each, two or more.
        direction: Whether the metric should fall or rise.

    Raises:
        InputError: A run has no values of the metric that decides, or the runs do not count the same.
    """
    names = _names([one.run for one in runs])
    curves = []
    for name, one in zip(names, runs, strict=True):
        curve = next((c for c in one.curves if c.name == one.metric and len(c.values)), None)
        if curve is None:
            raise InputError(
                expected="a metric that decides, with values", found="none", where=name, hint="Name one with --metric."
            )
        if one.axis != runs[0].axis:
            raise InputError(
                expected=f"runs that count the same; {names[0]} counts {runs[0].axis}s", found=f"{one.axis}s", where=name,
                hint="Compare runs whose logs have steps, or runs whose logs have epochs.",
            )  # fmt: skip
        curves.append(replace(curve, name=name, role="train"))
    metrics = list(dict.fromkeys(one.metric for one in runs))
    common = min(int(curve.steps.max()) for curve in curves)
    order = _order(curves, common, direction)
    rows = tuple(_row(names[i], runs[i], curves[i], common) for i in order)
    sorted_curves = tuple(curves[i] for i in order)
    title = f"{' and '.join(metrics)} of {len(runs)} runs"
    facts = tuple(
        (name, value) for i, name in enumerate(names) for label, value in runs[i].facts if label in ("Log", "Logs")
    )
    return ReportData(
        run=title, title=title, metric=metrics[0], axis=runs[0].axis, curves=sorted_curves, facts=facts, runs=rows,
        lead=_lead(rows, common, runs[0].axis), marks=tuple(_marks(names, runs)),
    )  # fmt: skip


def _names(runs: Sequence[str]) -> list[str]:
    """Return names that are all different.

    >>> _names(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    seen: Counter[str] = Counter()
    names = []
    for run in runs:
        seen[run] += 1
        names.append(run if seen[run] == 1 else f"{run} ({seen[run]})")
    return names


def _until(curve: MetricCurve, step: int) -> MetricCurve:
    kept = curve.steps <= step
    return replace(curve, steps=curve.steps[kept], values=curve.values[kept])


def _order(curves: Sequence[MetricCurve], common: int, direction: str) -> list[int]:
    """Return the indices of the curves, the best at step `common` first; those without a level there last."""
    levels = [final_level(_until(curve, common)) for curve in curves]
    sign = -1.0 if direction == "max" else 1.0
    return sorted(range(len(curves)), key=lambda i: (levels[i] is None, sign * (levels[i] or 0.0)))


def _row(name: str, run: ReportData, curve: MetricCurve, common: int) -> ComparedRun:
    counts = Counter(text(event, "kind") or "unnamed" for event in of_kind(run.events, "finding"))
    kinds = [finding_kinds.counted(kind, counts[kind]) for kind in sorted(counts, key=finding_kinds.rank)]
    finite = curve.values[np.isfinite(curve.values)]
    return ComparedRun(
        name=name,
        common=final_level(_until(curve, common)),
        end=final_level(curve),
        last=int(curve.steps.max()),
        lowest=float(finite.min()) if len(finite) else None,
        findings=listed(kinds) if kinds else "none",
        changes=sum(not change.not_taken_up for change in lr_changes(run.events)),
        stands=run.state.sentence if run.state else "",
    )


def _marks(names: Sequence[str], runs: Sequence[ReportData]) -> Iterator[CurveMark]:
    """Yield the changes of the learning rate that the trainers of the runs applied."""
    for name, run in zip(names, runs, strict=True):
        for number, change in enumerate(lr_changes(run.events), 1):
            if change.answer == "acknowledged" and change.answer_step is not None and change.scale is not None:
                words = f"{name}: change {number}, scale {short(change.before)} to {short(change.scale)} at {run.axis} {whole(change.answer_step)}"
                yield CurveMark(name, change.answer_step, words)


def _lead(rows: Sequence[ComparedRun], common: int, axis: str) -> str:
    """Return the levels at the last step that all have, in a sentence."""
    best = rows[0].common
    parts = []
    for row in rows:
        if row.common is None:
            parts.append(f"{row.name} has no finite value")
            continue
        words = f"{row.name} {short(row.common)}"
        share = row.common / best - 1 if best else 0.0
        if abs(share) >= SAME:
            words += f" ({100 * abs(share):.2g}\u00a0% {'higher' if row.common > (best or 0.0) else 'lower'})"
        parts.append(words)
    same = all(row.last == common for row in rows)
    return f"At {axis} {whole(common)}, {'the last' if same else 'the last that all have'}: {listed(parts)}."
