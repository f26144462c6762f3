"""What the callbacks for training frameworks share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def scalars(logs: object) -> dict[str, Any]:
    """What of a framework's logs `Client.step` can take: single numbers, under names other than its own argument."""
    if not isinstance(logs, Mapping):
        return {}
    return {
        name: value
        for name, value in logs.items()
        if isinstance(name, str) and name not in ("self", "step") and (_is_number(value) or _size(value) == 1)
    }


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _size(value: Any) -> int | None:
    size = getattr(value, "size", None)  # a number for arrays, a method for torch tensors
    if callable(size):
        size = value.numel() if hasattr(value, "numel") else None
    return size if isinstance(size, int) else None
