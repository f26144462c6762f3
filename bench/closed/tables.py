"""Tables: all competitors relative to the tuned cosine, lrwatch beside each of them, and every figure of every cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from statistics import fmean, geometric_mean, stdev

from bench.closed import controllers
from bench.closed.controllers import (
    CONSTANT,
    COSINE,
    GREEDY,
    GRID,
    KNOWN,
    LRWATCH,
    LRWATCH_AVERAGED,
    PLATEAU,
    STEPS,
    WARM,
)
from bench.closed.run import STARTS, Measured, one_for_all, ratio, ratios

# Limit of lrwatch's mean ratio to the tuned cosine on the real trainings, at its defaults.
WITHIN = 1.03

# Ratio of losses that counts as equal: below the resolution of an evaluation.
EQUAL = 1.001

STARTS_ARE = ("a third of the best", "the best", "three times the best")
COLUMNS = ("best / 3", "best", "best x 3")

# Row of the setting of torch's rule that is best over all cells and starts.
ONE = "one of the grid"

# Rows of the table: competitor, label, and what was tuned on the results of the runs shown.
ROWS = (
    (CONSTANT, "tuned constant", "learning rate, for each cell and length"),
    (COSINE, "tuned cosine", "learning rate, for each cell and length; knows the length"),
    (STEPS, "tuned steps, a tenth at 1/2 and at 3/4", "learning rate, for each cell and length; knows the length"),
    (CONSTANT, "constant", "nothing"),
    (COSINE, "cosine", "nothing, but knows the length"),
    (controllers.LINEAR, "linear to zero", "nothing, but knows the length"),
    (controllers.WSD20, "WSD, decay in the last 20 %", "nothing, but knows the length"),
    (controllers.WSD40, "WSD, decay in the last 40 %", "nothing, but knows the length"),
    (controllers.WARM_WSD40, "warm-up of 4 %, WSD 40", "nothing, but knows the length"),
    (PLATEAU, "torch `ReduceLROnPlateau`", "nothing; fed with means of 100 steps"),
    (ONE, "torch `ReduceLROnPlateau`, one of its grid for all", "{one}: the best on the mean over the cells tuned on"),
    (GRID, "torch `ReduceLROnPlateau`, best of grid", "patience, factor and window, for each cell, start and length"),
    (GREEDY, "GreedyLR", "better of two feeds, for each cell, start and length; lower bound set"),
    (controllers.ADALRS_COSINE, "AdaLRS on a cosine", "nothing, but knows the length"),
    (controllers.ADALRS_WSD40, "AdaLRS on WSD, decay in the last 40 %", "nothing, but knows the length"),
    (controllers.CONSTANT_AVERAGED, "constant, an average of the weights", "nothing"),
    (LRWATCH, "**lrwatch**", "nothing"),
    (LRWATCH_AVERAGED, "**lrwatch, an average of the weights**", "nothing"),
    (KNOWN, "**lrwatch, N steps**", "nothing, but knows the length"),
    (WARM, "**lrwatch, N steps, warm start**", "nothing, but knows the length"),
)
TUNED = 3
"""Number of rows of tuned schedules, which choose their learning rate; the others start at a given rate."""

SCHEDULES = {CONSTANT, controllers.CONSTANT_AVERAGED, *(name for name, _ in controllers.STARTED)}


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
    if not outcomes or name in SCHEDULES:
        return "-"
    cuts = fmean(outcome.cuts(max(outcome.losses)) for outcome in outcomes)
    raised = fmean(outcome.raises(max(outcome.losses)) for outcome in outcomes)
    return f"{cuts:.1f}" + (f", {raised:.1f} up" if raised >= 0.05 else "")


def summary(found: Sequence[Measured]) -> str:
    """Make the tables by length and start rate: held-out cells, the others, and the problems of known risk."""
    one = one_for_all(found)
    real = [measured for measured in found if measured.cell.optimizer]
    problems = [measured for measured in found if not measured.cell.optimizer]
    parts = (
        ("Held out: nothing was tuned on these trainings", [m for m in real if m.cell.held_out], "mean"),
        ("Trainings that the strategies were tuned on", [m for m in real if not m.cell.held_out], "mean"),
        ("Problems of known risk, over the best of many schedules in hindsight", problems, "geometric"),
    )
    return "\n".join(f"## {title}\n\n{_table(cells, one, mean)}" for title, cells, mean in parts if cells)


def _table(found: Sequence[Measured], one: str, mean: str) -> str:
    """Make one table: the mean over the cells of each final loss over that of the reference, and the worst."""
    where = COLUMNS if found[0].cell.optimizer else [f"rate {rate:g}" for rate in found[0].starts]
    places = list(product(range(len(found[0].reads)), range(len(where))))
    columns = [f"{found[0].reads[length]:,}, {where[start]}" for length, start in places]
    lines = [f"| {' | '.join(['who', 'tuned in hindsight', *columns, 'all', 'cuts'])} |"]
    lines.append("|---" * (len(columns) + 4) + "|")
    for row, (who, label, tuned) in enumerate(ROWS):
        name, setting = (GRID, one) if who == ONE else (who, None)
        settings = {at for measured in found for at, _ in measured.group(name)}
        # Not measured here, or not installed; and a grid of one setting has no best one.
        if not settings or (who == GRID and len(settings) < 2):
            continue
        if row < TUNED and mean == "geometric":  # no rate is tuned on a problem
            continue
        if row < TUNED:  # a tuned rate is no start rate: one figure for each length, in the column of the best
            each = [ratios(found, name, length, None) if start == 1 else [] for length, start in places]
        else:
            each = [ratios(found, name, length, start, setting) for length, start in places]
        cells = [_shown(at, mean) for at in each]
        cells += [_shown([r for at in each for r in at], mean), _cuts(found, name, setting)]
        lines.append("| " + " | ".join([label, tuned.format(one=one), *cells]) + " |")
    return "\n".join(lines) + "\n"


def ends(found: Sequence[Measured]) -> list[str]:
    """Say for each lrwatch where it ends over all starts and lengths, the held-out cells apart."""
    one, lines = one_for_all(found), []
    real = [measured for measured in found if measured.cell.optimizer]
    for held_out, name in product((True, False), (LRWATCH, LRWATCH_AVERAGED, KNOWN, WARM)):
        chosen = [measured for measured in real if measured.cell.held_out == held_out and measured.group(name)]
        if not chosen:
            continue
        us: dict[str, float] = {}
        theirs: list[float] = []
        for length, start in product((0, 1), range(len(STARTS))):
            for measured, lost in zip(chosen, ratios(chosen, name, length, start), strict=True):
                us[f"{measured.cell.name} at {measured.reads[length]:,} steps from {STARTS_ARE[start]}"] = lost
            theirs += ratios(chosen, GRID, length, start, one)
        worst = max(us, key=lambda place: us[place])
        level = sum(lost <= EQUAL for lost in us.values())
        beside = sum(lost <= EQUAL * their for lost, their in zip(us.values(), theirs, strict=True))
        lines.append(
            f"- {'held out' if held_out else 'tuned on'}, {name}: {fmean(us.values()):.3f} of the tuned cosine on the mean; "
            f"at or below it in {level} of {len(us)} runs; worst {_figure(us[worst])}, {worst}"
            + (f"; at or below the one setting of torch's rule in {beside} of {len(us)}" if one else "")
        )
    return lines


def answers(found: Sequence[Measured]) -> str:
    """Compare lrwatch with each competitor, in a line each."""
    real = [measured for measured in found if measured.cell.optimizer and not measured.cell.held_out]
    if not all(measured.group(LRWATCH) and measured.group(GRID) for measured in real):
        real = []
    lines = ["Over all starts and lengths:", "", *ends(found), ""] + (_beside_torch(real) if real else [])
    lines += [
        f"The best rate of {measured.cell.name} is at the edge of its sweep: a better one may lie beyond."
        for measured in found
        if measured.edge
    ]
    return "\n".join(lines) + "\n"


def _beside_torch(real: Sequence[Measured]) -> list[str]:
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
    return lines


def ratios_at_starts(real: Sequence[Measured], length: int) -> list[float]:
    """Return `ratios` of the grid of torch's rule, at the best setting and start rate."""
    return [ratio(m, m.tuned(GRID, m.reads[length], m.starts), m.reads[length]) for m in real]


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
            f"| who | setting | starts at | {' | '.join(f'{steps:,} steps' for steps in reads)} | cuts, raises |",
            "|---" * (4 + len(reads)) + "|",
        ]
        for name in dict.fromkeys(name for name, _, _ in ROWS if name != ONE):
            for (setting, rate), outcomes in sorted(measured.group(name).items()):
                shown = [_spread([o.losses[steps] for o in outcomes if steps in o.losses]) for steps in reads]
                last = max(outcomes[0].losses)
                turned = "; ".join(f"{o.cuts(last)}, {o.raises(last)}" for o in outcomes)
                turned = "" if name in SCHEDULES else turned
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
