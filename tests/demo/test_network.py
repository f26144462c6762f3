"""The demo's training is a real one: the gradients are right, the data is what it says, the log is ordinary."""

from __future__ import annotations

import io

import numpy as np
import pytest

from lrwatch.core.names import role
from lrwatch.demo import data
from lrwatch.demo.network import Networks
from lrwatch.demo.sweep import LR, RATES, START_RATES
from lrwatch.demo.trainer import LOG_EVERY, train
from lrwatch.formats import detect


def test_a_step_goes_along_the_gradient_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, data.INPUTS)).astype(np.float32)
    y = rng.standard_normal((16, data.OUTPUTS)).astype(np.float32)
    rate = 1e-3
    networks = Networks([rate], momentum=0.0)
    before = [w.copy() for w in networks._weights]
    loss = networks.step(x, y)
    moved = [w - b for w, b in zip(networks._weights, before, strict=True)]
    # Of the first order: the loss falls by lr times the squared length of the gradient.
    predicted = sum(float(np.sum(np.square(m, dtype=np.float64))) for m in moved) / rate
    assert (loss - networks.losses(x, y))[0] == pytest.approx(predicted, rel=0.05)


def test_each_network_learns_as_if_it_were_alone() -> None:
    rng = np.random.default_rng(0)
    rates = (0.003, 0.01, 0.03)
    together, alone = Networks(rates, seed=1), [Networks([rate], seed=1) for rate in rates]
    for _ in range(30):
        x, y = (rng.standard_normal((16, n), dtype=np.float32) for n in (data.INPUTS, data.OUTPUTS))
        losses = together.step(x, y)
        assert losses == pytest.approx([one.step(x, y)[0] for one in alone], rel=1e-4)
    assert len({round(float(loss), 4) for loss in losses}) == len(rates)


@pytest.mark.slow
def test_the_data_is_the_same_for_the_same_seed_and_validated_with_the_same_noise() -> None:
    one, again, other = data.make(0), data.make(0), data.make(1)
    assert np.array_equal(one.y, again.y)
    assert not np.array_equal(one.y, other.y)
    for targets in (one.y, one.y_validation):
        assert float(targets.var()) == pytest.approx(1.0 + data.NOISE**2, rel=0.05)


@pytest.mark.slow
def test_training_is_the_same_for_the_same_seed_and_its_log_is_understood() -> None:
    logs = [io.StringIO(), io.StringIO()]
    losses = [train(Networks([LR]), 40, [log]) for log in logs]
    assert losses[0] == losses[1]
    assert logs[0].getvalue() == logs[1].getvalue()
    text = logs[0].getvalue().encode()
    format_ = detect(text, final=True)
    assert format_ is not None
    batch, used = format_.feed(text, final=True)
    assert used == len(text)
    assert {role(name) for name in batch.columns} == {"train_loss", "val_loss", "lr"}
    assert len(batch.columns["loss"].values) == 40 // LOG_EVERY


def test_the_start_rates_are_the_best_of_those_that_were_swept_and_its_neighbours() -> None:
    at = RATES.index(LR)
    assert RATES[at - 1 : at + 2] == START_RATES
