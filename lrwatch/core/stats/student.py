"""Quantiles of Student's t distribution, without scipy: detectors need a few of them, for small whole degrees of freedom."""

from __future__ import annotations

import math
from functools import lru_cache

# Bisection halves the bracket at each turn: 200 turns reach the last bit of a double from any bracket.
_TURNS = 200


def upper_tail(t: float, df: int) -> float:
    """P(T > t) for t >= 0.

    The finite series of Abramowitz & Stegun 26.7.3 and 26.7.4, exact for whole `df`. For t so large that the series
    cancels, the first term of the tail's expansion is used; it is an upper bound.
    """
    cos2 = df / (df + t * t)
    sin = t / math.sqrt(df + t * t)
    term = 1.0 if df % 2 == 0 else math.sqrt(cos2)
    total = term if df > 1 else 0.0
    for j in range(2 if df % 2 == 0 else 3, df - 1, 2):
        term *= cos2 * (j - 1) / j
        total += term
    if df % 2 == 0:
        inside = sin * total
    else:
        inside = 2 / math.pi * (math.atan2(t, math.sqrt(df)) + (sin * total if df > 1 else 0.0))
    exact = (1 - inside) / 2
    if exact > 1e-9:
        return exact
    log_density = (
        math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi) + (df + 1) / 2 * math.log(cos2)
    )
    return math.exp(log_density) * (df + t * t) / (t * df)


@lru_cache(maxsize=4096)
def t_quantile(alpha: float, df: int) -> float:
    """Return the t >= 0 that T with `df` degrees of freedom exceeds with probability `alpha` (0 < alpha <= 0.5).

    >>> round(t_quantile(0.025, 12), 3)
    2.179
    >>> round(t_quantile(1e-6, 12), 2)
    8.5
    """
    low, high = 0.0, 1.0
    while upper_tail(high, df) > alpha:
        low, high = high, high * 2
    for _ in range(_TURNS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if upper_tail(middle, df) > alpha:
            low = middle
        else:
            high = middle
    return high
