"""An exponential moving average of the weights that torch optimizers train, one buffer a weight.

The average is updated after each optimizer step, on the device, and nothing waits for it. Weights in less than single
precision are averaged in single precision: a small share of a difference would be lost in their own.

The averages belong to nobody but the client. Neither the model nor the optimizer holds them, so both can be saved and copied.
This module does not import torch: who has weights of it has loaded it.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lrwatch.client.opaque import opaque
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from lrwatch.client.inner import Optimizer

    Tensor: TypeAlias = Any

STATE_VERSION = 1

# Numbers that are converted to single precision at a time: 64 MiB.
_CHUNK = 2**24


class Average:
    """The averages of all weights of some optimizers.

    Args:
        optimizers: The optimizers.
        half_life: Optimizer steps after which a weight counts half, or a share of the steps so far.
        errors: Counter of errors that were survived.
    """

    def __init__(self, optimizers: Sequence[Optimizer], half_life: float, errors: Counter[str]) -> None:
        self._parts = [_Part(optimizer, half_life, errors) for optimizer in optimizers]

    @property
    def failure(self) -> Exception | None:
        """The exception that ended the average, or None."""
        return next((part.failure for part in self._parts if part.failure is not None), None)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the weights hold the averages meanwhile."""
        entered = [part for part in self._parts if part.enter()]
        try:
            yield
        finally:
            for part in entered:
                part.leave()

    def state(self) -> dict[str, Any]:
        """Return the averages as a dict of tensors, which later steps update in place."""
        return {"version": STATE_VERSION, "optimizers": [part.state() for part in self._parts]}

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from averages that `state` returned.

        Raises:
            ValueError: They are not of these optimizers, or of another version.
        """
        if state["version"] != STATE_VERSION:
            raise ValueError(f"version {state['version']!r}, this client knows {STATE_VERSION}")
        if len(state["optimizers"]) != len(self._parts):
            raise ValueError(f"{len(state['optimizers'])} optimizers, here are {len(self._parts)}")
        loaded = [part.read(of_part) for part, of_part in zip(self._parts, state["optimizers"], strict=True)]
        for part, (updates, averages) in zip(self._parts, loaded, strict=True):
            part.load(updates, averages)

    def remove(self) -> None:
        """Stop the updates for good."""
        for part in self._parts:
            part.remove()


class _AveragedWeight:
    """A weight and its average.

    Attributes:
        weight: The weight, weakly.
        average: The average; while the two are exchanged, the value of the weight, where it has the same type.
        saved: The value of a weight of another type while the two are exchanged, else None.
    """

    __slots__ = ("average", "saved", "weight")

    def __init__(self, weight: Tensor, average: Tensor) -> None:
        self.weight = weakref.ref(weight)
        self.average = average
        self.saved: Tensor | None = None

    def enter(self, data: Tensor, scratch: Tensor | None) -> None:
        """Put the average into the weight.

        Args:
            data: The numbers of the weight.
            scratch: Room for as many of the same type, or None where the average has another type.
        """
        if scratch is None:
            self.saved = data.clone()  # before anything changes: it may find no memory
            data.copy_(self.average)
        else:
            before = scratch[: data.numel()].view(data.shape).copy_(data)
            data.copy_(self.average)
            self.average.copy_(before)

    def leave(self, data: Tensor, scratch: Tensor | None) -> None:
        """Put the value of the weight back, bit for bit, without any more memory."""
        if self.saved is None:
            self.enter(data, scratch)
        else:
            data.copy_(self.saved)
            self.saved = None


class _Part:
    """The averages of one optimizer's weights. It keeps neither the optimizer nor its weights alive."""

    def __init__(self, optimizer: Optimizer, half_life: float, errors: Counter[str]) -> None:
        self.failure: Exception | None = None
        self._updates = 0
        self._half_life = half_life
        self._errors = errors
        self._optimizer = weakref.ref(optimizer)
        self._entries: dict[int, _AveragedWeight] = {}  # by the identity of the weight
        self._exchanged: list[_AveragedWeight] = []
        self._scratch: dict[tuple[object, object], Tensor] = {}  # by type and device, while the two are exchanged
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def enter(self) -> bool:
        """Exchange weights and averages, and return whether that was done."""
        if self._exchanged:
            return False
        try:
            # Their room is used again by `leave`, which may come after the mode has ended.
            with sys.modules["torch"].inference_mode(mode=False):
                known = [
                    (entry, _data(weight))
                    for weight in _weights(self._optimizer())
                    if (entry := self._entries.get(id(weight))) is not None and entry.weight() is weight
                ]
                rooms = [self._room(entry, data) for entry, data in known]
                for (entry, data), room in zip(known, rooms, strict=True):
                    entry.enter(data, room)
                    self._exchanged.append(entry)
        except Exception:  # noqa: BLE001  no memory: the evaluation sees the weights, and that is counted
            self._errors["averaged"] += 1
            self.leave()
            return False
        return True

    def leave(self) -> None:
        """Exchange them back."""
        exchanged, self._exchanged = self._exchanged, []
        for entry in exchanged:
            weight = entry.weight()
            if weight is not None:
                data = _data(weight)
                entry.leave(data, self._room(entry, data))
        self._scratch = {}

    def _room(self, entry: _AveragedWeight, data: Tensor) -> Tensor | None:
        """Return room for the numbers of a weight, shared by all of their type; None where the average has another type."""
        if entry.average.dtype != data.dtype:
            return None
        key = data.dtype, data.device
        room = self._scratch.get(key)
        if room is None or room.numel() < data.numel():
            room = self._scratch[key] = data.new_empty(data.numel())
        return room

    def state(self) -> dict[str, Any]:
        averages = []
        for weight in _weights(self._optimizer()):
            entry = self._entries.get(id(weight))
            if entry is None:
                averages.append(_joining(_data(weight)))
            elif entry in self._exchanged and entry.saved is None:
                averages.append(_data(weight).clone())  # the weight holds it now
            else:
                averages.append(entry.average)
        return {"updates": self._updates, "averages": averages}

    def read(self, state: Mapping[str, Any]) -> tuple[int, list[Tensor]]:
        """Return number and averages of a state, where they fit these weights.

        Raises:
            ValueError: They do not.
        """
        updates, averages = state["updates"], state["averages"]
        weights = _weights(self._optimizer())
        if type(updates) is not int or updates < 0:
            raise ValueError(f"a number of updates is a whole number from 0, found {updates!r}")
        shapes = [tuple(average.shape) for average in averages]
        if shapes != [tuple(_data(weight).shape) for weight in weights]:
            raise ValueError("the averages have other shapes than the weights of this optimizer")
        return updates, list(averages)

    def load(self, updates: int, averages: Sequence[Tensor]) -> None:
        self.leave()
        self._updates = updates
        for weight, average in zip(_weights(self._optimizer()), averages, strict=True):
            joining = _joining(_data(weight))
            joining.copy_(average)
            self._entries[id(weight)] = _AveragedWeight(weight, joining)

    @opaque
    def _before(self, *_: object) -> None:
        if self._exchanged:  # a step is of the weights, whatever the script is in the middle of
            self._errors["step_in_averaged"] += 1
            self.leave()

    @opaque
    def _after(self, optimizer: Optimizer, *_: object) -> None:
        if self.failure is not None:
            return
        try:
            self._update(_weights(optimizer))
        except Exception as error:  # noqa: BLE001  nothing may reach the training; the average ends, and that is counted
            self._fail(error)

    def _update(self, weights: Sequence[Tensor]) -> None:
        self._updates += 1
        share = self._share()
        lerp = sys.modules["torch"]._foreach_lerp_
        lists: dict[tuple[object, object], tuple[list[Tensor], list[Tensor]]] = {}
        for weight in weights:
            data = _data(weight)
            entry = self._entries.get(id(weight))
            if entry is None or entry.weight() is not weight or entry.average.shape != data.shape:
                self._entries[id(weight)] = _AveragedWeight(weight, _joining(data))
                continue
            if entry.average.device != data.device:  # the model was moved
                entry.average = entry.average.to(data.device)
            averages, values = lists.setdefault((data.dtype, data.device), ([], []))
            averages.append(entry.average)
            values.append(data)
        for averages, values in lists.values():
            if averages[0].dtype == values[0].dtype:
                lerp(averages, values, share)
                continue
            for begin, end in _chunks(values):
                lerp(averages[begin:end], [value.float() for value in values[begin:end]], share)
        if len(self._entries) > len(weights):
            self._entries = {key: entry for key, entry in self._entries.items() if entry.weight() is not None}

    def _share(self) -> float:
        """Return the share of this step in the average."""
        done, half_life = self._updates, self._half_life
        if half_life < 1:
            return float(1 - 2 ** (-1 / (half_life * done)))
        # The plain mean of the first steps, until a step counts as little in it as it does for good.
        return float(max(1 - 2 ** (-1 / half_life), 1 / done))

    def _fail(self, error: Exception) -> None:
        self._errors["average"] += 1
        self.failure = error


def _weights(optimizer: Optimizer | None) -> list[Tensor]:
    """Return the weights of an optimizer, each once, in the order of its groups."""
    groups = [] if optimizer is None else optimizer.param_groups
    weights: dict[int, Tensor] = {id(weight): weight for group in groups for weight in group["params"]}
    return list(weights.values())


def _data(weight: Tensor) -> Tensor:
    """Return the numbers of a weight, of a sharded one those of this rank.

    Without autograd's count of changes: a graph that was built before the exchange stays valid after it.
    """
    if hasattr(type(weight), "to_local"):  # a tensor itself takes ten times as long to say no
        weight = weight.to_local()
    return weight.data


def _joining(data: Tensor) -> Tensor:
    """Return the average of a weight that joins now: its value, in single precision at least."""
    low = data.is_floating_point() and data.element_size() < 4
    return data.float() if low else data.clone()


def _chunks(values: Sequence[Tensor]) -> Iterator[tuple[int, int]]:
    """Yield ranges of a list, so that converting one of them needs little memory."""
    begin = size = 0
    for end, value in enumerate(values):
        if size and size + value.numel() > _CHUNK:
            yield begin, end
            begin, size = end, 0
        size += value.numel()
    yield begin, len(values)
