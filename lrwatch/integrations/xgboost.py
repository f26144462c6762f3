"""XGBoost.

::

    booster = xgboost.train(..., callbacks=[lrwatch.xgboost.LrwatchCallback("runs/a/lrwatch")])

A step is a boosting round. The learning rate is scaled for the time of a round and is the schedule's between the rounds, so
`LearningRateScheduler` may be there too, before this callback or after it; a callback that saves models belongs after it. Once
there was a command, the state is an attribute of the booster, and so in every model that is saved: a training that goes on from
it (`xgb_model=`) goes on at its scale.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
from xgboost import Booster
from xgboost.callback import TrainingCallback

from lrwatch.client import Client, attach
from lrwatch.client.adapter import Adapter, Sample

# The attribute of a booster that holds the state.
ATTRIBUTE = "lrwatch"
# The two names of the learning rate.
_NAMES = ("learning_rate", "eta")


class LrwatchCallback(TrainingCallback):
    """Lets lrwatch scale the learning rate of `xgboost.train` and of the scikit-learn interface.

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
        self._adapter = _RoundAdapter()
        self._rounds_before = 0
        self._rate: float | None = None
        self._heard: list[object] = []

    def before_training(self, model: Any) -> Any:
        """Attach, and go on at the scale of the model."""
        if self.watch is not None:
            self.watch.close()
        self._adapter, self._rate = _RoundAdapter(), None
        self._rounds_before = model.num_boosted_rounds()
        self.watch = attach(self._adapter, **{"start_step": self._rounds_before, **self._arguments})
        state = _state_of(model)
        if state is not None:
            self.watch.load_state_dict({**state, "step": self._rounds_before})
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Scale the learning rate of this round."""
        scale = 1.0 if self.watch is None else self.watch.scale
        rate = _rate_of(model) if scale != 1.0 or self._adapter.wanted else None
        if rate is not None:
            self._adapter.used_rate(rate, scale)
            if scale != 1.0:
                model.set_param("learning_rate", rate * scale)
                self._rate, self._heard = rate, _listen(model)
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Put the schedule's learning rate back, and count the round."""
        self._put_back(model)
        if self.watch is not None:
            self.watch.step(self._rounds_before + epoch + 1, **_metrics(evals_log))
            state = self.watch.state_dict()
            if state["generation"]:
                model.set_attr(**{ATTRIBUTE: json.dumps(state)})
        return False

    def after_training(self, model: Any) -> Any:
        """Write what waits."""
        self._put_back(model)  # a callback before this one may have ended the training within the round
        if self.watch is not None:
            self.watch.close()
        return model

    def _put_back(self, model: Any) -> None:
        rate, self._rate = self._rate, None
        if rate is not None:
            del model.set_param
            if not self._heard:  # else the schedule has set the next one, which may be any number, this one's too
                model.set_param("learning_rate", rate)


class _RoundAdapter(Adapter):
    """Tells what a round was boosted with.

    Attributes:
        wanted: The next round is to tell it, though its scale is 1.
    """

    name = "xgboost"

    def __init__(self) -> None:
        super().__init__()
        self.wanted = True
        self._sample: Sample | None = None

    def set(self, scale: float) -> None:
        """The next round asks the client for it."""
        self.wanted = True

    def used_rate(self, rate: float, scale: float) -> None:
        """Note what a round uses."""
        self.wanted = False
        self.lr = rate * scale
        self._sample = Sample(scale, {"0": rate}, {"0": rate * scale})

    def sample(self) -> Sample | None:
        """What the newest round was boosted with."""
        return self._sample


def _listen(model: Any) -> list[object]:
    """From now on, what is said to `model.set_param` about the learning rate; until the attribute is deleted."""
    heard: list[object] = []
    set_param = model.set_param

    def overheard(params: Any, value: Any = None) -> None:
        names = [params] if isinstance(params, str) else [pair[0] for pair in dict(params).items()]
        heard.extend(name for name in names if name in _NAMES)
        set_param(params, value)

    model.set_param = overheard
    return heard


def _rate_of(model: Any) -> float | None:
    """The learning rate in the configuration, as the shortest number that single precision takes for the same."""
    booster = model if isinstance(model, Booster) else model.cvfolds[0].bst
    found = _find(json.loads(booster.save_config()))
    return None if found is None else float(str(np.float32(found)))


def _find(config: Any) -> str | None:
    if not isinstance(config, dict):
        return None
    for name in _NAMES:
        if isinstance(config.get(name), str):
            return str(config[name])
    return next((found for part in config.values() if (found := _find(part)) is not None), None)


def _state_of(model: Any) -> dict[str, Any] | None:
    text = model.attr(ATTRIBUTE)
    try:
        state = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return None
    return state if isinstance(state, dict) else None


def _metrics(evals_log: Any) -> dict[str, float]:
    """The newest values, as `validation-rmse`; of a cross-validation the means."""
    found = {}
    for data, metrics in evals_log.items():
        for name, values in metrics.items():
            value = values[-1] if values else None
            value = value[0] if isinstance(value, tuple) else value
            if isinstance(value, float):
                found[f"{data}-{name}"] = value
    return found
