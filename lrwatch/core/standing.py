"""The state of a metric, as one word and one sentence, for `status`, `replay`, `report`, the pages and the exporter.

There is no silence: while the noise hides the required improvement, the sentence says so, and by about which step it will not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from lrwatch.core.names import is_of_a_game
from lrwatch.core.options import DetectOptions, Horizon
from lrwatch.core.snapshot import MetricState
from lrwatch.core.stats.slope import MIN_BLOCKS
from lrwatch.core.words import estimate, moves, percent

if TYPE_CHECKING:
    from lrwatch.core.detectors.plateau import Trend
    from lrwatch.core.tracker import Tracker

# Significant digits of a step that is an estimate.
ABOUT_DIGITS = 2

# Where no step can be named: a fixed horizon keeps windows of some twenty horizons, and no more.
HORIZON_TOO_SHORT = "; a longer [detect] horizon can tell, this one cannot"

NOT_WATCHED = "not judged: its name is not that of a loss (--metric NAME watches it)"


class Standing(NamedTuple):
    """One state of one metric.

    Attributes:
        state: One of `MetricState`.
        words: The state as a sentence, with its numbers and reasons.
        since: The step at which the plateau, or the rise, was found; else None.
        tells_at: The step by about which it can tell, while it cannot and where that can be said; else None.
    """

    state: MetricState
    words: str
    since: int | None = None
    tells_at: int | None = None


def standing(
    tracker: Tracker, trend: Trend | None, value: float, options: DetectOptions, *, improved: bool
) -> Standing:
    """Return where a watched metric stands.

    Args:
        tracker: Its detectors.
        trend: Its newest trend in this phase, or None before there is one.
        value: Its newest value.
        options: What counts as a plateau.
        improved: Whether it has improved significantly since the run began.
    """
    if not tracker.judged:
        is_game = is_of_a_game(tracker.metric)
        why = (
            "it is the loss of a game between two networks, whose level says nothing about the training"
            if is_game
            else "it is a running mean since the start of the epoch"
        )
        return Standing("not_judged", f"not judged: {why}")
    if not math.isfinite(value):
        return Standing("not_judged", f"not judged: its newest value is {value}")
    tells_at, since = tracker.tells_at, tracker.plateau_since
    if trend is None:
        return Standing(
            "cannot_tell_yet", f"cannot tell yet: {_too_few(tracker, options)}{_by(tells_at)}", None, tells_at
        )
    moved = f"{moves(trend.improvement, _estimate(trend, options))} per {trend.horizon:,.0f} steps"
    if trend.state == "improving":
        return Standing("improving", f"improving: {moved.removeprefix('improves ')}")
    found = trend.step if since is None else since
    if trend.gets_worse:
        word = "rising" if options.direction == "min" else "falling, and it should rise"
        return Standing(
            "rising",
            f"{word}: by {_estimate(trend, options)} per {trend.horizon:,.0f} steps, since step {found:,}",
            found,
        )
    if trend.state == "plateau":
        advice = (
            "" if improved else "; it has not surely improved since the run began, so lrwatch does nothing about it"
        )
        return Standing("plateau", f"plateau since step {found:,}: {moved}, {_is_asked(trend, options)}{advice}", found)
    again = "" if since is None else f" whether it improves again after the plateau of step {since:,}"
    why = _why_undecided(trend, options)
    return Standing(
        "cannot_tell_yet",
        f"cannot tell yet{again}: {moved}, {why}{_by(tells_at) or _never(trend, options)}{_at_one_look(trend, options)}",
        None,
        tells_at,
    )


def at_one_look(trend: Trend, options: DetectOptions) -> str:
    """Return why a bound that is valid at one look makes no plateau, as a sentence without its end; "" where the trend is a plateau.

    Strategies may act on the bound of one look, because what they do can be taken back.
    """
    if trend.state == "plateau":
        return ""
    return (
        f"This is not a plateau yet: the bound is that of one look, and over all looks of the run it is "
        f"{in_words(trend, options, trend.upper)}"
    )


def _at_one_look(trend: Trend, options: DetectOptions) -> str:
    if trend.few or trend.upper_now >= _asked(trend, options):
        return ""
    bound = in_words(trend, options, abs(trend.upper_now))
    shown = (
        f"an improvement of less than {bound}" if trend.upper_now >= 0 else f"that it gets worse by more than {bound}"
    )
    return f"; this look alone shows {shown}, which is enough for a trial and not for a plateau"


def in_words(trend: Trend, options: DetectOptions, amount: float) -> str:
    """Format an improvement: a share of the level, or in the metric's own unit."""
    return percent(trend.ratio(amount)) if options.relative else f"{amount:.4g}"


def asked_in_words(options: DetectOptions) -> str:
    """Return the required improvement in words."""
    return percent(options.min_improvement) if options.relative else f"{options.min_improvement:g}"


def _asked(trend: Trend, options: DetectOptions) -> float:
    return options.min_improvement * (trend.level if options.relative else 1.0)


def _margin(trend: Trend) -> float:
    return max(trend.improvement - trend.lower, trend.upper - trend.improvement)


def _estimate(trend: Trend, options: DetectOptions) -> str:
    """Return the size of the improvement with its margin, without a sign."""
    if options.relative:
        return estimate(abs(trend.ratio(trend.improvement)), abs(trend.ratio(_margin(trend))))
    return f"{abs(trend.improvement):.4g} \u00b1 {_margin(trend):.2g}"


def _is_asked(trend: Trend, options: DetectOptions) -> str:
    return (
        f"and {in_words(trend, options, trend.few_asked) if trend.few_asked else asked_in_words(options)} is required"
    )


def _why_undecided(trend: Trend, options: DetectOptions) -> str:
    if trend.few:
        return f"and {trend.samples:,} values are too few to tell the required {asked_in_words(options)} from noise"
    if trend.detectable > _asked(trend, options):
        told = in_words(trend, options, trend.detectable)
        return f"and the noise hides the required {asked_in_words(options)} ({told} would show by now)"
    return f"too close to the required {asked_in_words(options)}"


def _too_few(tracker: Tracker, options: DetectOptions) -> str:
    values = f"{tracker.samples:,} {'value' if tracker.samples == 1 else 'values'} in this phase"
    if tracker.samples < MIN_BLOCKS:
        return f"{values}, and at least {MIN_BLOCKS} are needed"
    return f"{values}, and the horizon of {options.horizon} is not over"


def _never(trend: Trend, options: DetectOptions) -> str:
    """Return why no step can be named from which on it could tell."""
    if _asked(trend, options) <= 0:
        return "; no improvement is required, so only a rise can be told"
    return HORIZON_TOO_SHORT if Horizon.parse(options.horizon).fixed is not None else ""


def _by(tells_at: int | None) -> str:
    """Return from when on it can tell, as a clause."""
    if tells_at is None:
        return ""
    digits = max(len(str(abs(tells_at))) - ABOUT_DIGITS, 0)
    return f"; it can tell by about step {math.ceil(tells_at / 10**digits) * 10**digits:,}"
