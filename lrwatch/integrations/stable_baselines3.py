"""Stable-Baselines3.

::

    model.learn(..., callback=lrwatch.stable_baselines3.LrwatchCallback("runs/a/lrwatch"))

The model's `lr_schedule` is what all its optimizers get their learning rate from before each phase of training, and what its
logger is told: both get the product. The step is the number of timesteps, as in its logs. The state is saved with the model
(`model.save`), which loads with lrwatch and without; `learn` with this callback goes on at the scale of the model.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from lrwatch.client import Client, attach
from lrwatch.client.adapter import Adapter, Sample
from lrwatch.integrations._base import scalars

# The attribute of a model that holds the state; `save` stores all attributes.
ATTRIBUTE = "lrwatch_state"


class LrwatchCallback(BaseCallback):
    """Lets lrwatch scale the learning rate of a model.

    Args:
        control_dir: Where the two sides meet, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self.watch: Client | None = None
        self._arguments: dict[str, Any] = {"control_dir": control_dir, **options}

    def _on_training_start(self) -> None:
        if self.watch is not None:
            self.watch.close()
        schedule = self.model.lr_schedule
        if isinstance(schedule, _Scaled):
            schedule = schedule.schedule
        self.model.lr_schedule = scaled = _Scaled(schedule)
        step = self.model.num_timesteps
        self.watch = attach(_ScheduleAdapter(scaled), **{"start_step": step, **self._arguments})
        state = getattr(self.model, ATTRIBUTE, None)
        if isinstance(state, dict):
            self.watch.load_state_dict({**state, "step": step})

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self.watch is not None:
            logged = {name: value for name, value in self.logger.name_to_value.items() if "learning_rate" not in name}
            self.watch.step(self.num_timesteps, **scalars(logged))
            state = self.watch.state_dict()
            if state["generation"]:
                setattr(self.model, ATTRIBUTE, state)

    def _on_training_end(self) -> None:
        if self.watch is not None:
            self.watch.close()


class _Scaled:
    """A schedule times the scale. What is saved is the schedule alone, so that a model loads where lrwatch is not."""

    def __init__(self, schedule: Callable[[float], float]) -> None:
        self.schedule = schedule
        self.scale = 1.0
        self.last: Sample | None = None

    def __call__(self, progress_remaining: float) -> float:
        rate = self.schedule(progress_remaining)
        product = rate * self.scale
        self.last = Sample(self.scale, {"0": rate}, {"0": product})
        return product

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self.schedule,)


class _ScheduleAdapter(Adapter):
    name = "stable_baselines3"

    def __init__(self, scaled: _Scaled) -> None:
        super().__init__()
        self._scaled = scaled

    def set(self, scale: float) -> None:
        """The next phase of training asks for it."""
        self._scaled.scale = scale
        self._scaled.last = None

    def sample(self) -> Sample | None:
        """What the newest phase of training used."""
        return self._scaled.last
