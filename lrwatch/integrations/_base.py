"""What the callbacks for training frameworks share."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any


def all_ranks() -> dict[str, Any]:
    """The argument `ranks` of `attach`, where this training has several processes that talk by `torch.distributed`."""
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return {}
    return {"ranks": distributed.group.WORLD} if distributed.get_world_size() > 1 else {}


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
