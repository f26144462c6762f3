"""Tables: final losses with lrwatch over those with the constant rate, and the changes that it made."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from bench.harm.run import Harm
from bench.harm.training import Result

WITHIN = 1.02
"""The promise: a training that does well ends within 2 % of its constant rate."""

# Changes of a run that are listed; the others are counted.
LISTED = 6

SEEN, UNSEEN = "Seen while the strategies were tuned", "Unseen: nothing was tuned on these trainings or seeds"


def report(harms: Sequence[Harm]) -> str:
    """Make the tables of ratios, what was seen in tuning apart from what was not."""
    parts = []
    for title, unseen in ((UNSEEN, True), (SEEN, False)):
        chosen = [harm for harm in harms if harm.unseen == unseen]
        if chosen:
            parts += [f"## {title}", "", _ratios(chosen), _summary(chosen)]
    return "\n".join(parts)


def _ratios(harms: Sequence[Harm]) -> str:
    who = list(harms[0].watched)
    lines = [f"| training | seed | constant | {' | '.join(who)} |", "|---" * (3 + len(who)) + "|"]
    for harm in harms:
        shown = [_ratio(harm.ratio(one)) for one in who]
        lines.append(f"| {harm.training} | {harm.seed} | {harm.constant:.4g} | {' | '.join(shown)} |")
    each = {one: [harm.ratio(one) for harm in harms] for one in who}
    lines.append(f"| **mean** | | | {' | '.join(_ratio(fmean(ratios)) for ratios in each.values())} |")
    lines.append(f"| **worst** | | | {' | '.join(_ratio(max(ratios)) for ratios in each.values())} |")
    return "\n".join(lines) + "\n"


def _ratio(ratio: float) -> str:
    if not math.isfinite(ratio):
        return "blew up"
    shown = f"{ratio:.3f}" if ratio < 10 else f"{ratio:.3g}"
    return shown if ratio <= WITHIN else f"**{shown}**"


def _summary(harms: Sequence[Harm]) -> str:
    lines = []
    for one in harms[0].watched:
        over = sorted((harm for harm in harms if not harm.ratio(one) <= WITHIN), key=lambda harm: -harm.ratio(one))
        named = "".join(f"; {harm.training} {harm.seed}: {_ratio(harm.ratio(one)).strip('*')}" for harm in over)
        lines.append(
            f"- {one}: {len(harms) - len(over)} of {len(harms)} within {100 * (WITHIN - 1):.0f} % of the constant rate{named}"
        )
    return "\n".join(lines) + "\n"


def changes(harms: Sequence[Harm]) -> str:
    """Make the table of changes: completed steps and the new scale; a ramp is one change, with its last scale."""
    lines = ["## Changes", "", "| training | seed | who | steps: scale |", "|---|---|---|---|"]
    for harm in harms:
        for one, result in harm.watched.items():
            lines.append(f"| {harm.training} | {harm.seed} | {one} | {_moves(result)} |")
    return "\n".join(lines) + "\n"


def _moves(result: Result) -> str:
    listed = [f"{step:,}: {scale:.3g}" for step, scale in result.moves[:LISTED]]
    rest = len(result.moves) - len(listed)
    return "; ".join(listed + ([f"and {rest} more"] if rest else []))
