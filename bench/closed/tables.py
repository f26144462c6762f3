"""Tables: all competitors relative to the tuned cosine, lrwatch beside each of them, and every figure of every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, geometric_mean, stdev

from bench.closed.controllers import CONSTANT, COSINE, GREEDY, GRID, LRWATCH, PLATEAU, STEPS
from bench.closed.play import Outcome
from bench.closed.run import Measured, mean_loss

# Limit of lrwatch's mean ratio to the tuned cosine on the real trainings, at its defaults.
WITHIN = 1.03

# Ratio of losses that counts as equal: below the resolution of an evaluation.
EQUAL = 1.001

STARTS_ARE = ("a third of the best", "the best", "three times the best")

# Row of the setting of torch's rule that is best over all cells and starts.
ONE = "one of the grid"

# Rows of the table: competitor, label, and what was tuned on the results of the runs shown.
ROWS = (
    (CONSTANT, "tuned constant", "learning rate, for each cell and length"),
    (COSINE, "tuned cosine", "learning rate, for each cell and length; knows the length"),
    (STEPS, "tuned steps, a tenth at 1/2 and at 3/4", "learning rate, for each cell and length; knows the length"),
    (COSINE, "cosine", "nothing, but knows the length"),
    (CONSTANT, "constant", "nothing"),
    (PLATEAU, "torch `ReduceLROnPlateau`", "nothing; fed with means of 100 steps"),
    (ONE, "torch `ReduceLROnPlateau`, one of its grid for all", "{one}: the best on the mean over all"),
    (GRID, "torch `ReduceLROnPlateau`, best of grid", "patience, factor and window, for each cell, start and length"),
    (GREEDY, "GreedyLR", "better of two feeds, for each cell, start and length; lower bound set"),
    (LRWATCH, "**lrwatch**", "nothing"),
)
TUNED = 3
"""Number of rows of tuned schedules, which choose their learning rate; the others start at a given rate."""


def _ratio(measured: Measured, outcomes: Sequence[Outcome], steps: int) -> float:
    return mean_loss(outcomes, steps) / measured.reference(steps)


def ratios(
    found: Sequence[Measured], name: str, length: int, start: int | None, setting: str | None = None
) -> list[float]:
    """Return for each cell the final loss over that of the reference.

    Args:
        found: The cells.
        name: Name of the controller.
        length: 0 for the shorter length, 1 for the longer one.
        start: Index of the start rate; None for the best of all rates.
        setting: Setting of the controller; the best one unless given.
    """
    out = []
    for measured in found:
        steps = measured.reads[length]
        starts = None if start is None else (measured.starts[start],)
        out.append(_ratio(measured, measured.tuned(name, steps, starts, setting), steps))
    return out


def one_for_all(found: Sequence[Measured]) -> str:
    """Return the setting of torch's rule with the best mean over all cells, starts and lengths."""
    settings = sorted({setting for measured in found for setting, _ in measured.group(GRID)})

    def mean(setting: str) -> float:
        return geometric_mean(
            [r for length in (0, 1) for start in range(3) for r in ratios(found, GRID, length, start, setting)]
        )

    return min(settings, key=mean, default="")


def _shown(each: Sequence[float], mean: str = "mean") -> str:
    if not each or any(math.isinf(ratio) for ratio in each):
        blown = sum(math.isinf(ratio) for ratio in each)
        return f"{blown} of {len(each)} blew up" if each else "-"
    middle = geometric_mean(each) if mean == "geometric" else fmean(each)
    return f"{_figure(middle)} ({_figure(max(each))})"


def _figure(ratio: float) -> str:
    return f"{ratio:.3f}" if ratio < 10 else f"{ratio:.3g}"


def _cuts(found: Sequence[Measured], name: str, setting: str | None) -> str:
    outcomes = [
        outcome
        for measured in found
        for start in measured.starts
        for outcome in measured.tuned(name, measured.reads[-1], (start,), setting)
    ]
    if not outcomes or name in (CONSTANT, COSINE, STEPS):
        return "-"
    cuts = fmean(outcome.cuts(max(outcome.losses)) for outcome in outcomes)
    raised = fmean(outcome.raises(max(outcome.losses)) for outcome in outcomes)
    return f"{cuts:.1f}" + (f", {raised:.1f} taken back" if raised >= 0.05 else "")


def summary(found: Sequence[Measured]) -> str:
    """Make the table of the README."""
    real = [measured for measured in found if measured.cell.optimizer]
    problems = [measured for measured in found if not measured.cell.optimizer]
    short, long = real[0].reads if real else (0, 0)
    columns = ["who", "tuned in hindsight", f"{short:,} steps", f"{long:,} steps"]
    columns += [f"{long:,}, from a third", f"{long:,}, from three times", "cuts", "problems of known risk"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    one = one_for_all(real or found)
    for row, (who, label, tuned) in enumerate(ROWS):
        name, setting = (GRID, one) if who == ONE else (who, None)
        if not any(measured.group(name) for measured in found):  # its library is not installed
            continue
        if row < TUNED:
            cells = [_shown(ratios(real, name, length, None)) for length in (0, 1)] + ["-"] * 4
        else:
            cells = [_shown(ratios(real, name, *at, setting)) for at in ((0, 1), (1, 1), (1, 0), (1, 2))]
            every = [
                r for length in (0, 1) for start in range(3) for r in ratios(problems, name, length, start, setting)
            ]
            cells += [_cuts(real, name, setting), "-" if name == COSINE else _shown(every, "geometric")]
        lines.append("| " + " | ".join([label, tuned.format(one=one), *cells]) + " |")
    return "\n".join(lines) + "\n"


def answers(found: Sequence[Measured]) -> str:
    """Compare lrwatch with each competitor, in a line each."""
    real = [measured for measured in found if measured.cell.optimizer]
    if not real:
        return ""
    one = one_for_all(real)
    lines = [f"The setting of torch's rule that would have been the best one for all cells and starts: {one}.", ""]
    for length, steps in enumerate(real[0].reads):
        lines += [f"After {steps:,} steps:", ""]
        for start, where in enumerate(STARTS_ARE):
            us = ratios(real, LRWATCH, length, start)
            others = {
                "the best of the grid from the same start": ratios(real, GRID, length, start),
                "the best of the grid from its best start": ratios_at_starts(real, length),
                "the one setting for all from the same start": ratios(real, GRID, length, start, one),
            }
            for they, theirs in others.items():
                lost = {m.cell.name: u / t for m, u, t in zip(real, us, theirs, strict=True) if not u <= EQUAL * t}
                lines.append(
                    f"- from {where}: at or below {they} in {len(real) - len(lost)} of {len(real)} cells"
                    + "".join(f"; {name} {100 * (over - 1):+.1f} %" for name, over in lost.items())
                )
            mean = fmean(us)
            lines.append(
                f"- from {where}: {mean:.3f} of the tuned cosine on the mean, "
                f"{'within' if mean <= WITHIN else 'not within'} {100 * (WITHIN - 1):.0f} %; "
                + ", ".join(f"{m.cell.name} {ratio:.3f}" for m, ratio in zip(real, us, strict=True))
            )
        lines.append("")
    for measured in found:
        if measured.edge:
            lines.append(
                f"The best rate of {measured.cell.name} is at the edge of its sweep: a better one may lie beyond."
            )
    return "\n".join(lines) + "\n"


def ratios_at_starts(real: Sequence[Measured], length: int) -> list[float]:
    """Return `ratios` of the grid of torch's rule, at the best setting and start rate."""
    return [_ratio(m, m.tuned(GRID, m.reads[length], m.starts), m.reads[length]) for m in real]


def details(found: Sequence[Measured]) -> str:
    """Make the table of every cell: mean over the seeds with its standard deviation, and the cuts of each seed."""
    lines = []
    for measured in found:
        reads = measured.reads
        lines += ["", f"### {measured.cell.name}", ""]
        if measured.best:
            known = ", ".join(f"{_loss(measured.best[steps])} after {steps:,} steps" for steps in reads)
            lines += [f"The best schedule in hindsight: {known}.", ""]
        lines += [
            f"| who | setting | starts at | {' | '.join(f'{steps:,} steps' for steps in reads)} | cuts, taken back |",
            "|---" * (4 + len(reads)) + "|",
        ]
        for name in (CONSTANT, COSINE, STEPS, PLATEAU, GRID, GREEDY, LRWATCH):
            for (setting, rate), outcomes in sorted(measured.group(name).items()):
                shown = [_spread([o.losses[steps] for o in outcomes if steps in o.losses]) for steps in reads]
                last = max(outcomes[0].losses)
                turned = "; ".join(f"{o.cuts(last)}, {o.raises(last)}" for o in outcomes)
                turned = "" if name in (CONSTANT, COSINE, STEPS) else turned
                lines.append(f"| {name} | {setting} | {rate:.4g} | {' | '.join(shown)} | {turned} |")
    return "\n".join(lines) + "\n"


def _loss(loss: float) -> str:
    return f"{loss:.4g}"


def _spread(losses: Sequence[float]) -> str:
    if not losses:
        return ""
    if any(math.isinf(loss) for loss in losses):
        return "blew up"
    return _loss(fmean(losses)) + (f" ± {stdev(losses):.2g}" if len(losses) > 1 else "")
