"""Stable-Baselines3.

::

    model.learn(..., callback=lrwatch.stable_baselines3.LrwatchCallback("runs/a/lrwatch"))

All optimizers of the model read their learning rate from `lr_schedule` before each phase of training, and so does its logger:
both get the product, and the logger `lrwatch/scale` and `lrwatch/lr` too. The step is the number of timesteps, as in its logs. The state is saved with the model (`model.save`),
which loads with lrwatch and without; `learn` with this callback continues at the scale of the model.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.integrations._base import CallbackBase, known_length, scalars

# The attribute of a model that holds the state; `save` stores all attributes.
ATTRIBUTE = "lrwatch_state"


class LrwatchCallback(CallbackBase, BaseCallback):
    """Lets lrwatch scale the learning rate of a model.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    _OF_THE_TRAINING = ("model", "locals", "globals", "parent")

    def _on_training_start(self) -> None:
        schedule = self.model.lr_schedule
        if isinstance(schedule, _Scaled):
            schedule = schedule.schedule
        self.model.lr_schedule = scaled = _Scaled(schedule)
        state = getattr(self.model, ATTRIBUTE, None)
        length = known_length(self.locals.get("total_timesteps"))  # of `learn`, those that are done included
        state = state if isinstance(state, dict) else None
        self._attach(_ScheduleAdapter(scaled), self.model.num_timesteps, state, **length)

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        logged = {name: value for name, value in self.logger.name_to_value.items() if "learning_rate" not in name}
        self._step(self.num_timesteps, **scalars(logged))
        for name, value in self._shown().items():
            self.logger.record(name, value)
        state = self._state()
        if state.get("generation"):
            setattr(self.model, ATTRIBUTE, state)

    def _on_training_end(self) -> None:
        self._close()


class _Scaled:
    """A schedule times the scale. Only the schedule is saved, so that a model loads without lrwatch."""

    def __init__(self, schedule: Callable[[float], float]) -> None:
        self.schedule = schedule
        self.scale = 1.0
        self.last: LearningRates | None = None
        self.used: dict[str, float] = {}

    def __call__(self, progress_remaining: float) -> float:
        rate = self.schedule(progress_remaining)
        product = rate * self.scale
        self.used = {"0": product}
        self.last = LearningRates(self.scale, {"0": rate}, self.used)
        return product

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial, (self.schedule,)


class _ScheduleAdapter(Adapter):
    name = "stable_baselines3"

    def __init__(self, scaled: _Scaled) -> None:
        super().__init__()
        self._scaled = scaled

    def set(self, scale: float) -> None:
        """Use `scale` from the next phase of training on."""
        self._scaled.scale = scale
        self._scaled.last = None

    def rates(self) -> dict[str, object]:
        """Return the rate of the newest phase of training, also where a new scale is set for the next one."""
        return dict(self._scaled.used)

    def sample(self) -> LearningRates | None:
        """Return the rates of the newest phase of training."""
        return self._scaled.last
