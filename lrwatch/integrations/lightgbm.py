"""LightGBM.

::

    watch = lrwatch.lightgbm.LrwatchCallback("runs/a/lrwatch")
    booster = lightgbm.train(..., callbacks=[watch, watch.metrics])

A step is a boosting round. `lightgbm.reset_parameter(learning_rate=...)` works with it: it runs first, and its rate is
multiplied by the scale. `watch.metrics` writes the evaluation results to the metrics file, and is optional. A model of LightGBM
has no room for the state; pass it to a training that continues from a model (`init_model=`): `LrwatchCallback(...,
state=watch.state_dict())`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lrwatch.integrations._base import CallbackBase, RoundAdapter, known_length

# The names of the learning rate, the strongest first, and its default.
_NAMES = ("learning_rate", "shrinkage_rate", "eta")
_DEFAULT_RATE = 0.1


class LrwatchCallback(CallbackBase):
    """Lets lrwatch scale the learning rate of `lightgbm.train` and of the scikit-learn interface.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        state: Result of `state_dict`, from the training that made `init_model`.
        record: The dictionary that `lightgbm.record_evaluation` fills, or any other: `watch.metrics` adds the `scale` and the rate of
            each round, `lr`, under `lrwatch`. LightGBM's own list of results has no room for them: early stopping counts it.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
        before_iteration: Runs before each round.
        order: Place among the callbacks, after `reset_parameter`.
    """

    before_iteration = True

    def __init__(
        self,
        control_dir: str | os.PathLike[str],
        *,
        state: Mapping[str, Any] | None = None,
        record: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(control_dir, **options)
        self.order = 20  # that of reset_parameter is 10
        self._init_state = state
        self._adapter = RoundAdapter("lightgbm")
        self._in_force: float | None = None
        self._schedule: float | None = None
        self._scale_of_round = 1.0
        self._record = record
        self._last: dict[str, float] = {}

    def __call__(self, env: Any) -> None:
        """Count the round before, and scale the learning rate of this one."""
        if self.watch is None or env.iteration == env.begin_iteration:
            self._begin(env)
        elif env.iteration > env.begin_iteration:
            self._step(env.iteration, **self._last)
        self._last = {}
        scale = self._scale
        rate = next((float(env.params[name]) for name in _NAMES if name in env.params), _DEFAULT_RATE)
        # reset_parameter has written into the model where the schedule's rate is another one than in the round before.
        present = self._in_force if rate == self._schedule else rate
        if rate * scale != present:
            env.model.reset_parameter({"learning_rate": rate * scale})
        self._schedule, self._in_force, self._scale_of_round = rate, rate * scale, scale
        self._adapter.used_rate(rate, scale)

    def metrics(self, env: Any) -> None:
        """Keep the evaluation results for the metrics file; a callback of its own, after each round."""
        self._last = {f"{result[0]}-{result[1]}": float(result[2]) for result in env.evaluation_result_list or ()}
        if self._record is not None:
            ours = self._record.setdefault("lrwatch", {})
            for name, value in {"scale": self._scale_of_round, "lr": self._in_force}.items():
                ours.setdefault(name, []).append(value)
        if env.iteration + 1 == env.end_iteration:
            self._step(env.iteration + 1, **self._last)
            self._close()

    metrics.order = 25  # type: ignore[attr-defined]  # behind record_evaluation, which clears its dictionary; before early stopping

    def state_dict(self) -> dict[str, Any]:
        """Return the state for the argument `state` of a later training."""
        return self._state()

    def _begin(self, env: Any) -> None:
        self._adapter = RoundAdapter("lightgbm")
        self._attach(self._adapter, env.begin_iteration, self._init_state, **known_length(env.end_iteration))
        self._schedule = self._in_force = None
