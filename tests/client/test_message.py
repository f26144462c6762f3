"""What is said of many groups: a part of the rates, or none, and never nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from lrwatch.client.adapter import LearningRates
from lrwatch.client.message import message_of
from lrwatch.protocol import MAX_GROUPS, Observed, decode_observed

OBSERVED = Observed(run="a", incarnation="i", step=3, scale=0.5)


def said(schedule: dict[str, object], effective: dict[str, object]) -> tuple[Observed, Counter[str]]:
    errors: Counter[str] = Counter()
    return decode_observed(message_of(OBSERVED, LearningRates(0.5, schedule, effective), errors)), errors


def test_of_ten_thousand_groups_the_first_are_said() -> None:
    observed, errors = said({str(i): 0.1 for i in range(10_000)}, {str(i): 0.05 for i in range(10_000)})
    assert list(observed.schedule_lr) == sorted(str(i) for i in range(MAX_GROUPS))
    assert set(observed.effective_lr.values()) == {0.05}
    assert not errors


@pytest.mark.parametrize(
    "rates", [{"a" * 100: 0.1}, {"": 0.1}, {3: 0.1}, {f"{i:032}": 0.1 + i * 1e-17 for i in range(9)} | {"x\ud800": 1.0}]
)
def test_rates_that_cannot_be_sent_leave_a_message_without_them_and_are_counted_once(rates: Any) -> None:
    observed, errors = said(rates, rates)
    assert observed == OBSERVED
    assert errors == {"rates": 1}


def test_rates_that_are_no_numbers_are_left_out() -> None:
    observed, errors = said({"0": 0.1, "1": None, "2": float("inf"), "3": torch.tensor(0.5)}, {})
    assert observed.schedule_lr == {"0": 0.1, "3": 0.5}
    assert not errors


def step(optimizer: torch.optim.Optimizer, _: torch.Tensor) -> None:
    optimizer.step()
    optimizer.zero_grad()


def test_seven_hundred_optimizers_that_step_in_backward_hooks_are_answered(pair: Callable[..., Any]) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)) for _ in range(700)]
    optimizers = [torch.optim.SGD([weight], lr=0.1) for weight in weights]
    for weight, optimizer in zip(weights, optimizers, strict=True):
        weight.register_post_accumulate_grad_hook(partial(step, optimizer))  # type: ignore[no-untyped-call]
    ends = pair(optimizers)
    ends.send(0.5)
    for _ in range(3):
        ends.client.step(loss=1.0)
        torch.stack([weight.sum() for weight in weights]).sum().backward()  # type: ignore[no-untyped-call]
        ends.worker.round()
    observed = ends.observed
    assert (observed.status, observed.scale, observed.step) == ("applied", 0.5, 3)
    assert len(observed.effective_lr) == len(observed.schedule_lr) == MAX_GROUPS
    assert set(observed.effective_lr.values()) == {0.05}
    assert not ends.client.errors


def test_ten_thousand_groups_of_one_optimizer_are_answered(pair: Callable[..., Any]) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(10_000)]
    optimizer = torch.optim.SGD(weights[:1], lr=0.1)
    first = optimizer.param_groups[
        0
    ]  # torch compares each group that it is given with all others, which takes half a minute
    optimizer.param_groups += [{**first, "params": [weight]} for weight in weights[1:]]
    ends = pair(optimizer)
    ends.send(0.5)
    for _ in range(2):
        ends.client.step(loss=1.0)
        optimizer.step()
    observed = ends.observed
    assert (observed.status, len(observed.effective_lr)) == ("applied", MAX_GROUPS)
    assert not ends.client.errors
