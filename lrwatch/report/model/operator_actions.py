"""What operators ordered, in words, and which strategy they made decide from which step on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from lrwatch.report.chart.axis import whole
from lrwatch.report.model.timeline import JsonEvent, integer, text

# What an order for another strategy may come with.
_NUMBERS = ("every", "length")


@dataclass(frozen=True, slots=True)
class Order:
    """An operator's action.

    Attributes:
        place: Where it stands among the events.
        step: The newest step by then.
        actor: Who it was.
        verb: What was asked for, in one word.
        words: The same with its argument.
        done: Whether it was done; a journal that does not say so tells of nothing else.
        strategy: The strategy that decides from there on; empty if it is no order for another one.
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
        """Whether from here on something else decides, or the same in another way."""
        return self.done and self.verb in ("strategy", "decay")


@dataclass(frozen=True, slots=True)
class Reign:
    """A stretch of the run in which one strategy decided; `end` is None where it still does."""

    name: str
    begin: int
    end: int | None
    words: str


def orders(events: Iterable[JsonEvent]) -> list[Order]:
    """What operators did, in order."""
    return [_order(place, e) for place, e in enumerate(events) if e.get("event") == "operator"]


def _order(place: int, event: JsonEvent) -> Order:
    verb, argument = text(event, "verb") or text(event, "action"), text(event, "argument")
    strategy, words = "", f"{verb} {argument}".strip()
    if verb == "strategy" and (asked := _object(argument)):
        strategy = spaced(text(asked, "strategy"))
        given = [f"{key} {whole(value)}" for key in _NUMBERS if (value := integer(asked, key))]
        words = ", ".join([f"{verb} {strategy}", *given])
    return Order(
        place, integer(event, "step"), text(event, "actor"), verb, words, event.get("done") is not False, strategy
    )


def reigns(events: Iterable[JsonEvent]) -> list[Reign]:
    """Which strategy decided when, as far as operators said so. After a range test it is the one before again."""
    events = list(events)
    ordered = {order.place: order for order in orders(events) if order.done and order.strategy}
    found: list[Reign] = []
    now: Reign | None = None
    then: Reign | None = None
    tests = False

    def begins(reign: Reign | None, step: int) -> None:
        nonlocal now
        if now is not None:
            found.append(Reign(now.name, now.begin, step, now.words))
        now = None if reign is None else Reign(reign.name, step, None, reign.words)

    for place, event in enumerate(events):
        step = integer(event, "step")
        if step is None:
            continue
        if (order := ordered.get(place)) is not None:
            wanted = Reign(order.strategy, step, None, f"{order.words}, by {order.actor or 'an operator'}")
            if order.strategy == "range test":
                then, tests = now, True
            elif tests:  # it begins when the test is over
                then = wanted
                continue
            begins(wanted, step)
        elif tests and event.get("event") == "range_test":
            tests = False
            begins(then, step)
    return found if now is None else [*found, now]


def spaced(word: str) -> str:
    """A name of the code as people write it."""
    return word.replace("_", " ")


def _object(argument: str) -> JsonEvent | None:
    try:
        asked = json.loads(argument)
    except (ValueError, RecursionError):
        return None
    return asked if isinstance(asked, dict) else None
