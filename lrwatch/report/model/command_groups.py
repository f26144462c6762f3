"""Groups of commands: those of one range test, and the stairs of one schedule.

Each group is one thing to a person, however many commands it took, so it has one mark in the chart and one row in the
table, which unfolds.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from lrwatch.report.model.event_fields import JsonEvent, text
from lrwatch.report.model.operator_actions import operator_actions
from lrwatch.report.model.timeline import LrChange

# Fewer stairs of a schedule than these stand one by one: that is a step schedule, each of whose steps is an event.
LEAST_STAIRS = 4

# A range test has at least one stair and the way back.
LEAST_OF_A_TEST = 2

# The strategy, as it begins its reasons.
_STRATEGY = re.compile(r"([a-z]+): scale ")


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """Changes that follow each other for one reason.

    Attributes:
        first: Number, from 1, of the first one.
        changes: All of them.
        test: Number, from 0, of the range test that they belong to; None for a schedule.
        ending: Result of the range test in words; empty until it ends.
    """

    first: int
    changes: tuple[LrChange, ...]
    test: int | None = None
    ending: str = ""

    @property
    def last(self) -> int:
        """Number of the last change."""
        return self.first + len(self.changes) - 1

    @property
    def row(self) -> str:
        """Id of the group's row in the table."""
        return f"changes-{self.first}"

    @property
    def name(self) -> str:
        """The group in a few words."""
        if self.test is not None:
            return "range test"
        return f"{len(self.changes):,} stairs of {schedule_of(self.changes)}"


def group_commands(changes: Sequence[LrChange], events: Sequence[JsonEvent]) -> list[CommandGroup]:
    """Find the groups among `changes`, in order.

    A range test ends with its result, also where an operator chose another strategy meanwhile. A schedule ends where
    another strategy is chosen.
    """
    results = [(place, e) for place, e in enumerate(events) if e.get("event") == "range_test"]
    ends = [place for place, _ in results]
    chosen = [action.place for action in operator_actions(events) if action.done and action.strategy]

    def key(numbered: tuple[int, LrChange]) -> tuple[str, int]:
        number, change = numbered
        if change.cause == "range_test":
            return "range_test", bisect_left(ends, change.place)
        if change.cause == "schedule":
            return "schedule", bisect_left(chosen, change.place)
        return "", number

    groups = []
    for (cause, part), members in groupby(enumerate(changes, 1), key):
        numbers, own = zip(*members, strict=True)
        if cause == "range_test" and len(own) >= LEAST_OF_A_TEST:
            ending = text(results[part][1], "message") if part < len(results) else ""
            groups.append(CommandGroup(numbers[0], own, part, ending))
        elif cause == "schedule" and len(own) >= LEAST_STAIRS:
            groups.append(CommandGroup(numbers[0], own))
    return groups


def groups_by_number(groups: Sequence[CommandGroup]) -> dict[int, CommandGroup]:
    """Map the number of each change in a group to the group."""
    return {number: group for group in groups for number in range(group.first, group.last + 1)}


def schedule_of(changes: Sequence[LrChange]) -> str:
    """Return the schedule whose stairs these are, by the name that their reasons begin with."""
    names = {match[1] if (match := _STRATEGY.match(change.reason)) else "" for change in changes}
    name = names.pop() if len(names) == 1 else ""
    return name or "a schedule"


def answers_in_words(group: CommandGroup) -> str:
    """Count the trainer's answers to a group."""
    counts = Counter(change.answer for change in group.changes)
    if counts["acknowledged"] == len(group.changes):
        return f"all {len(group.changes):,}"
    parts = ((counts["acknowledged"], ""), (counts["rejected"], " refused"), (counts[""], " without an answer"))
    return ", ".join(f"{count:,}{words}" for count, words in parts if count)


def merged_phases(
    events: Sequence[JsonEvent], changes: Sequence[LrChange], groups: Sequence[CommandGroup]
) -> list[tuple[JsonEvent, int]]:
    """Merge the phases that the commands of one group began.

    Args:
        events: All events.
        changes: Changes of the learning rate, of `lr_changes`.
        groups: Groups of those changes.

    Returns:
        The first phase event of each merged run of phases, with the number of phases that it stands for.
    """
    starts = [change.place for change in changes]
    owners = groups_by_number(groups)
    phases: list[tuple[JsonEvent, int]] = []
    newest: CommandGroup | None = None
    for place, event in enumerate(events):
        if event.get("event") != "phase":
            continue
        own = owners.get(bisect_left(starts, place)) if event.get("cause") == "command" else None
        if own is not None and own is newest:
            phases[-1] = (phases[-1][0], phases[-1][1] + 1)
        else:
            phases.append((event, 1))
        newest = own
    return phases
