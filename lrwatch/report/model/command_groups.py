"""Commands that belong together: those of one range test, and the stairs of one schedule.

Each of them is one thing to a person, however many commands it took, so each has one mark in the picture and one row in the
table, which unfolds.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from lrwatch.report.chart.axis import short
from lrwatch.report.chart.range_test_chart import Range
from lrwatch.report.model.operator_actions import orders
from lrwatch.report.model.timeline import Change, JsonEvent, listed, text

# Fewer stairs of a schedule than these are told one by one: that is a step schedule, each of whose steps is an event.
LEAST_STAIRS = 4

# A range test has at least one stair and the way back.
LEAST_OF_A_TEST = 2

# The strategy, as it begins its reasons.
_STRATEGY = re.compile(r"([a-z]+): scale ")


@dataclass(frozen=True, slots=True)
class Series:
    """Changes that follow each other for one reason.

    Attributes:
        first: Number, from 1, of the first one.
        changes: All of them.
        test: Number, from 0, of the range test that they belong to; None for a schedule.
        ending: How the range test ended, in words; empty while it goes on.
    """

    first: int
    changes: tuple[Change, ...]
    test: int | None = None
    ending: str = ""

    @property
    def last(self) -> int:
        """Number of the last one."""
        return self.first + len(self.changes) - 1

    @property
    def row(self) -> str:
        """Where the table has it."""
        return f"changes-{self.first}"

    @property
    def name(self) -> str:
        """What it is, in a few words."""
        if self.test is not None:
            return "range test"
        return f"{len(self.changes):,} stairs of {schedule_of(self.changes)}"


def in_series(changes: Sequence[Change], events: Sequence[JsonEvent]) -> list[Series]:
    """The series among `changes`, in order.

    A range test ends with its result, also where an operator ordered something else meanwhile; a schedule ends where another
    strategy is ordered.
    """
    results = [(place, e) for place, e in enumerate(events) if e.get("event") == "range_test"]
    ends = [place for place, _ in results]
    ordered = [order.place for order in orders(events) if order.done and order.strategy]

    def key(numbered: tuple[int, Change]) -> tuple[str, int]:
        number, change = numbered
        if change.cause == "range_test":
            return "range_test", bisect_left(ends, change.place)
        if change.cause == "schedule":
            return "schedule", bisect_left(ordered, change.place)
        return "", number

    found = []
    for (cause, part), group in groupby(enumerate(changes, 1), key):
        members = list(group)
        own = tuple(change for _, change in members)
        if cause == "range_test" and len(own) >= LEAST_OF_A_TEST:
            ending = text(results[part][1], "message") if part < len(results) else ""
            found.append(Series(members[0][0], own, part, ending))
        elif cause == "schedule" and len(own) >= LEAST_STAIRS:
            found.append(Series(members[0][0], own))
    return found


def schedule_of(changes: Sequence[Change]) -> str:
    """The schedule whose stairs these are, by the name that their reasons begin with."""
    names = {match[1] if (match := _STRATEGY.match(change.reason)) else "" for change in changes}
    name = names.pop() if len(names) == 1 else ""
    return name or "a schedule"


def answers(series: Series) -> str:
    """What the trainer said to all of them."""
    said = Counter(change.answer for change in series.changes)
    if said["acknowledged"] == len(series.changes):
        return f"all {len(series.changes):,}"
    parts = ((said["acknowledged"], ""), (said["rejected"], " refused"), (said[""], " without an answer"))
    return ", ".join(f"{count:,}{words}" for count, words in parts if count)


def merged(
    events: Sequence[JsonEvent], changes: Sequence[Change], series: Sequence[Series]
) -> list[tuple[JsonEvent, int]]:
    """The phases, with how many each stands for: those that the commands of one series began are one."""
    starts = [change.place for change in changes]
    owner = {number: one for one in series for number in range(one.first, one.last + 1)}
    found: list[tuple[JsonEvent, int]] = []
    newest: Series | None = None
    for place, event in enumerate(events):
        if event.get("event") != "phase":
            continue
        own = owner.get(bisect_left(starts, place)) if event.get("cause") == "command" else None
        if own is not None and own is newest:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((event, 1))
        newest = own
    return found


def told(series: Sequence[Series], changes: Sequence[Change], tests: Sequence[Range]) -> str:
    """The range tests and the stairs of schedules, as a sentence; empty where there is none."""
    parts = []
    if tried := [test for test in tests if len(test.scales)]:
        steepest = [short(test.steepest) for test in tried if test.steepest is not None]
        where = f" (steepest at scale {listed(steepest)})" if steepest else ""
        parts.append((f"{len(tried):,} range tests" if len(tried) > 1 else "a range test") + where)
    if any(one.test == len(tests) for one in series):
        parts.append("a range test that is not over")
    stairs = Counter(schedule_of([change]) for change in changes if change.cause == "schedule")
    parts += [f"{count:,} {'stair' if count == 1 else 'stairs'} of {name}" for name, count in stairs.items()]
    failed = len(tests) - len(tried)
    said = [f"Among them: {listed(parts)}."] if parts else []
    said += [f"{'A range test' if failed == 1 else f'{failed:,} range tests'} found nothing."] if failed else []
    return " ".join(said)
