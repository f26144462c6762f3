"""Fields of events in their JSON form. A journal may be of any age, so a missing or odd field reads as missing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

JsonEvent = Mapping[str, Any]


def number(event: JsonEvent, key: str) -> float | None:
    """Return the number under a key; None if it is no number, not finite, or too large for a float."""
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) <= sys.float_info.max else None


def integer(event: JsonEvent, key: str) -> int | None:
    """Return the number under a key as a whole one, or None as `number` does."""
    value = number(event, key)
    return None if value is None else int(value)


def text(event: JsonEvent, key: str) -> str:
    """Return the value under a key as text, empty if there is none."""
    value = event.get(key)
    return "" if value is None else str(value)


def of_kind(events: Iterable[JsonEvent], kind: str) -> list[JsonEvent]:
    """Return the events whose `event` is `kind`, in order."""
    return [e for e in events if e.get("event") == kind]
