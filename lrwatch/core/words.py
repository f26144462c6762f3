"""Formatting of shares and steps for people: percent without an exponent, and as precise as they are known."""

from __future__ import annotations

import math

# Significant digits of a share, and of the margin of an estimate, as errors are stated.
DIGITS, MARGIN_DIGITS = 3, 2

# Decimals at the most: a thousandth of a percent is not certain itself.
MAX_DECIMALS = 3

# Percents from here on are written with an exponent: the level that they are a share of is next to nothing.
MAX_PERCENT = 1e6


def percent(share: float) -> str:
    """Format a share in percent.

    >>> percent(0.0047), percent(0.05), percent(-1.3), percent(0.0), percent(31.0)
    ('0.47 %', '5 %', '-130 %', '0 %', '3100 %')
    """
    value = 100 * share
    written = _written(value, _decimals(value, DIGITS))
    return f"{written.rstrip('0').rstrip('.') if '.' in written and 'e' not in written else written} %"


def estimate(share: float, margin: float) -> str:
    """Format a share with its margin, both as precise as the margin is known.

    >>> estimate(0.000304, 0.00281), estimate(0.71, 0.184)
    ('0.03 % \u00b1 0.28 %', '71 % \u00b1 18 %')
    """
    value, error = percents(share, margin, margin=margin)
    return f"{value} % \u00b1 {error} %"


def percents(*shares: float, margin: float) -> tuple[str, ...]:
    """Format shares in percent, with as many decimals as give their margin two significant digits.

    Args:
        *shares: The shares.
        margin: What they are uncertain by, as a share.
    """
    decimals = min(_decimals(100 * margin, MARGIN_DIGITS), MAX_DECIMALS)
    return tuple(_written(100 * share, decimals) for share in shares)


def moves(improvement: float, size: str) -> str:
    """Say an improvement of this size with its sign as a verb; one that rounds to nothing has none.

    >>> moves(0.0023, "0.23 %"), moves(-0.105, "10.5 %"), moves(-1e-7, "0.000 % ± 0.042 %")
    ('improves by 0.23 %', 'gets worse by 10.5 %', 'changes by 0 % ± 0.042 %')
    """
    number, _, unit = size.partition(" ")
    if float(number) == 0:
        return f"changes by 0 {unit}".rstrip()
    return f"{'improves' if improvement > 0 else 'gets worse'} by {size}"


def _decimals(value: float, digits: int) -> int:
    """Return how many decimals give `value` so many significant digits."""
    if not math.isfinite(value) or value == 0:
        return 1
    return max(digits - 1 - math.floor(math.log10(abs(value)) + 1e-9), 0)


def _written(value: float, decimals: int) -> str:
    text = f"{value:.{decimals}f}" if abs(value) < MAX_PERCENT else f"{value:.2g}"
    return text if float(text) else text.removeprefix("-")
