"""Kinds of findings in words, and which of them are bad news."""

from __future__ import annotations

# Singular and plural; findings are counted in this order.
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

_NAMES = {"nonfinite": "non-finite", "too_slow": "too slow"}

BAD_KINDS = frozenset({"divergence", "nonfinite"})


def counted(kind: str, count: int) -> str:
    """Name the findings of one kind with their number.

    >>> counted("stalled", 2)
    '2 stalls'
    """
    one, many = _NOUNS.get(kind, (f"finding of kind {kind}", f"findings of kind {kind}"))
    return f"{count:,} {one if count == 1 else many}"


def rank(kind: str) -> int:
    """Return the place of a kind in a list of several; kinds of a foreign journal come last."""
    return next((place for place, known in enumerate(_NOUNS) if known == kind), len(_NOUNS))


def name(kind: str) -> str:
    """Name a kind as a table shows it."""
    return _NAMES.get(kind, kind)
