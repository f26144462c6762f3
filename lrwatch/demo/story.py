"""What the demo tells at its end: one table, one sentence a change, and a verdict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import click

from lrwatch.report.model.timeline import LrChange

# A training may end this much above the same one alone, as a share: the bound of DESIGN's first promise, do no harm.
HARMLESS = 0.02

# Start rates nearer than this to the best one are called the best.
NEAR = 0.01


@dataclass(frozen=True, slots=True)
class Ending:
    """How the three trainings from one start rate ended.

    Attributes:
        lr: The start rate.
        alone, torch, lrwatch: Final validation loss without help, with torch's rule, and with lrwatch.
        changes: What lrwatch changed.
    """

    lr: float
    alone: float
    torch: float
    lrwatch: float
    changes: tuple[LrChange, ...]

    @property
    def gain(self) -> float:
        """The share by which the loss ended lower than alone; negative where it ended higher."""
        return 1 - self.lrwatch / self.alone


def tell(endings: Sequence[Ending], best: float, steps: int) -> list[str]:
    """Return the lines of the story.

    Args:
        endings: One for each start rate.
        best: The best constant rate.
        steps: Number of steps of each training.
    """
    titles = ("alone", "torch's rule", "with lrwatch")
    lines = [
        f"Loss on unseen data after {steps:,} steps; lower is better:",
        "",
        f"  {'start rate':28}" + "".join(f"{title:>14}" for title in titles),
    ]
    for ending in endings:
        name = f"{ending.lr:<6g} {_rate_in_words(ending.lr, best)}"
        losses = (ending.alone, ending.torch, ending.lrwatch)
        cells = [_cell(loss, best=loss == min(losses)) for loss in losses]
        lines.append(f"  {name:28}{''.join(cells)}   {_gain_in_words(ending.gain)}")
    for ending in endings:
        lines += ["", f"What lrwatch did from {ending.lr:g}:"]
        lines += [f"  {sentence}" for sentence in sentences(ending, steps)] or ["  It left the rate alone."]
    return [*lines, "", *verdict(endings)]


def verdict(endings: Sequence[Ending]) -> list[str]:
    """Return the result in one or two sentences, faults included."""
    faults = faults_of(endings)
    if faults:
        return [click.style(f"FAILED: {fault}", fg="red", bold=True) for fault in faults]
    said = f"On average the loss ended {_gain_in_words(mean_gain(endings))} alone, and {_gain_in_words(mean_gain(endings, 'torch'))} torch's rule."
    every = "Every change was acknowledged by its training."
    return [f"{click.style(said, fg='green', bold=True)} {every}"]


def faults_of(endings: Sequence[Ending]) -> list[str]:
    """Return what went wrong: a change without an acknowledgement, harm, or no gain on average."""
    found = []
    for ending in endings:
        lost = [change for change in ending.changes if change.answer != "acknowledged"]
        if lost:
            steps = ", ".join(f"{change.step}: {change.code or 'no answer'}" for change in lost)
            found.append(
                f"from {ending.lr:g} {len(lost)} of {len(ending.changes)} changes were not acknowledged (step {steps})"
            )
        if not ending.gain >= -HARMLESS:  # NaN is a fault
            found.append(f"from {ending.lr:g} the loss ended {_gain_in_words(ending.gain)} alone")
    if not mean_gain(endings) > 0:
        found.append(f"on average the loss ended {_gain_in_words(mean_gain(endings))} alone")
    return found


def mean_gain(endings: Sequence[Ending], against: str = "alone") -> float:
    """Return the gain over all start rates, as the geometric mean of the ratios.

    Args:
        endings: One for each start rate.
        against: The field to compare with: "alone" or "torch".
    """
    logs = [math.log(ending.lrwatch / getattr(ending, against)) for ending in endings]
    return 1 - math.exp(sum(logs) / len(logs))


def sentences(ending: Ending, steps: int) -> list[str]:
    """Return one sentence for each change of the learning rate; the way back belongs to the change that it undoes.

    Args:
        ending: How the training ended.
        steps: Its number of steps.
    """
    return [
        f"step {change.step or 0:>6,}  {_what(change, steps)} {_outcome(change, ending, i)}"
        for i, change in enumerate(ending.changes)
        if change.cause != "restore"
    ]


def _what(change: LrChange, steps: int) -> str:
    scale = change.scale or math.nan
    if change.cause == "anneal":
        return f"Lowered the rate along a line that ends near zero at step {steps:,}."
    return f"Tried the rate times {scale / change.before:.3g}."


def _outcome(change: LrChange, ending: Ending, i: int) -> str:
    if change.answer != "acknowledged":
        return click.style(f"Not acknowledged: {change.code or 'no answer'}.", fg="red")
    if change.cause == "anneal":
        said = f"the loss ended {_gain_in_words(ending.gain)} the same training alone."
        return f"{_proven()}: {said}" if ending.gain > 0 else f"Not proven: {said}"
    if change.taken_back is not None:
        back = ending.changes[change.taken_back - 1]
        return f"Taken back at step {back.answer_step or 0:,}: not proven to help."
    if change.effect is not None and change.effect.verdict == "helped":
        return f"{_proven()} to help, so it stayed."
    following = ending.changes[i + 1 :]
    return f"Not judged yet when {'the next change came' if following else 'the training ended'}."


def _proven() -> str:
    return click.style("Proven", fg="green")


def _cell(loss: float, *, best: bool) -> str:
    return click.style(f"{loss:>14.5f}", bold=best, fg="green" if best else None)


def _rate_in_words(lr: float, best: float) -> str:
    """Return where a rate stands beside the best.

    >>> [_rate_in_words(lr, 0.01) for lr in (0.003, 0.01, 0.03)]
    ['(a third of the best)', '(the best constant one)', '(3 times the best)']
    """
    ratio = lr / best
    if abs(ratio - 1) < NEAR:
        return "(the best constant one)"
    return (
        f"({ratio:.2g} times the best)"
        if ratio > 1
        else "(a third of the best)"
        if 0.3 <= ratio <= 0.34
        else f"({ratio:.2g} of the best)"
    )


def _gain_in_words(gain: float) -> str:
    """Return a gain as people read it.

    >>> _gain_in_words(0.485), _gain_in_words(-0.031), _gain_in_words(0.0002)
    ('48 % below', '3.1 % above', 'level with')
    """
    if abs(gain) < 0.0005:
        return "level with"
    size = 100 * abs(gain)
    shown = f"{size:.0f}" if size >= 10 else f"{size:.1f}"
    return f"{shown} % {'below' if gain > 0 else 'above'}"
