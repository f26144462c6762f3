"""Finds out whether an optimizer's step reads the learning rate of its parameter groups.

Some do not: they have the rate in an attribute of their own, or in their defaults. Then a scale changes nothing, though the groups hold
it. Nothing else tells, so in the first scaled steps the name `lr` in each group is a string that notes when it is looked up, until one
step has looked. The groups stay the same dicts with the same values.
"""

from __future__ import annotations

from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lrwatch.client.inner import Group


class _LrKey(str):
    """A key that is equal to "lr", and notes each comparison, which every look-up of another object makes."""

    __slots__ = ("read",)

    read: bool
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        self.read = True
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other


class RateReading:
    """The names in the groups of one optimizer during one step.

    Attributes:
        trains: Whether a parameter has a gradient. Without any, many optimizers have no use for a rate.
    """

    def __init__(self, groups: Sequence[Group]) -> None:
        self.trains = any(getattr(one, "grad", None) is not None for group in groups for one in group["params"])
        self._named = [(group, _LrKey("lr")) for group in groups if "lr" in group]
        for group, name in self._named:
            name.read = False
            _rename(group, "lr", name)

    def end(self) -> bool:
        """Restore the names, and return whether one was looked up since."""
        read = any(name.read for _, name in self._named)
        for group, name in self._named:
            _rename(group, name, "lr")
        self._named.clear()
        return read


def _rename(group: Group, before: str, name: str) -> None:
    """Give the rate of a group another name, in one go: another thread of the training may read it at any time."""
    if before in group:
        list(map(group.__setitem__, (name,), map(group.pop, (before,))))
