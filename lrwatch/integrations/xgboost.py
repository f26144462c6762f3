"""XGBoost.

::

    booster = xgboost.train(..., callbacks=[lrwatch.xgboost.LrwatchCallback("runs/a/lrwatch")])

A step is a boosting round. What is evaluated gets a set of data `lrwatch` with the `scale` and the rate of each round, `lr`, which is
printed with the others and is in `evals_result`. The learning rate is scaled during a round and is the schedule's between the rounds, so it works
with `LearningRateScheduler`, before this callback or after it; a callback that saves models belongs after it. After the first
command the state is an attribute of the booster, and so in every saved model: a training that continues from it
(`xgb_model=`) continues at its scale. The length is `num_boost_round`, which XGBoost tells its callbacks nowhere: it is read off the
call of `train` or `cv`. Under anything else give it as `total_steps=`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import numpy as np
from xgboost import Booster
from xgboost.callback import TrainingCallback

from lrwatch.integrations._base import CallbackBase, RoundAdapter, known_length

# The attribute of a booster that holds the state.
ATTRIBUTE = "lrwatch"
# The name in the evaluation log; one with a slash or a dash would be cut there.
SHOWN = "lrwatch"
# Callers among which `xgboost.train` is looked for: it, and the container of its callbacks.
_CALLERS = 4
# The two names of the learning rate.
_NAMES = ("learning_rate", "eta")


class LrwatchCallback(CallbackBase, TrainingCallback):
    """Lets lrwatch scale the learning rate of `xgboost.train` and of the scikit-learn interface.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(control_dir, **options)
        self._adapter = RoundAdapter("xgboost")
        self._rounds_before = 0
        self._rate: float | None = None
        self._names_set: list[object] = []

    def before_training(self, model: Any) -> Any:
        """Attach, and continue at the scale of the model."""
        self._adapter, self._rate = RoundAdapter("xgboost"), None
        self._rounds_before = model.num_boosted_rounds()
        rounds = _rounds_of_call()
        length = known_length(None if rounds is None else self._rounds_before + rounds)
        self._attach(self._adapter, self._rounds_before, _state_of(model), **length)
        return model

    def before_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Scale the learning rate of this round."""
        scale = self._scale
        rate = _rate_of(model) if scale != 1.0 or self._adapter.wanted or evals_log else None
        if rate is not None:
            self._adapter.used_rate(rate, scale)
            if scale != 1.0:
                model.set_param("learning_rate", rate * scale)
                self._rate, self._names_set = rate, _record_names(model)
        return False

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        """Restore the schedule's learning rate, and count the round."""
        self._restore_rate(model)
        _show(evals_log, self._shown_of_round())
        self._step(self._rounds_before + epoch + 1, **_metrics(evals_log))
        state = self._state()
        if state.get("generation"):
            model.set_attr(**{ATTRIBUTE: json.dumps(state)})
        return False

    def after_training(self, model: Any) -> Any:
        """Write the waiting metrics."""
        self._restore_rate(model)  # a callback before this one may have ended the training within the round
        self._close()
        return model

    def _shown_of_round(self) -> dict[str, float]:
        """Return what the evaluation log is to show of this round: its scale, and its rate."""
        sample, rates = self._adapter.sample(), {} if self.watch is None else self.watch.lr
        return {} if sample is None or not rates else {"scale": sample.scale, "lr": rates["0"]}

    def _restore_rate(self, model: Any) -> None:
        rate, self._rate = self._rate, None
        if rate is not None:
            del model.set_param
            if not self._names_set:  # else the schedule has set the next one, which may be any number, also this one
                model.set_param("learning_rate", rate)


def _rounds_of_call() -> int | None:
    """Return the number of rounds that `train` or `cv` was called with, or None where neither is among the callers."""
    frame = sys._getframe(1)
    for _ in range(_CALLERS):
        if frame.f_globals.get("__name__") == "xgboost.training" and "num_boost_round" in frame.f_locals:
            rounds: int = frame.f_locals["num_boost_round"]
            return rounds
        if frame.f_back is None:
            break
        frame = frame.f_back
    return None


def _record_names(model: Any) -> list[object]:
    """Return a list of the names of the learning rate that `model.set_param` sets, until the attribute is deleted."""
    names_set: list[object] = []
    set_param = model.set_param

    def recorded(params: Any, value: Any = None) -> None:
        names = [params] if isinstance(params, str) else [pair[0] for pair in dict(params).items()]
        names_set.extend(name for name in names if name in _NAMES)
        set_param(params, value)

    model.set_param = recorded
    return names_set


def _rate_of(model: Any) -> float | None:
    """Return the learning rate in the configuration, as the shortest number that is equal to it in single precision."""
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


def _show(evals_log: Any, shown: dict[str, float]) -> None:
    """Add the values of a round to the evaluation log, as a set of data called `lrwatch`.

    It stands first: early stopping and others take the last set of data. A log without any stays empty.
    """
    if not evals_log or not shown:
        return
    ours = evals_log.setdefault(SHOWN, {})
    evals_log.move_to_end(SHOWN, last=False)
    for name, value in shown.items():
        ours.setdefault(name, []).append(value)


def _metrics(evals_log: Any) -> dict[str, float]:
    """Return the newest values, as `validation-rmse`; of a cross-validation the means."""
    found = {}
    for data, metrics in evals_log.items():
        if data == SHOWN:
            continue
        for name, values in metrics.items():
            value = values[-1] if values else None
            value = value[0] if isinstance(value, tuple) else value
            if isinstance(value, float):
                found[f"{data}-{name}"] = value
    return found
