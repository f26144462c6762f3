"""What a training of this benchmark is, and how it runs with its own rate or with one that a controller scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

from bench.closed.play import Moves


def _unscheduled(_: int) -> float:
    return 1.0


@dataclass(frozen=True, slots=True)
class Training:
    """A training at its start.

    Attributes:
        optimizer: Optimizer with the rate at which the training does well.
        steps: Number of steps.
        loss: Maps a step, from 0, to the loss of its batch.
        final: Returns the final loss. A loss that falls to 0 has `FLOOR` added, or a ratio of two would mean nothing.
        schedule: The training's own multiplier of the rate at a step. The controller is not told it.
    """

    optimizer: torch.optim.Optimizer
    steps: int
    loss: Callable[[int], torch.Tensor]
    final: Callable[[], float]
    schedule: Callable[[int], float] = _unscheduled


FLOOR = 0.01

# Seed of the samples of final losses.
EVALUATION = 99

Make = Callable[[int], Training]
"""Makes the training of a seed."""


class Scaler(Protocol):
    """`lrwatch.Controller`, as far as it is used here."""

    @property
    def scale(self) -> float:
        """The multiplier of the first step."""

    def update(self, step: int, value: float) -> float:
        """Take the loss of a finished step, from 0; return the multiplier of the next one."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to.

    Attributes:
        loss: The final loss.
        moves: Changes of the multiplier: completed steps, and the new one. A ramp is one change, with its last value.
    """

    loss: float
    moves: tuple[tuple[int, float], ...] = ()


def drive(training: Training, controller: Scaler | None, steps: int | None = None) -> Result:
    """Run a training.

    Args:
        training: The training, at its start; used up.
        controller: Who scales its rate; None for the rate as it is.
        steps: Number of steps; all unless given.

    Returns:
        The final loss, and what the controller did.
    """
    optimizer = training.optimizer
    rates = [group["lr"] for group in optimizer.param_groups]
    moves = Moves(1.0 if controller is None else controller.scale)
    for step in range(training.steps if steps is None else steps):
        multiplier = moves.value * training.schedule(step)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * multiplier
        loss = training.loss(step)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        if controller is not None:
            moves.record(step + 1, controller.update(step, loss.item()))
    with torch.no_grad():
        final = training.final()
    return Result(final if math.isfinite(final) else math.inf, tuple(moves.moves))
