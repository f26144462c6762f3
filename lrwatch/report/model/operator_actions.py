"""Operators' actions in words, and the periods in which the strategies that they chose decided."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from lrwatch.report.model.event_fields import JsonEvent, integer, text
from lrwatch.report.text import spaced, whole

# Numbers that an action may give to a strategy.
_NUMBERS = ("every", "length")


@dataclass(frozen=True, slots=True)
class OperatorAction:
    """An operator's action.

    Attributes:
        place: Index of its event.
        step: The newest step by then.
        actor: Name of the operator.
        verb: The action in one word.
        words: The action with its argument.
        done: False if it was refused; an event that does not say so was done.
        strategy: The strategy that decides from there on; empty if the action chose none.
    """

    place: int
    step: int | None
    actor: str
    verb: str
    words: str
    done: bool
    strategy: str = ""

    @property
    def changes_strategy(self) -> bool:
        """True if from here on another strategy decides, or the same one in another way."""
        return self.done and self.verb in ("strategy", "decay")


@dataclass(frozen=True, slots=True)
class StrategyPeriod:
    """A stretch of the run in which one strategy decided; `end` is None where it still does."""

    name: str
    begin: int
    end: int | None
    words: str


def operator_actions(events: Iterable[JsonEvent]) -> list[OperatorAction]:
    """Return the operators' actions, in order."""
    return [_action(place, e) for place, e in enumerate(events) if e.get("event") == "operator"]


def _action(place: int, event: JsonEvent) -> OperatorAction:
    verb, argument = text(event, "verb") or text(event, "action"), text(event, "argument")
    strategy, words = "", f"{verb} {argument}".strip()
    if verb == "strategy" and (chosen := _object(argument)):
        strategy = spaced(text(chosen, "strategy"))
        numbers = [f"{key} {whole(value)}" for key in _NUMBERS if (value := integer(chosen, key))]
        words = ", ".join([f"{verb} {strategy}", *numbers])
    done = event.get("done") is not False
    return OperatorAction(place, integer(event, "step"), text(event, "actor"), verb, words, done, strategy)


def strategy_periods(events: Iterable[JsonEvent]) -> list[StrategyPeriod]:
    """Return which strategy decided when, as far as operators chose one. A range test gives way to the strategy before it."""
    events = list(events)
    chosen = {action.place: action for action in operator_actions(events) if action.done and action.strategy}
    periods: list[StrategyPeriod] = []
    now: StrategyPeriod | None = None
    after_test: StrategyPeriod | None = None
    testing = False

    def begin(period: StrategyPeriod | None, step: int) -> None:
        nonlocal now
        if now is not None:
            periods.append(StrategyPeriod(now.name, now.begin, step, now.words))
        now = None if period is None else StrategyPeriod(period.name, step, None, period.words)

    for place, event in enumerate(events):
        step = integer(event, "step")
        if step is None:
            continue
        if (action := chosen.get(place)) is not None:
            period = StrategyPeriod(action.strategy, step, None, f"{action.words}, by {action.actor or 'an operator'}")
            if action.strategy == "range test":
                after_test, testing = now, True
            elif testing:  # it begins when the test is over
                after_test = period
                continue
            begin(period, step)
        elif testing and event.get("event") == "range_test":
            testing = False
            begin(after_test, step)
    return periods if now is None else [*periods, now]


def _object(argument: str) -> JsonEvent | None:
    """Parse a JSON object; None if the argument is none."""
    try:
        value = json.loads(argument)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
