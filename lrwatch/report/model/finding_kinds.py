"""Kinds of findings in words, and which of them are bad news."""

from __future__ import annotations

from collections.abc import Mapping

from lrwatch.core.events import KINDS, FindingKind

# A journal may have kinds of another version.
_KINDS: Mapping[str, FindingKind] = dict(KINDS.items())

BAD_KINDS = frozenset(kind for kind, about in KINDS.items() if about.severity == "critical")


def counted(kind: str, count: int) -> str:
    """Name the findings of one kind with their number.

    >>> counted("stalled", 2)
    '2 stalls'
    """
    about = _KINDS.get(kind, FindingKind(f"finding of kind {kind}", f"findings of kind {kind}", "info", ""))
    return f"{count:,} {about.noun if count == 1 else about.plural}"


def rank(kind: str) -> int:
    """Return the place of a kind in a list of several; kinds of a foreign journal come last."""
    return next((place for place, known in enumerate(_KINDS) if known == kind), len(_KINDS))
