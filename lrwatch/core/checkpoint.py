"""Saved state: which attributes of an object go into the store, and how they come back.

>>> class Mean(Checkpointed):
...     SAVED = ("_count", "_sum", "_newest")
...
...     def __init__(self):
...         self._count, self._sum, self._newest = 0, 0.0, deque(maxlen=2)
>>> mean = Mean()
>>> mean._count, mean._sum = 2, 0.5
>>> mean._newest.append(1.5)
>>> mean.state()
{'count': 2, 'sum': 0.5, 'newest': [1.5]}
>>> again = Mean()
>>> again.restore(mean.state())
>>> again._count, again._sum, again._newest
(2, 0.5, deque([1.5], maxlen=2))
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

_SCALARS = frozenset({float, int, bool, str, type(None)})


class Checkpointed:
    """Save the attributes that `SAVED` names, and restore them.

    An attribute is a number, a string, a bool, None, another `Checkpointed`, or a list, tuple, deque, set, dict or
    numpy array of JSON-plain items. It is restored as the type that the constructor gave it, so the constructor must
    set it. One that is None, before or after, is restored as JSON gives it. A class whose state needs more
    than that extends `state` and `restore`.

    Attributes:
        SAVED: Names of the attributes, with or without a leading underscore.
    """

    SAVED: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values: an object restored from it continues exactly as this one would."""
        return {name.removeprefix("_"): _plain(getattr(self, name)) for name in self.SAVED}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned.

        Raises:
            KeyError: An attribute is missing in `state`.
        """
        for name in self.SAVED:
            value, now = state[name.removeprefix("_")], getattr(self, name)
            if isinstance(now, Checkpointed):
                now.restore(value)
            else:
                setattr(self, name, _typed(value, now))


def _plain(value: Any) -> Any:
    """Return `value` as JSON holds it; containers are copied."""
    if type(value) in _SCALARS:  # most are, and this is five times as fast
        return value
    match value:
        case Checkpointed():
            return value.state()
        case np.ndarray():
            return value.tolist()
        case list() | tuple() | deque():
            return list(value)
        case set() | frozenset():
            return sorted(value)
        case dict():
            return dict(value)
        case _:
            return value


def _typed(value: Any, like: Any) -> Any:
    """Return what `_plain` made `value` of, as the type of `like`."""
    match like:
        case _ if value is None:
            return None
        case np.ndarray():
            return np.array(value, like.dtype)
        case deque():
            return deque(value, like.maxlen)
        case list() | tuple() | set() | frozenset() | Counter():
            return type(like)(value)
        case _:
            return value
