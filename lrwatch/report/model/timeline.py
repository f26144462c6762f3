"""The events of a run as a story: which change of the learning rate was asked for, answered, and what came of it.

Events come from journals of any age, so that a missing or odd field is shown as missing; no event is left out.
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np

from lrwatch.core.events import Counterfactual, Verdict
from lrwatch.core.events import verdict as said_by
from lrwatch.core.sample import Floats
from lrwatch.report.chart.axis import short
from lrwatch.report.model.data import Curve, ReportData

JsonEvent = Mapping[str, Any]
Answer = Literal["acknowledged", "rejected", ""]

# The level at the end of a run is the median of this last share of its values, so that no single batch decides it.
FINAL_SHARE = 0.01

# Two scales are the same if they differ by no more than the rounding of a decimal representation.
SCALE_TOLERANCE = 1e-9

# What a line needs to be drawn: numbers that can be squared, and steps that fit into an array.
LARGEST_LEVEL, LARGEST_STEP = 1e150, 2**53

# The reason of a change that nobody is known to have asked for.
_UNASKED = "no command in this record"

_NOUNS = {
    "plateau": ("plateau", "plateaus"),
    "divergence": ("divergence", "divergences"),
    "nonfinite": ("run of non-finite values", "runs of non-finite values"),
    "spike": ("spike", "spikes"),
    "oscillation": ("oscillation", "oscillations"),
    "overfitting": ("sign of overfitting", "signs of overfitting"),
    "too_slow": ("stretch that was too slow", "stretches that were too slow"),
    "stalled": ("stall", "stalls"),
}


@dataclass(frozen=True, slots=True)
class Gain:
    """A measured effect, relative to the level before; `lower` and `upper` bound it at 95 %.

    `step` is where it was measured, `line` what it was measured against; None in a journal that does not say.
    """

    gain: float
    lower: float
    upper: float
    message: str
    step: int | None = None
    line: Counterfactual | None = None

    @property
    def verdict(self) -> Verdict | None:
        """What the interval says; None where it is missing."""
        return None if math.isnan(self.gain + self.lower + self.upper) else said_by(self.lower, self.upper)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the learning rate, as far as it is known.

    Attributes:
        step: Where it was asked for; where it was answered, if nothing says who asked.
        before, scale: The scale before and the one asked for; None if the event does not say.
        reason: In words.
        answer: What the trainer said; empty while it said nothing.
        answer_step: Where it said so.
        code: Why it refused, in one word.
        generation: Number of the command, if the event carries it.
        cause: Why there was a command, in one word.
        place: Where the event that tells of it first stands among the events.
        taken_back: Number, from 1, of the change that undoes this one.
    """

    step: int | None
    before: float
    scale: float | None
    reason: str
    answer: Answer = ""
    answer_step: int | None = None
    code: str = ""
    effect: Gain | None = None
    generation: int | None = None
    cause: str = ""
    place: int = 0
    taken_back: int | None = None


def number(event: JsonEvent, key: str) -> float | None:
    """The number under a key, or None if it is none, not finite, or too large for a float."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= sys.float_info.max else None


def integer(event: JsonEvent, key: str) -> int | None:
    """The whole number under a key, or None."""
    value = number(event, key)
    return None if value is None else int(value)


def text(event: JsonEvent, key: str) -> str:
    """What lies under a key as text, empty if there is nothing."""
    value = event.get(key)
    return "" if value is None else str(value)


def of_kind(events: Iterable[JsonEvent], kind: str) -> list[JsonEvent]:
    """The events of one kind, in order."""
    return [e for e in events if e.get("event") == kind]


def changes(events: Iterable[JsonEvent]) -> list[Change]:
    """Commands with their answers and effects, in order.

    An answer belongs to the command of its generation, or, where events carry none, to the newest unanswered command
    of the same scale; an effect belongs to the newest command of its scale. One that fits nothing gets a row of its
    own, with the operator who asked for it, since what operators set is no command of a strategy. The scale before is the last acknowledged one; in a log that nobody answers it is the last one asked for.
    """
    events = list(events)
    answered = any(e.get("event") in ("acknowledged", "rejected") for e in events)
    found: list[Change] = []
    by_hand: list[JsonEvent] = []
    scale_now = 1.0
    for place, event in enumerate(events):
        scale, step = number(event, "scale"), integer(event, "step")
        match event.get("event"):
            case "command":
                reason, cause = text(event, "reason"), text(event, "cause")
                found.append(
                    Change(
                        step,
                        scale_now,
                        scale,
                        reason,
                        generation=integer(event, "generation"),
                        cause=cause,
                        place=place,
                    )
                )
                if not answered and scale is not None:
                    scale_now = scale
            case "acknowledged" | "rejected" as answer:
                at = _asked(found, event)
                if at is None:
                    found.append(replace(_set_by_hand(by_hand, event), before=scale_now, place=place))
                    at = len(found) - 1
                found[at] = replace(found[at], answer=answer, answer_step=step, code=text(event, "code"))
                if answer == "acknowledged":
                    scale_now = found[at].scale or scale_now
            case "effect":
                gain, lower, upper = (_or_nan(number(event, key)) for key in ("gain", "lower", "upper"))
                effect = Gain(gain, lower, upper, text(event, "message"), step, _line(event))
                at = next((i for i in _newest(found) if found[i].effect is None and _same(found[i].scale, scale)), None)
                if at is None:
                    found.append(Change(step, scale_now, scale, _UNASKED, effect=effect, place=place))
                else:
                    found[at] = replace(found[at], effect=effect)
            case "operator" if text(event, "verb") in ("set", "undo") and event.get("done") is not False:
                by_hand.append(event)
    return _taken_back(found)


def final_level(curve: Curve) -> float | None:
    """The level at the end of a curve: the median of its last finite values, or None if it has none."""
    values: Floats = np.asarray(curve.values, np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    tail = values[-math.ceil(FINAL_SHARE * len(values)) :]
    middle = (len(tail) - 1) // 2
    return float(np.partition(tail, middle)[middle])


def verdict(data: ReportData, rows: list[Change], series: str = "") -> str:
    """One paragraph: what was found, what was asked for and answered, whether it helped, and where the metric ended.

    `series` is a sentence about the changes that belong together.
    """
    return " ".join(part for part in (_found(data, rows), series, _helped(rows), _ended(data)) if part)


def _found(data: ReportData, rows: list[Change]) -> str:
    counts = Counter(text(e, "kind") or "unnamed" for e in of_kind(data.events, "finding"))
    kinds = []
    for kind, count in sorted(counts.items(), key=lambda pair: (*_NOUNS, pair[0]).index(pair[0])):
        one, many = _NOUNS.get(kind, (f"finding of kind {kind}", f"findings of kind {kind}"))
        kinds.append(f"{count:,} {one if count == 1 else many}")
    found = listed(kinds) if kinds else "No findings"
    if not rows:
        return f"{found}; no change of the learning rate was asked for."
    asked = f"{len(rows):,} {'change' if len(rows) == 1 else 'changes'} of the learning rate"
    acknowledged = sum(r.answer == "acknowledged" for r in rows)
    refused = sum(r.answer == "rejected" for r in rows)
    waiting = len(rows) - acknowledged - refused
    if waiting == len(rows):
        return f"{found}; {asked}, not acknowledged."
    if acknowledged == len(rows):
        return f"{found}; {asked}, {'acknowledged' if len(rows) == 1 else 'all acknowledged'}."
    parts = ((acknowledged, "acknowledged"), (refused, "refused"), (waiting, "without an answer"))
    return f"{found}; {asked}, {listed([f'{n:,} {word}' for n, word in parts if n])}."


def _helped(rows: list[Change]) -> str:
    said = Counter(r.effect.verdict for r in rows if r.effect is not None)
    parts: tuple[tuple[Verdict, str], ...] = (
        ("helped", "helped"),
        ("no certain gain", "brought no certain gain"),
        ("cost progress", "cost progress"),
    )
    told = [f"{said[verdict]:,} {words}" for verdict, words in parts if said[verdict]]
    if not told:
        return ""
    undone = sum(r.taken_back is not None for r in rows)
    back = f"; {undone:,} {'was' if undone == 1 else 'were'} taken back" if undone else ""
    return f"Measured against going on, {listed(told)}{back}."


def _ended(data: ReportData) -> str:
    for other in data.compare:
        mine = next((c for c in data.curves if c.name == other.name), data.curves[0] if data.curves else None)
        level, against = (final_level(mine) if mine else None), final_level(other)
        if mine and level is not None and against is not None:
            label = f" {data.comparison_label}" if data.comparison_label else " in the other run"
            return f"{mine.name} ends at {short(level)}, against {short(against)}{label}{_difference(level, against)}."
    watched = data.curves[0] if data.curves else None
    level = final_level(watched) if watched else None
    if watched is None or not len(watched.values):
        return f"There are no values of {data.metric or 'any metric'}."
    if level is None:
        return f"None of the {len(watched.values):,} values of {watched.name} is finite."
    return f"{watched.name} ends at {short(level)}."


def _difference(level: float, against: float) -> str:
    if against == 0 or level == against:
        return ""
    share = abs(level / against - 1)
    if not 0.0005 <= share < 10:
        return ""
    return f" ({100 * share:.1f}\u00a0% {'lower' if level < against else 'higher'})"


def _asked(found: list[Change], answer: JsonEvent) -> int | None:
    """Index of the change that an answer belongs to."""
    generation, scale = integer(answer, "generation"), number(answer, "scale")
    waiting = [i for i in _newest(found) if not found[i].answer]
    for i in waiting:
        if generation is not None and found[i].generation == generation:
            return i
    # A refusal may name the scale that stays in force instead of the one that was asked for.
    loose = answer.get("event") == "rejected" or scale is None
    for i in waiting:
        unnumbered = generation is None or found[i].generation is None
        if unnumbered and (_same(found[i].scale, scale) or loose):
            return i
    return None


def _set_by_hand(by_hand: list[JsonEvent], answer: JsonEvent) -> Change:
    """The change that `answer` tells of, by the newest order that fits, which is taken out of `by_hand`."""
    refused, scale = answer.get("event") == "rejected", number(answer, "scale")
    for i in range(len(by_hand) - 1, -1, -1):
        order, asked = by_hand[i], _scale_of(by_hand[i])
        # A refusal names the scale that stays in force.
        if asked is None or refused or _same(asked, scale):
            del by_hand[i]
            reason = f"{text(order, 'actor') or 'an operator'} asked for it"
            return Change(integer(order, "step"), 1.0, scale if asked is None else asked, reason, cause="operator")
    return Change(integer(answer, "step"), 1.0, scale, text(answer, "reason") or _UNASKED)


def _scale_of(order: JsonEvent) -> float | None:
    """The scale that an operator set; None for an undo."""
    try:
        scale = float(text(order, "argument"))
    except ValueError:
        return None
    return scale if math.isfinite(scale) else None


def _taken_back(found: list[Change]) -> list[Change]:
    """The changes, each with the number of the one that undoes it: one to restore, that was not refused, undoes the newest."""
    for number, change in enumerate(found, 1):
        if change.cause != "restore" or change.answer == "rejected":
            continue
        for i in range(number - 2, -1, -1):
            if found[i].cause == "restore" and found[i].answer != "rejected":
                break  # the same one, further up: one command may not go all the way
            if found[i].answer != "rejected":
                found[i] = replace(found[i], taken_back=number)
                break
    return found


def _line(event: JsonEvent) -> Counterfactual | None:
    """What an effect was measured against, or None where anything of it is missing or odd."""
    step = integer(event, "step")
    values = {field.name: number(event, field.name) for field in fields(Counterfactual)}
    since = values.pop("since")
    levels = {name: value for name, value in values.items() if value is not None and abs(value) < LARGEST_LEVEL}
    if step is None or since is None or not -LARGEST_STEP < since < step < LARGEST_STEP or len(levels) < len(values):
        return None
    return Counterfactual(int(since), **levels)


def _newest(found: list[Change]) -> Iterable[int]:
    return range(len(found) - 1, -1, -1)


def _same(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=SCALE_TOLERANCE)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def sentence(words: str) -> str:
    """Words with a capital at their beginning and a full stop at their end.

    >>> sentence("no range test: mode must be auto")
    'No range test: mode must be auto.'
    """
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith((".", "!", "?")) or not words else ".")


def listed(parts: list[str]) -> str:
    """Parts of a sentence, with commas and an `and`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
