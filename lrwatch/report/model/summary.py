"""Summary of a run in one paragraph: findings, changes of the learning rate, their effects, and the level at the end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lrwatch.core.events import Verdict
from lrwatch.core.sample import Floats
from lrwatch.report.model import finding_kinds
from lrwatch.report.model.command_groups import CommandGroup, schedule_of
from lrwatch.report.model.data import MetricCurve, ReportData
from lrwatch.report.model.event_fields import of_kind, text
from lrwatch.report.model.range_tests import RangeTestRecord
from lrwatch.report.model.timeline import LrChange
from lrwatch.report.text import listed, short

# The level at the end of a run is the median of this last share of its values, so that no single batch decides it.
FINAL_SHARE = 0.01

_VERDICTS: tuple[tuple[Verdict, str], ...] = (
    ("helped", "helped"),
    ("no certain gain", "brought no certain gain"),
    ("cost progress", "cost progress"),
)


def summary(
    data: ReportData,
    changes: Sequence[LrChange],
    groups: Sequence[CommandGroup] = (),
    tests: Sequence[RangeTestRecord] = (),
) -> str:
    """Sum up a run in one paragraph.

    Args:
        data: Contents of the report.
        changes: Changes of the learning rate, of `lr_changes`.
        groups: Changes that belong together, of `group_commands`.
        tests: Range tests that ended, of `range_tests`.
    """
    parts = (_findings(data, changes), _groups(groups, changes, tests), _effects(changes), _final_levels(data))
    return " ".join(part for part in parts if part)


def final_level(curve: MetricCurve) -> float | None:
    """Return the level at the end of a curve, the median of its last finite values, or None if it has none."""
    values: Floats = np.asarray(curve.values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    tail = values[-math.ceil(FINAL_SHARE * len(values)) :]
    middle = (len(tail) - 1) // 2
    return float(np.partition(tail, middle)[middle])


def _findings(data: ReportData, changes: Sequence[LrChange]) -> str:
    counts = Counter(text(e, "kind") or "unnamed" for e in of_kind(data.events, "finding"))
    kinds = [finding_kinds.counted(kind, counts[kind]) for kind in sorted(counts, key=finding_kinds.rank)]
    findings = listed(kinds) if kinds else "No findings"
    proposals = sum(c.not_taken_up for c in changes)
    changes = [c for c in changes if not c.not_taken_up]
    if proposals:
        findings += f"; {proposals:,} {'proposal that was' if proposals == 1 else 'proposals that were'} not sent"
    if not changes:
        return f"{findings}; no change of the learning rate."
    count = len(changes)
    all_changes = f"{count:,} {'change' if count == 1 else 'changes'} of the learning rate"
    acknowledged = sum(c.answer == "acknowledged" for c in changes)
    refused = sum(c.answer == "rejected" for c in changes)
    waiting = count - acknowledged - refused
    if waiting == count:
        return f"{findings}; {all_changes}, not acknowledged."
    if acknowledged == count:
        return f"{findings}; {all_changes}, {'acknowledged' if count == 1 else 'all acknowledged'}."
    parts = ((acknowledged, "acknowledged"), (refused, "refused"), (waiting, "without an answer"))
    return f"{findings}; {all_changes}, {listed([f'{n:,} {word}' for n, word in parts if n])}."


def _groups(groups: Sequence[CommandGroup], changes: Sequence[LrChange], tests: Sequence[RangeTestRecord]) -> str:
    """Count the range tests and the stairs of schedules; empty where there is none."""
    parts = []
    if with_levels := [test for test in tests if len(test.scales)]:
        steepest = [short(test.steepest) for test in with_levels if test.steepest is not None]
        where = f" (steepest at scale {listed(steepest)})" if steepest else ""
        parts.append((f"{len(with_levels):,} range tests" if len(with_levels) > 1 else "a range test") + where)
    if any(group.test == len(tests) for group in groups):
        parts.append("a range test that is not over")
    stairs = Counter(schedule_of([change]) for change in changes if change.cause == "schedule")
    parts += [f"{count:,} {'stair' if count == 1 else 'stairs'} of {name}" for name, count in stairs.items()]
    failed = len(tests) - len(with_levels)
    sentences = [f"Among them: {listed(parts)}."] if parts else []
    if failed:
        sentences.append(f"{'A range test' if failed == 1 else f'{failed:,} range tests'} found nothing.")
    return " ".join(sentences)


def _effects(changes: Sequence[LrChange]) -> str:
    counts = Counter(c.effect.verdict for c in changes if c.effect is not None)
    parts = [f"{counts[verdict]:,} {words}" for verdict, words in _VERDICTS if counts[verdict]]
    if not parts:
        return ""
    undone = sum(c.taken_back is not None for c in changes)
    back = f"; {undone:,} {'was' if undone == 1 else 'were'} taken back" if undone else ""
    return f"Measured against the old rate, {listed(parts)}{back}."


def _final_levels(data: ReportData) -> str:
    for other in data.compare:
        mine = next((c for c in data.curves if c.name == other.name), data.curves[0] if data.curves else None)
        level, against = (final_level(mine) if mine else None), final_level(other)
        if mine and level is not None and against is not None:
            label = f" {data.comparison_label}" if data.comparison_label else " in the other run"
            return (
                f"{mine.name} {_at(data)} {short(level)}, against {short(against)}{label}{_difference(level, against)}."
            )
    watched = data.curves[0] if data.curves else None
    level = final_level(watched) if watched else None
    if watched is None or not len(watched.values):
        return f"There are no values of {data.metric or 'any metric'}{'' if data.is_over else ' so far'}."
    if level is None:
        return f"None of the {len(watched.values):,} values of {watched.name} is finite."
    return f"{watched.name} {_at(data)} {short(level)}."


def _at(data: ReportData) -> str:
    return "ends at" if data.is_over else "is so far at"


def _difference(level: float, against: float) -> str:
    if against == 0 or level == against:
        return ""
    share = abs(level / against - 1)
    if not 0.0005 <= share < 10:
        return ""
    return f" ({100 * share:.1f}\u00a0% {'lower' if level < against else 'higher'})"
