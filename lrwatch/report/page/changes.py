"""Rows of the table of changes: one for each change, one that unfolds for each group, which strategy decided, and which daemon commanded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lrwatch.report.chart.effect_chart import css_of, effect_words, levels_in_words
from lrwatch.report.chart.run_chart import MAX_MARKS
from lrwatch.report.model.command_groups import CommandGroup, answers_in_words
from lrwatch.report.model.data import ReportData
from lrwatch.report.model.event_fields import JsonEvent, integer, text
from lrwatch.report.model.operator_actions import OperatorAction, operator_actions
from lrwatch.report.model.timeline import LrChange
from lrwatch.report.text import DASH, listed, short


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """One change; `undoes` is the number of the change that it takes back."""

    template: ClassVar[str] = "change"
    number: int
    change: LrChange
    undoes: int | None
    axis: str

    @property
    def late(self) -> int:
        """Steps from the command to its acknowledgement; 0 where they are not known."""
        c = self.change
        return c.answer_step - c.step if c.answer_step is not None and c.step is not None else 0

    @property
    def css(self) -> str:
        """Class of the measured effect."""
        return css_of(self.change.effect) if self.change.effect else ""

    @property
    def effect(self) -> tuple[str, list[str]] | None:
        """Verdict on the effect, and details in words; None where no effect was measured."""
        effect = self.change.effect
        if effect is None:
            return None
        verdict, _, numbers = effect_words(effect).partition(": ")
        levels = levels_in_words(effect, self.axis)
        details = (numbers, levels or effect.message, effect.others if levels else "")
        return verdict or DASH, [words for words in details if words]


@dataclass(frozen=True, slots=True)
class GroupRow:
    """Several changes that are one thing to a person, and a row of each, folded."""

    template: ClassVar[str] = "group"
    group: CommandGroup
    rows: tuple[ChangeRow, ...]

    @property
    def steps(self) -> list[int]:
        """Steps of the changes."""
        return [c.step for c in self.group.changes if c.step is not None]

    @property
    def scale(self) -> str:
        """Scales that a range test tried, or between which a schedule went."""
        scales = [c.scale for c in self.group.changes if c.scale is not None]
        if not scales:
            return DASH
        if self.group.test is None:
            return f"{short(self.group.changes[0].before)} → {short(scales[-1])}"
        return f"{short(min(scales))} to {short(max(scales))}"

    @property
    def restored(self) -> float | None:
        """Scale after a range test; None for a schedule, and while the test is not over."""
        scales = [c.scale for c in self.group.changes if c.scale is not None]
        return scales[-1] if scales and self.group.test is not None and self.group.ending else None

    @property
    def answers(self) -> str:
        """The trainer's answers, counted."""
        return answers_in_words(self.group)

    @property
    def effects(self) -> str:
        """The verdicts on the measured effects, counted."""
        counts = Counter(c.effect.verdict for c in self.group.changes if c.effect is not None)
        parts = [f"{count:,} {verdict or 'without numbers'}" for verdict, count in counts.items()]
        return listed(parts) if parts else "not measured"


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """An operator's action after which another strategy decides."""

    template: ClassVar[str] = "strategy"
    action: OperatorAction

    @property
    def place(self) -> int:
        """Index of its event."""
        return self.action.place

    @property
    def numbers(self) -> str:
        """Numbers that came with the action."""
        return self.action.words.partition(", ")[2]


@dataclass(frozen=True, slots=True)
class TakeoverRow:
    """Another daemon took over, or this one did."""

    template: ClassVar[str] = "takeover"
    place: int
    step: int | None
    commands: bool
    words: str


TableRow = ChangeRow | GroupRow | StrategyRow | TakeoverRow


@dataclass(frozen=True, slots=True)
class ChangesTable:
    """The rows, and how many changes there are of which how many are shown."""

    rows: tuple[TableRow, ...]
    count: int
    shown: int


def changes_table(data: ReportData, changes: Sequence[LrChange], groups: Sequence[CommandGroup]) -> ChangesTable:
    """Arrange the rows of the table in the order of the events.

    Args:
        data: Contents of the report.
        changes: Changes of the learning rate, of `lr_changes`.
        groups: Changes that belong together, of `group_commands`.
    """
    between: list[StrategyRow | TakeoverRow] = sorted([
        *[StrategyRow(action) for action in operator_actions(data.events) if action.changes_strategy][:MAX_MARKS],
        *_takeovers(data.events)[:MAX_MARKS],
    ], key=lambda row: row.place)  # fmt: skip
    undone = {c.taken_back: number for number, c in enumerate(changes, 1)}
    group_from = {group.first: group for group in groups}
    shown = changes[:MAX_MARKS]
    rows: list[TableRow] = []
    group: CommandGroup | None = None
    members: list[ChangeRow] = []
    for number, change in enumerate(shown, 1):
        while between and between[0].place < change.place and group is None:
            rows.append(between.pop(0))
        if number in group_from:
            group, members = group_from[number], []
        row = ChangeRow(number, change, undone.get(number), data.axis)
        if group is None:
            rows.append(row)
            continue
        members.append(row)
        if number in (group.last, len(shown)):
            rows.append(GroupRow(group, tuple(members)))
            group = None
    return ChangesTable((*rows, *between), len(changes), len(shown))


def _takeovers(events: Sequence[JsonEvent]) -> list[TakeoverRow]:
    return [
        TakeoverRow(place, integer(event, "step"), event.get("commands") is True, text(event, "message"))
        for place, event in enumerate(events)
        if event.get("event") == "takeover"
    ]
