"""The demo compares with torch's rule: with torch itself, value by value."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch.demo.torch_rule import TorchRule


def rates_of_torch(losses: list[float], lr: float) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    rates = []
    for loss in losses:
        scheduler.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def rates_of_the_demo(losses: list[float], lr: float) -> list[float]:
    rule, rates = TorchRule(lr), []
    for loss in losses:
        rule.step(loss)
        rates.append(rule.lr)
    return rates


@settings(max_examples=30)
@given(st.lists(st.floats(0.5, 0.5002) | st.floats(0, 2) | st.just(float("nan")), min_size=1, max_size=120))
def test_it_cuts_where_torch_cuts(losses: list[float]) -> None:
    assert rates_of_the_demo(losses, 0.1) == rates_of_torch(losses, 0.1)


@pytest.mark.parametrize("lr", [0.1, 3e-8])
def test_it_goes_as_far_down_as_torch(lr: float) -> None:
    losses = list(np.random.default_rng(0).normal(1.0, 0.1, 300))
    rates = rates_of_the_demo(losses, lr)
    assert rates == rates_of_torch(losses, lr)
    assert rates[-1] < lr
