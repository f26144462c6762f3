"""Numbers of one shape, parsed together.

Lines with the same mask have their digits in the same places, so a column of numbers is a matrix of digits. The result
equals that of `float`, to the last bit: a decimal number of at most 15 digits and a power of ten of at most 22 are
both exact in binary, and one multiplication or division of exact numbers is rounded correctly (Clinger, How to read
floating point numbers accurately, 1990).
"""

from __future__ import annotations

import re
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lrwatch.core.sample import Floats

# Digits of a mantissa that is exact as a double, and the largest power of ten that is.
_EXACT_DIGITS = 15
_EXACT_POWER = 22
_POWERS = np.array([10.0**n for n in range(_EXACT_POWER + 1)])

DECIMALS = 6
"""Decimals of a number with a factor, `1.2k`: the product of two rounded numbers is a little off."""
# Up to this, the error of the product is far smaller than half of the last of these decimals.
_LARGEST_ROUNDED = 1e9

_SHAPE = re.compile(rb"([-+]?)([0,]*)(?:\.(0*))?(?:[eE]([-+]?)(0{1,3}))?")


@lru_cache(4096)
def _shape(mask: bytes) -> tuple[float, tuple[int, ...], int, float, tuple[int, ...]] | None:
    """Return sign, places of digits, decimals, sign of the exponent, places of its digits; None if `float` must read."""
    match = _SHAPE.fullmatch(mask)
    if match is None:
        return None
    whole = [i for i in range(*match.span(2)) if mask[i : i + 1] == b"0"]
    decimals = list(range(*match.span(3))) if match[3] is not None else []
    exponent = list(range(*match.span(5))) if match[5] is not None else []
    if not 0 < len(whole) + len(decimals) <= _EXACT_DIGITS:
        return None
    signs = [-1.0 if sign == b"-" else 1.0 for sign in (match[1], match[4])]
    return signs[0], (*whole, *decimals), len(decimals), signs[1], tuple(exponent)


def _whole(digits: npt.NDArray[np.uint8], places: tuple[int, ...]) -> Floats:
    found = np.zeros(len(digits))
    for place in places:
        found *= 10.0
        found += digits[:, place]
    return found


def read(digits: npt.NDArray[np.uint8], mask: bytes, factor: float = 1.0) -> Floats | None:
    """Parse a column of numbers of one mask.

    Args:
        digits: The characters less the character 0, shape (n, len(mask)).
        mask: The number with all digits made 0.
        factor: Factor of the unit behind them. What is read is rounded to DECIMALS decimals then, as `round` does.

    Returns:
        The numbers, shape (n,), or None if they need `float`.
    """
    shape = _shape(mask)
    if shape is None:
        return None
    sign, places, decimals, exponent_sign, exponent_places = shape
    mantissa = _whole(digits, places)
    if factor != 1.0:
        read = sign * mantissa / _POWERS[decimals] * factor
        if exponent_places or decimals > DECIMALS or np.abs(read).max(initial=0.0) > _LARGEST_ROUNDED:
            return None
        return np.asarray(np.rint(read * _POWERS[DECIMALS]) / _POWERS[DECIMALS])
    if not exponent_places:
        return sign * mantissa / _POWERS[decimals] if decimals else sign * mantissa
    power = exponent_sign * _whole(digits, exponent_places) - decimals
    if np.abs(power).max(initial=0.0) > _EXACT_POWER:
        return None
    of_ten = _POWERS[np.abs(power).astype(np.intp)]
    return np.asarray(sign * np.where(power < 0, mantissa / of_ten, mantissa * of_ten))
