"""The state of a training that is attached again in the same process: a notebook cell, a second stage, a new optimizer.

It is the same training if its optimizer is the same, or if in the same control directory it trains a parameter that an earlier
client's optimizers trained, or gives the same callable. A directory is the same through a link as well. Everything else, such as the next fold of a cross-validation, starts at scale 1.
"""

from __future__ import annotations

import os
import weakref

from lrwatch.client.adapter import Adapter
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from lrwatch.client.client import Client

# Trainings that are remembered, the newest last; those whose parameters are gone go first.
_MOST = 16

_open: weakref.WeakValueDictionary[str, Client] = weakref.WeakValueDictionary()
_left: list[_Left] = []


class _Left:
    """What a client left behind: its state, and what tells whether a training is the same."""

    def __init__(self, directory: str, adapter: Adapter, state: dict[str, Any]) -> None:
        self.directory = directory
        self.state = state
        self.trained = adapter.trained()

    def trains(self, directory: str, trained: tuple[object, ...]) -> bool:
        """Return whether it is the same training."""
        before = [one() if isinstance(one, weakref.ref) else one for one in self.trained]
        if directory != self.directory:
            before = [one for one in before if hasattr(one, "param_groups")]
        ids = {id(one) for one in before if one is not None}
        functions = [one for one in before if callable(one)]  # a bound method is equal and not the same
        return any(id(one) in ids or (callable(one) and one in functions) for one in trained if one is not None)

    def over(self) -> bool:
        """Return whether nothing can be trained on any more."""
        return all(isinstance(before, weakref.ref) and before() is None for before in self.trained)


def opened(directory: str, client: Client) -> None:
    """Remember the client as the one that uses the control directory."""
    _open[os.path.realpath(directory)] = client


def left(directory: str, client: Client | None, adapter: Adapter, state: dict[str, Any]) -> None:
    """Remember where a client ended, for one that is attached to the same training."""
    directory = os.path.realpath(directory)
    if client is not None and _open.get(directory) is client:
        del _open[directory]
    _left[:] = [one for one in _left if not one.over()][-_MOST:]
    one = _Left(directory, adapter, state)
    if not one.over() and (state["step"] or state["commands"]):
        _left.append(one)


def in_use(directory: str) -> Client | None:
    """Return the open client of this process that uses the control directory, or None."""
    return _open.get(os.path.realpath(directory))


def state_of(directory: str, adapter: Adapter) -> dict[str, Any] | None:
    """Return the state at which an earlier client left this training, or None if there was none."""
    directory = os.path.realpath(directory)
    trained = tuple(one() if isinstance(one, weakref.ref) else one for one in adapter.trained())
    for one in reversed(_left):
        if one.trains(directory, trained):
            return one.state
    return None
