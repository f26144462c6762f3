"""Changes of the learning rate over a run: each command, or operator's action, with its answer and its measured effect.

Events come from journals of any age, so a missing or odd field is shown as missing. No event is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Literal

from lrwatch.core.events import MEANWHILE, Counterfactual, Verdict, verdict
from lrwatch.report.model.event_fields import JsonEvent, integer, number, text

AnswerState = Literal["acknowledged", "rejected", ""]

# Two scales are the same if they differ by no more than the rounding of a decimal representation.
SCALE_TOLERANCE = 1e-9

# What a line needs to be drawn: numbers that can be squared, and steps that fit into an array.
LARGEST_LEVEL, LARGEST_STEP = 1e150, 2**53

# The reason of a change that nobody is known to have commanded.
_UNCOMMANDED = "no command in this record"


@dataclass(frozen=True, slots=True)
class MeasuredEffect:
    """The measured effect of a change, as a gain relative to the level before.

    Attributes:
        gain, lower, upper: The gain and its 95 % bounds; NaN where the event does not say.
        message: The effect in words.
        step: Where it was measured.
        line: The lines that were compared; None in a journal that does not say.
        others: What the other losses did meanwhile, in words, or "".
    """

    gain: float
    lower: float
    upper: float
    message: str
    step: int | None = None
    line: Counterfactual | None = None
    others: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict of the interval; None where the interval is missing."""
        return None if math.isnan(self.gain + self.lower + self.upper) else verdict(self.lower, self.upper)


@dataclass(frozen=True, slots=True)
class LrChange:
    """One change of the learning rate, as far as it is known.

    Attributes:
        step: Step of the command; step of the answer or effect, if no command is known.
        before: Scale in force before the change.
        scale: Scale that was commanded; None if the event does not say.
        reason: Reason of the command in words.
        answer: State of the trainer's answer; empty while there is none.
        answer_step: Step of the answer.
        code: Reason of a refusal, in one word.
        effect: Measured effect, if one was measured.
        generation: Number of the command, if the event carries it.
        cause: Cause of the command, in one word.
        place: Index of the first event about the change.
        taken_back: Number, from 1, of the change that undoes this one.
        proposed: Whether it was not sent when it was decided: it awaited a person or a trainer, or was too late.
        ramp_steps: Steps over which the scale moves along a line; 0 is at once.
    """

    step: int | None
    before: float
    scale: float | None
    reason: str
    answer: AnswerState = ""
    answer_step: int | None = None
    code: str = ""
    effect: MeasuredEffect | None = None
    generation: int | None = None
    cause: str = ""
    place: int = 0
    taken_back: int | None = None
    proposed: bool = False
    ramp_steps: int = 0

    @property
    def not_taken_up(self) -> bool:
        """Whether it is a proposal that no trainer ever got."""
        return self.proposed and not self.answer


def lr_changes(events: Iterable[JsonEvent]) -> list[LrChange]:
    """Pair commands with their answers and effects, in order.

    An answer belongs to the command of its generation, or, where events carry none, to the newest unanswered command
    of the same scale. An effect belongs to the newest command of its scale. One that fits nothing gets a row of its
    own, with the operator who set the scale, since an operator's scale is no command of a strategy. The scale before
    is the last acknowledged one; in a log that nobody answers it is the last one commanded.
    """
    events = list(events)
    answered = any(e.get("event") in ("acknowledged", "rejected") for e in events)
    changes: list[LrChange] = []
    unanswered_actions: list[JsonEvent] = []
    scale_now = 1.0
    for place, event in enumerate(events):
        scale, step = number(event, "scale"), integer(event, "step")
        match event.get("event"):
            case "command":
                changes.append(_commanded(event, scale_now, place))
                if not answered and scale is not None and not changes[-1].proposed:
                    scale_now = scale
            case "acknowledged" | "rejected" as answer:
                at = _answered_by(event, changes)
                if at is None:
                    changes.append(replace(_set_by_operator(unanswered_actions, event), before=scale_now, place=place))
                    at = len(changes) - 1
                changes[at] = replace(changes[at], answer=answer, answer_step=step, code=text(event, "code"))
                if answer == "acknowledged":
                    scale_now = changes[at].scale or scale_now
            case "effect":
                effect = _effect(event)
                at = next(
                    (i for i in _newest(changes) if not changes[i].effect and _same(changes[i].scale, scale)), None
                )
                if at is None:
                    changes.append(LrChange(step, scale_now, scale, _UNCOMMANDED, effect=effect, place=place))
                else:
                    changes[at] = replace(changes[at], effect=effect)
            case "operator" if text(event, "verb") in ("set", "undo") and event.get("done") is not False:
                unanswered_actions.append(event)
    return _with_undoing(changes)


def _commanded(event: JsonEvent, before: float, place: int) -> LrChange:
    return LrChange(
        integer(event, "step"),
        before,
        number(event, "scale"),
        text(event, "reason"),
        generation=integer(event, "generation"),
        cause=text(event, "cause"),
        place=place,
        proposed=text(event, "state") not in ("", "sent"),  # one of an old journal has none
        ramp_steps=max(0, min(integer(event, "ramp_steps") or 0, LARGEST_STEP)),
    )


def _effect(event: JsonEvent) -> MeasuredEffect:
    bounds = (number(event, key) for key in ("gain", "lower", "upper"))
    gain, lower, upper = (math.nan if value is None else value for value in bounds)
    message = text(event, "message")
    others = message.partition(MEANWHILE)[2]
    return MeasuredEffect(gain, lower, upper, message, integer(event, "step"), _line(event), others)


def _answered_by(answer: JsonEvent, changes: list[LrChange]) -> int | None:
    """Return the index of the change that an answer belongs to."""
    generation, scale = integer(answer, "generation"), number(answer, "scale")
    waiting = [i for i in _newest(changes) if not changes[i].answer]
    for i in waiting:
        if generation is not None and changes[i].generation == generation:
            return i
    # A refusal may name the scale that stays in force instead of the one that was commanded.
    loose = answer.get("event") == "rejected" or scale is None
    for i in waiting:
        unnumbered = generation is None or changes[i].generation is None
        if unnumbered and (_same(changes[i].scale, scale) or loose):
            return i
    return None


def _set_by_operator(actions: list[JsonEvent], answer: JsonEvent) -> LrChange:
    """Return the change that `answer` belongs to, by the newest action that fits; the action is taken out of `actions`."""
    refused, scale = answer.get("event") == "rejected", number(answer, "scale")
    for i in range(len(actions) - 1, -1, -1):
        action, wanted = actions[i], _scale_of(actions[i])
        # A refusal names the scale that stays in force.
        if wanted is None or refused or _same(wanted, scale):
            del actions[i]
            reason = f"set by {text(action, 'actor') or 'an operator'}"
            return LrChange(integer(action, "step"), 1.0, scale if wanted is None else wanted, reason, cause="operator")
    return LrChange(integer(answer, "step"), 1.0, scale, text(answer, "reason") or _UNCOMMANDED)


def _scale_of(action: JsonEvent) -> float | None:
    """Return the scale that an operator set; None for an undo."""
    try:
        scale = float(text(action, "argument"))
    except ValueError:
        return None
    return scale if math.isfinite(scale) else None


def _with_undoing(changes: list[LrChange]) -> list[LrChange]:
    """Give each change the number of the one that undoes it: one to restore that may be in use undoes the newest of these."""
    for undoing, change in enumerate(changes, 1):
        if change.cause != "restore" or not _may_be_in_use(change):
            continue
        for i in range(undoing - 2, -1, -1):
            if changes[i].cause == "restore" and _may_be_in_use(changes[i]):
                break  # the same one, further up: one command may not go all the way
            if _may_be_in_use(changes[i]):
                changes[i] = replace(changes[i], taken_back=undoing)
                break
    return changes


def _may_be_in_use(change: LrChange) -> bool:
    return change.answer != "rejected" and not change.not_taken_up


def _line(event: JsonEvent) -> Counterfactual | None:
    """Return the lines that an effect compares, or None where any part of them is missing or odd."""
    step = integer(event, "step")
    values = {field.name: number(event, field.name) for field in fields(Counterfactual)}
    since = values.pop("since")
    levels = {name: value for name, value in values.items() if value is not None and abs(value) < LARGEST_LEVEL}
    if step is None or since is None or not -LARGEST_STEP < since < step < LARGEST_STEP or len(levels) < len(values):
        return None
    return Counterfactual(int(since), **levels)


def _newest(changes: list[LrChange]) -> Iterable[int]:
    return range(len(changes) - 1, -1, -1)


def _same(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=SCALE_TOLERANCE)
