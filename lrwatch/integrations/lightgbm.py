"""LightGBM.

::

    watch = lrwatch.lightgbm.LrwatchCallback("runs/a/lrwatch")
    booster = lightgbm.train(..., callbacks=[watch, watch.metrics])

A step is a boosting round. `lightgbm.reset_parameter(learning_rate=...)` may be there too: it is asked first, and what it gives
is multiplied by the scale. `watch.metrics` writes what is evaluated to the metrics file, and may be left out. A model of
LightGBM has no room for the state; a training that goes on from one (`init_model=`) is given it: `LrwatchCallback(...,
state=watch.state_dict())`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from lrwatch.client import Client, attach
from lrwatch.client.adapter import Adapter, Sample

# The names of the learning rate, the strongest first, and what it is where nobody says one.
_NAMES = ("learning_rate", "shrinkage_rate", "eta")
_DEFAULT_RATE = 0.1


class LrwatchCallback:
    """Lets lrwatch scale the learning rate of `lightgbm.train` and of the scikit-learn interface.

    Args:
        control_dir: Where the two sides meet, as in `lrwatch.attach`.
        state: From `state_dict`, of the training that `init_model` is from.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
        before_iteration, order: Before each round, behind `reset_parameter`.
    """

    before_iteration = True

    def __init__(
        self, control_dir: str | os.PathLike[str], *, state: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        self.order = 20  # that of reset_parameter is 10
        self.watch: Client | None = None
        self._arguments: dict[str, Any] = {"control_dir": control_dir, **options}
        self._state = state
        self._adapter = _RoundAdapter()
        self._in_force: float | None = None
        self._schedule: float | None = None
        self._last: dict[str, float] = {}

    def __call__(self, env: Any) -> None:
        """Count the round before, and scale the learning rate of this one."""
        if self.watch is None or env.iteration == env.begin_iteration:
            self._begin(env)
        elif env.iteration > env.begin_iteration:
            self.watch.step(env.iteration, **self._last)
        self._last = {}
        scale = 1.0 if self.watch is None else self.watch.scale
        rate = next((float(env.params[name]) for name in _NAMES if name in env.params), _DEFAULT_RATE)
        # reset_parameter has written into the model where the schedule's rate is another one than in the round before.
        known = self._in_force if rate == self._schedule else rate
        if rate * scale != known:
            env.model.reset_parameter({"learning_rate": rate * scale})
        self._schedule, self._in_force = rate, rate * scale
        self._adapter.used_rate(rate, scale)

    def metrics(self, env: Any) -> None:
        """Keep what was evaluated for the metrics file; a callback of its own, after each round."""
        self._last = {f"{result[0]}-{result[1]}": float(result[2]) for result in env.evaluation_result_list or ()}
        if self.watch is not None and env.iteration + 1 == env.end_iteration:
            self.watch.step(env.iteration + 1, **self._last)
            self.watch.close()

    def state_dict(self) -> dict[str, Any]:
        """What `state` takes."""
        return {} if self.watch is None else self.watch.state_dict()

    def _begin(self, env: Any) -> None:
        if self.watch is not None:
            self.watch.close()
        self._adapter = _RoundAdapter()
        self.watch = attach(self._adapter, **{"start_step": env.begin_iteration, **self._arguments})
        self._schedule = self._in_force = None
        if self._state is not None:
            self.watch.load_state_dict({**self._state, "step": env.begin_iteration})


class _RoundAdapter(Adapter):
    """Tells what a round was boosted with."""

    name = "lightgbm"

    def __init__(self) -> None:
        super().__init__()
        self._sample: Sample | None = None

    def set(self, scale: float) -> None:
        """The next round asks the client for it."""

    def used_rate(self, rate: float, scale: float) -> None:
        """Note what a round uses."""
        self.lr = rate * scale
        self._sample = Sample(scale, {"0": rate}, {"0": rate * scale})

    def sample(self) -> Sample | None:
        """What the newest round is boosted with."""
        return self._sample
