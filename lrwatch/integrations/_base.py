"""Shared parts of the framework callbacks: the client and its life, an adapter for boosting rounds, metrics, ranks."""

from __future__ import annotations

import logging
import math
import os
import pickle
import sys
import types
from collections.abc import Mapping
from typing import Any, TypeGuard

from lrwatch.client import Client, attach
from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.client.worker import goodbye_after

OWN_PREFIX = "lrwatch/"
SCALE_NAME, RATE_NAME = f"{OWN_PREFIX}scale", f"{OWN_PREFIX}lr"
"""Names in the logs of frameworks; the metrics file has both under names of its own."""


class CallbackBase:
    """Base of the callbacks: keeps the arguments of `lrwatch.attach`, and owns the client.

    It stands before the framework's own class, whose constructor it calls without arguments. Without a client, before the
    training begins, every method does nothing.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`. Without `total_steps` the framework tells the length, where it knows it.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    # Attributes that a copy does not have: the model, and what is made again when the next training begins.
    _OF_THE_TRAINING: tuple[str, ...] = ()

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self.watch: Client | None = None
        self._arguments: dict[str, Any] = {"control_dir": control_dir, **options}
        self._warned = False

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy keeps, since people save callbacks with their models: the arguments, and the state of the training.

        The copy's client is inert. What belongs to the training that runs stays behind, and an argument that nothing can save.
        """
        # A framework lends its callbacks methods of the model, as Lightning does with `log`.
        state = {name: value for name, value in self.__dict__.items() if not isinstance(value, types.MethodType)}
        for name in self._OF_THE_TRAINING:
            if name in state:
                state[name] = None
        state["_arguments"] = {name: value for name, value in self._arguments.items() if _is_saveable(value)}
        return state

    @property
    def _scale(self) -> float:
        """The scale of the next step."""
        return 1.0 if self.watch is None else self.watch.scale

    def _attach(
        self, optimizer: object, start_step: int, state: Mapping[str, Any] | None = None, **defaults: Any
    ) -> Client:
        """Close the client of an earlier training, attach a new one, and restore it at `start_step`.

        Args:
            optimizer: Optimizer or adapter, as in `lrwatch.attach`.
            start_step: Optimizer steps done before.
            state: State of the client to continue from, or None.
            **defaults: Other arguments of `lrwatch.attach`; those of the constructor override them.

        Returns:
            The new client.
        """
        self._close()
        arguments = {"start_step": start_step, **defaults, **self._arguments}
        if arguments.get("warm_start") is not None and arguments.get("total_steps") is None:
            arguments["warm_start"] = None
            self._warn(
                f"{type(self).__name__}: warm_start is a share of the run, and this one's length is unknown: give total_steps "
                "too. The training goes on without a warm start."
            )
        self.watch = watch = attach(optimizer, **arguments)
        if state is not None:
            watch.load_state_dict({**state, "step": start_step})
        return watch

    def _attach_anew(self, optimizer: object, **defaults: Any) -> None:
        """Attach to what the framework steps with from now on, with the state of the client that there is.

        Args:
            optimizer: Optimizers or an adapter, as in `lrwatch.attach`.
            **defaults: Other arguments of `lrwatch.attach`; those of the constructor override them.
        """
        if self.watch is None:
            return
        state, average = self._state(), self.watch.average_state()
        arguments = {**defaults, **self._arguments, "start_step": state["step"], "warm_start": None}
        try:
            watch = attach(optimizer, **arguments)
        except Exception as error:  # noqa: BLE001  the training goes on, and the client finds out that it does not act
            self._warn(f"{type(self).__name__}: the optimizers were created again, and attach failed: {error!r}")
            return
        watch.load_state_dict(state)
        watch.load_average_state(average)
        self.watch = watch

    def _warn(self, message: str) -> None:
        """Log a message, once a callback."""
        if not self._warned:
            self._warned = True
            logging.getLogger("lrwatch.client").warning(message)

    def _step(self, step: int | None = None, **metrics: Any) -> None:
        """Report a step to the client."""
        if self.watch is not None:
            self.watch.step(step, **metrics)

    def _shown(self) -> dict[str, float]:
        """Return what the framework's own log is to show: the scale of the next step, and the rate that the last one used."""
        if self.watch is None:
            return {}
        rate = next(iter(self.watch.lr.values()), None)
        return {SCALE_NAME: self.watch.scale, **({} if rate is None else {RATE_NAME: rate})}

    def _state(self) -> dict[str, Any]:
        """Return the state of the client; an empty one where there is none."""
        return {} if self.watch is None else self.watch.state_dict()

    def _close(self, error: BaseException | None = None) -> None:
        """Write the waiting metrics and the last state; the scale stays in force.

        Args:
            error: What ended the training, where something did.
        """
        if self.watch is not None:
            self.watch.close("callback" if error is None else goodbye_after(error))


class RoundAdapter(Adapter):
    """Adapter of a boosting library: the callback asks for the scale in each round, and reports the rate that it used.

    Args:
        name: Name of the library.

    Attributes:
        wanted: The scale was set, or no round has reported yet.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.wanted = True
        self._sample: LearningRates | None = None

    def set(self, scale: float) -> None:
        """Do nothing now: the next round asks the client for the scale."""
        self.wanted = True

    def used_rate(self, rate: float, scale: float) -> None:
        """Record the schedule's rate and the scale of a round."""
        self.wanted = False
        self.lr = rate * scale
        self._sample = LearningRates(scale, {"0": rate}, {"0": rate * scale})

    def sample(self) -> LearningRates | None:
        """Return the rates of the newest round."""
        return self._sample

    def forget(self) -> None:
        """Drop the rates of the newest round."""
        self._sample = None


def known_length(total_steps: object) -> dict[str, Any]:
    """Return the argument `total_steps` of `attach`, or nothing where a framework gives no length: None, -1, infinity."""
    if not _is_number(total_steps) or not math.isfinite(total_steps) or total_steps < 1:
        return {}
    return {"total_steps": int(total_steps)}


def all_ranks() -> dict[str, Any]:
    """Return the argument `ranks` of `attach` if this training has several processes in `torch.distributed`, else nothing."""
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return {}
    return {"ranks": distributed.group.WORLD} if distributed.get_world_size() > 1 else {}


def scalars(logs: object) -> dict[str, Any]:
    """Return those logs of a framework that `Client.step` takes: single numbers, under names other than its own arguments."""
    if not isinstance(logs, Mapping):
        return {}
    return {
        name: value
        for name, value in logs.items()
        if isinstance(name, str)
        and name not in ("self", "step")
        and not name.startswith(OWN_PREFIX)
        and (_is_number(value) or _size(value) == 1)
    }


def _is_saveable(value: object) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  the pickling of an object from outside may raise anything
        return False
    return True


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _size(value: Any) -> int | None:
    size = getattr(value, "size", None)  # a number for arrays, a method for torch tensors
    if callable(size):
        size = value.numel() if hasattr(value, "numel") else None
    return size if isinstance(size, int) else None
