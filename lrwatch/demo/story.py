"""What the demo tells at its end: one table, one sentence a change, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import click

from lrwatch.demo.data import NOISE
from lrwatch.report.model.timeline import LrChange

# The first promise: with lrwatch no training ends higher by more than this share. Of one training less may be chance.
HARMLESS = 0.02

# Measured in November 2026 with the demo itself, on a busy machine of two cores: all ten passed.
OTHER_SEEDS = "Seeds 1 to 10 (--seed N) ended 3 to 9 % lower than alone; against torch's rule 2 % lower at best, 1 % higher at worst."

# Ratios nearer to 1 than this are no difference.
SAME = 0.0005


@dataclass(frozen=True, slots=True)
class Ending:
    """How the three trainings from one start rate ended.

    Attributes:
        lr: The start rate.
        alone, torch, lrwatch: Final validation loss without help, with torch's rule, and with lrwatch.
        changes: What lrwatch changed, the ways back and what came too late to be sent included.
    """

    lr: float
    alone: float
    torch: float
    lrwatch: float
    changes: tuple[LrChange, ...]

    @property
    def sent(self) -> list[LrChange]:
        """The changes that were sent to the training."""
        return [change for change in self.changes if not change.not_taken_up]

    @property
    def ratio(self) -> float:
        """The loss with lrwatch as a multiple of that alone."""
        return self.lrwatch / self.alone


def tell(endings: Sequence[Ending], best: float, steps: int) -> list[str]:
    """Return the lines of the story.

    Args:
        endings: One for each start rate.
        best: The best constant rate.
        steps: Number of steps of each training.
    """
    titles = ("alone", "torch's rule", "with lrwatch")
    lines = [f"Loss on unseen data after {steps:,} steps; lower is better:", ""]
    lines.append(f"  {'start rate':31}{''.join(f'{title:>14}' for title in titles)}")
    for ending in endings:
        losses = (ending.alone, ending.torch, ending.lrwatch)
        cells = "".join(_cell(loss, is_best=loss == min(losses)) for loss in losses)
        lines.append(f"  {ending.lr:<7g}{_place(ending.lr, best):24}{cells}  {_compared(ending.ratio)} than alone")
    for ending in endings:
        lines += ["", f"What lrwatch did from {ending.lr:g}:"]
        lines += [f"  {sentence}" for sentence in sentences(ending, steps)] or ["  It left the rate as it was."]
    return [*lines, "", *verdict(endings)]


def verdict(endings: Sequence[Ending]) -> list[str]:
    """Return the result in a few sentences: what went wrong, or what lrwatch brought."""
    faults = faults_of(endings)
    if faults:
        return [click.style(f"FAILED: {fault}.", fg="red", bold=True) for fault in faults]
    alone, torch = mean_ratio(endings, "alone"), mean_ratio(endings, "torch")
    floor = NOISE**2
    said = f"With lrwatch the loss ended {_compared(alone)} than alone and {_compared(torch)} than with torch's rule, on average."
    left = f"{floor:g} of each loss is noise in the data, which no training takes away. Of what is above that"
    lines = [
        click.style(said, fg="green", bold=True),
        f"{left}, {100 * _above(floor, endings):.0f} % is left.",
        "Every change was acknowledged by its training.",
        OTHER_SEEDS,
    ]
    higher = [ending for ending in endings if ending.ratio > 1 + SAME]
    lines += [
        f"From {ending.lr:g} it ended {_compared(ending.ratio)}: of one training, up to {100 * HARMLESS:g} % may be chance."
        for ending in higher
    ]
    return lines


def faults_of(endings: Sequence[Ending]) -> list[str]:
    """Return what went wrong: a change without an acknowledgement, harm, or no gain on average."""
    found = []
    for ending in endings:
        lost = [change for change in ending.sent if change.answer != "acknowledged"]
        if lost:
            steps = ", ".join(f"step {change.step}: {change.code or 'no answer'}" for change in lost)
            found.append(
                f"from {ending.lr:g} {len(lost)} of {len(ending.sent)} changes were not acknowledged ({steps})"
            )
        if not ending.ratio <= 1 + HARMLESS:  # NaN is a fault
            found.append(f"from {ending.lr:g} the loss ended {_compared(ending.ratio)} than alone")
    if not mean_ratio(endings, "alone") < 1:
        found.append(f"on average the loss ended {_compared(mean_ratio(endings, 'alone'))} than alone")
    return found


def mean_ratio(endings: Sequence[Ending], against: Literal["alone", "torch"]) -> float:
    """Return the loss with lrwatch as a multiple of another one, as the geometric mean over all start rates.

    Args:
        endings: One for each start rate.
        against: What to compare with.
    """
    ratios = [ending.lrwatch / (ending.alone if against == "alone" else ending.torch) for ending in endings]
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def sentences(ending: Ending, steps: int) -> list[str]:
    """Return one sentence for each change of the learning rate; the way back belongs to the change that it undoes.

    Args:
        ending: How the training ended.
        steps: Its number of steps.
    """
    return [
        f"step {change.step or 0:>6,}: {_what(change, steps)} {_outcome(change, ending, i)}"
        for i, change in enumerate(ending.changes)
        if change.cause != "restore" and not change.not_taken_up
    ]


def _what(change: LrChange, steps: int) -> str:
    if change.cause == "anneal":
        return f"lowered the rate along a line to almost zero at step {steps:,}."
    ratio = (change.scale or math.nan) / change.before
    size = "half the rate" if ratio == 0.5 else f"{ratio:.3g} times the rate"
    return f"went to {size} for good." if change.cause == "plateau" else f"tried {size}."


def _outcome(change: LrChange, ending: Ending, i: int) -> str:
    if change.answer != "acknowledged":
        return click.style(f"Not acknowledged: {change.code or 'no answer'}.", fg="red")
    if change.cause == "anneal":
        said = f"the loss ended {_compared(ending.ratio)} than in the same training alone."
        return f"{_proven()}: {said}" if ending.ratio < 1 else f"Not proven: {said}"
    if change.taken_back is not None:
        back = ending.changes[change.taken_back - 1]
        following = ending.changes[change.taken_back : change.taken_back + 1]
        if following and (following[0].cause, following[0].scale) == ("plateau", change.scale):
            return f"The loss was lower, and rose again when the rate went back at step {back.answer_step or 0:,}."
        return f"Taken back at step {back.answer_step or 0:,}: not proven to bring more than it costs."
    if change.effect is not None and change.effect.verdict == "helped":
        return f"{_proven()} to help, so it stayed."
    return f"Not judged when {'the next change came' if ending.changes[i + 1 :] else 'the training ended'}."


def _proven() -> str:
    return click.style("Proven", fg="green")


def _above(floor: float, endings: Sequence[Ending]) -> float:
    """Return the part of the loss above `floor` that is left of that of the trainings alone."""
    return sum(ending.lrwatch - floor for ending in endings) / sum(ending.alone - floor for ending in endings)


def _cell(loss: float, *, is_best: bool) -> str:
    return click.style(f"{loss:>14.4f}", fg="green", bold=True) if is_best else f"{loss:>14.4f}"


def _place(lr: float, best: float) -> str:
    """Return where a rate stands beside the best.

    >>> [_place(lr, 0.01) for lr in (0.003, 0.01, 0.03)]
    ['0.3 times the best', 'the best constant rate', '3 times the best']
    """
    return "the best constant rate" if lr == best else f"{lr / best:.2g} times the best"


def _compared(ratio: float) -> str:
    """Return a ratio of two losses in words, to stand before "than".

    >>> _compared(0.515), _compared(1.0312), _compared(1.0002)
    ('48 % lower', '3.1 % higher', 'no lower')
    """
    if abs(ratio - 1) < SAME:
        return "no lower"
    size = 100 * abs(ratio - 1)
    return f"{size:.{0 if size >= 10 else 1}f} % {'lower' if ratio < 1 else 'higher'}"
