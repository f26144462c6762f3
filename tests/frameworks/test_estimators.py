"""Estimators of scikit-learn that hold a callback: saved, cloned and cross-validated while they train and after."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lrwatch
from lrwatch.integrations._base import CallbackBase, RoundAdapter

pytestmark = pytest.mark.frameworks

joblib: Any = pytest.importorskip("joblib")
sklearn: Any = pytest.importorskip("sklearn.base")
cross_val_score: Any = pytest.importorskip("sklearn.model_selection").cross_val_score
clone: Any = sklearn.clone


def by_joblib(value: Any) -> Any:
    file = io.BytesIO()
    joblib.dump(value, file)
    file.seek(0)
    return joblib.load(file)


WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "deepcopy": copy.deepcopy,
    "joblib": by_joblib,
    "clone": clone,
}


def test_a_client_can_be_saved_by_joblib(tmp_path: Path) -> None:
    with lrwatch.attach(None, tmp_path, poll_seconds=60) as watch:
        watch.load_state_dict({**watch.state_dict(), "scale": 0.5})
        copied = by_joblib(watch)
        assert copied.state_dict() == watch.state_dict()
        assert copied.scale == 0.5


class Callback(CallbackBase):
    """A callback of a boosting library, without the library."""

    def __init__(self, control_dir: str, **options: Any) -> None:
        super().__init__(control_dir, **options)
        self.adapter = RoundAdapter("rounds")


class Regressor(sklearn.BaseEstimator):
    """Trains with its callback, and keeps it."""

    def __init__(self, callback: Any = None) -> None:
        self.callback = callback

    def fit(self, x: Any, y: Any) -> Regressor:
        self.callback.adapter = RoundAdapter("rounds")
        self.callback._attach(self.callback.adapter, 0)
        self.callback.adapter.used_rate(0.1, self.callback._scale)
        self.callback._step(1, loss=1.0)
        self.callback._close()
        self.mean_ = y.mean()
        return self

    def score(self, x: Any, y: Any) -> float:
        return float(self.mean_)


@pytest.mark.parametrize("way", WAYS)
def test_an_estimator_with_a_callback_can_be_saved_while_it_trains_and_after(way: str, tmp_path: Path) -> None:
    x, y = np.zeros((8, 1)), np.ones(8)
    model = Regressor(Callback(str(tmp_path), poll_seconds=60, reload=lambda: None)).fit(x, y)
    copied = WAYS[way](model)
    assert copied.callback._arguments["control_dir"] == str(tmp_path)
    assert copied.callback.watch.state_dict()["step"] == 1
    copied.fit(x, y)
    model.callback._attach(model.callback.adapter, 0)
    assert WAYS[way](model).callback.watch.scale == 1.0
    model.callback._close()
    assert cross_val_score(model, x, y, cv=2).tolist() == [1.0, 1.0]
