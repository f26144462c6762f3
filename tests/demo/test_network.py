"""The demo's training is a real one: the gradients are right, the data is what it says, the log is ordinary."""

from __future__ import annotations

import io

import numpy as np
import pytest

from lrwatch.core.events import Counterfactual, Effect, as_json
from lrwatch.core.names import role
from lrwatch.demo import data
from lrwatch.demo.network import Network
from lrwatch.demo.show import answer_in_words, effect_of
from lrwatch.demo.sweep import LR, RATES
from lrwatch.demo.trainer import LOG_EVERY, train
from lrwatch.formats import detect
from lrwatch.report.model.timeline import lr_changes


def test_a_step_goes_along_the_gradient_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, data.INPUTS)).astype(np.float32)
    y = rng.standard_normal((16, data.OUTPUTS)).astype(np.float32)
    rate = 1e-3
    network = Network(rate, momentum=0.0)
    before = [w.copy() for w in network._weights]
    loss = network.step(x, y)
    moved = [w - b for w, b in zip(network._weights, before, strict=True)]
    # Of the first order: the loss falls by lr times the squared length of the gradient.
    predicted = sum(float(np.sum(np.square(m, dtype=np.float64))) for m in moved) / rate
    assert loss - network.loss(x, y) == pytest.approx(predicted, rel=0.05)


@pytest.mark.slow
def test_the_data_is_the_same_for_the_same_seed_and_validated_on_the_truth() -> None:
    one, again, other = data.make(0), data.make(0), data.make(1)
    assert np.array_equal(one.y, again.y)
    assert not np.array_equal(one.y, other.y)
    assert float(one.y_validation.var()) == pytest.approx(1.0, abs=0.1)
    assert float(one.y.var()) == pytest.approx(1.0 + data.NOISE**2, rel=0.05)


@pytest.mark.slow
def test_training_is_the_same_for_the_same_seed_and_its_log_is_understood() -> None:
    logs = [io.StringIO(), io.StringIO()]
    losses = [train(Network(LR), 40, log) for log in logs]
    assert losses[0] == losses[1]
    assert logs[0].getvalue() == logs[1].getvalue()
    text = logs[0].getvalue().encode()
    format_ = detect(text, final=True)
    assert format_ is not None
    batch, used = format_.feed(text, final=True)
    assert used == len(text)
    assert {role(name) for name in batch.columns} == {"train_loss", "val_loss", "lr"}
    assert len(batch.columns["loss"].values) == 40 // LOG_EVERY


def test_the_rate_is_one_of_those_that_were_swept() -> None:
    assert LR in RATES


def test_a_command_without_an_answer_says_so() -> None:
    command = {"event": "command", "step": 10, "scale": 0.5, "reason": "r", "cause": "plateau"}
    answer = {"event": "acknowledged", "step": 12, "scale": 0.5}
    effect = {
        "event": "effect",
        "step": 30,
        "scale": 0.5,
        "gain": 0.03,
        "lower": 0.01,
        "upper": 0.05,
        "message": "in other words",
    }
    events = [command, answer, effect, {**command, "step": 40, "scale": 0.25}]
    assert [(answer_in_words(change), effect_of(change)) for change in lr_changes(events)] == [
        ("acknowledged at step 12", "helped: 3.0 % better (1.0 to 5.0 %)"),
        ("not acknowledged", "not measured: too few samples followed it"),
    ]


def test_an_effect_names_the_two_levels_that_show_it() -> None:
    command = {"event": "command", "step": 10, "scale": 0.5, "reason": "r", "cause": "plateau"}
    gain = Effect(30, 0.5, -0.01, -0.03, 0.01, "", Counterfactual(12, 1.01, 0.01, 1.0, 0.01, 1.01, 0.01))
    events = [command, as_json(gain, "train"), {**command, "scale": 1.0, "step": 31, "cause": "restore"}]
    cut, back = (effect_of(change) for change in lr_changes(events))
    assert (
        cut
        == "no gain: 1.0 % worse (3.0 % worse to 1.0 % better); 1.01 after 18 steps, where continuing would have given 1"
    )
    assert back == "not measured: it takes a change back"
