"""The callable client on real training frameworks other than torch: they train at the requested rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.waiting import eventually

import lrwatch
from lrwatch.client import Client
from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired

pytestmark = pytest.mark.frameworks

RATE = 0.01


def ask(control: ControlDirectory, scale: float) -> None:
    """Be the daemon: ask for `scale` once the trainer has said hello, and wait until it was heard."""
    hello = eventually(control.read_observed)
    control.publish(Desired(run=hello.run, incarnation=hello.incarnation, generation=1, token=1, scale=scale))


def heard(control: ControlDirectory, status: str) -> bool:
    observed = control.read_observed()
    return observed is not None and observed.status == status


def train(step: Callable[[], None], watch: Client, control: ControlDirectory, scale: float) -> None:
    """Three steps at full rate, then steps until the scale is applied and acknowledged."""
    for _ in range(3):
        step()
        watch.step()
    ask(control, scale)
    eventually(partial(heard, control, "pending"))

    def applied() -> bool:
        step()
        watch.step()
        return heard(control, "applied")

    eventually(applied)


def test_scikit_learn_sgd_takes_the_scaled_rate(tmp_path: Path) -> None:
    from sklearn.linear_model import SGDRegressor

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((64, 4)), rng.standard_normal(64)
    model = SGDRegressor(learning_rate="constant", eta0=RATE, penalty=None, shuffle=False, random_state=0)

    def set_scale(scale: float) -> None:
        model.eta0 = RATE * scale

    control = ControlDirectory(tmp_path / "lrwatch")
    with lrwatch.attach(set_scale, control.path, poll_seconds=0.02) as watch:
        train(lambda: model.partial_fit(x, y), watch, control, 0.5)
    before = model.coef_.copy(), model.intercept_.copy()
    model.partial_fit(x[:1], y[:1])  # one SGD step on the squared error: w -= lr * (w x + b - y) x
    residual = float(before[0] @ x[0] + before[1][0] - y[0])
    np.testing.assert_allclose(model.coef_, before[0] - 0.5 * RATE * residual * x[0], rtol=1e-12)


def test_lightgbm_takes_the_scaled_shrinkage(tmp_path: Path) -> None:
    import lightgbm

    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 3))
    data = lightgbm.Dataset(x, x[:, 0] ** 2 + x[:, 1])
    settings = {"objective": "l2", "learning_rate": RATE, "verbose": -1, "num_threads": 1}
    booster = lightgbm.Booster(settings, data)

    def set_scale(scale: float) -> None:
        booster.reset_parameter({"learning_rate": RATE * scale})

    def step() -> None:
        booster.update()

    control = ControlDirectory(tmp_path / "lrwatch")
    with lrwatch.attach(set_scale, control.path, poll_seconds=0.02) as watch:
        train(step, watch, control, 0.25)
    shrinkage = [tree["shrinkage"] for tree in booster.dump_model()["tree_info"]]
    assert math.isclose(shrinkage[1], RATE)  # the first tree of LightGBM carries the mean, unshrunk
    assert math.isclose(shrinkage[-1], 0.25 * RATE)
