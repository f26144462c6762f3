"""What is reported is what the step used: steps that write their own rate, nested steps, steps that raise, phantom steps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

import lrwatch


def weight() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parameter.grad = torch.ones(1, dtype=torch.float64)
    return parameter


def used(optimizer: Any, parameter: torch.nn.Parameter) -> float:
    """The rate that a step of plain gradient descent used, read off the move of the weight."""
    before = parameter.item()
    parameter.grad = torch.ones(1, dtype=torch.float64)
    optimizer.step()
    return before - parameter.item()


class ClosedForm(torch.optim.SGD):
    """Writes its rate at the beginning of the step, as Adafactor of fairseq does."""

    n = 0

    def step(self, closure: Any = None) -> Any:
        self.n += 1
        for group in self.param_groups:
            group["lr"] = 0.1 * 0.99**self.n
        return super().step(closure)


class Hypergradient(torch.optim.SGD):
    """Adds to its rate at the end of the step."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            group["lr"] += 0.01
        return result


class InPlace(torch.optim.SGD):
    """Multiplies a tensor in place."""

    def step(self, closure: Any = None) -> Any:
        result = super().step(closure)
        for group in self.param_groups:
            group["lr"].mul_(0.9)
        return result


@pytest.mark.parametrize("kind", [ClosedForm, Hypergradient, InPlace])
@pytest.mark.parametrize("first", ["scaled", "unscaled"])
def test_a_step_that_writes_its_own_rate_is_answered_rejected_and_left_alone(
    kind: type[torch.optim.SGD], first: str, pair: Callable[..., Any]
) -> None:
    def make() -> tuple[Any, torch.nn.Parameter]:
        parameter = weight()
        return kind([parameter], lr=torch.tensor(0.1, dtype=torch.float64) if kind is InPlace else 0.1), parameter

    optimizer, parameter = make()
    ends = pair(optimizer)
    if first == "unscaled":
        used(optimizer, parameter)
        ends.client.step()
    ends.send(0.5)
    ends.client.step()
    used(optimizer, parameter)
    ends.client.step()
    answer = ends.observed
    assert (answer.status, answer.code) == ("rejected", "lr_written_in_step")
    assert (answer.scale, dict(answer.effective_lr), dict(answer.schedule_lr)) == (1.0, {}, {})
    assert answer.not_acting == "lr_written_in_step"
    assert ends.client.scale == 1.0
    assert ends.client.lr == {}
    if first == "unscaled" and kind is not InPlace:  # nothing was ever scaled: as without lrwatch
        other, its = make()
        for _ in range(2):
            used(other, its)
        assert used(optimizer, parameter) == pytest.approx(used(other, its), abs=1e-12)
    ends.send(0.25)
    ends.client.step()
    ends.client.step()
    assert (ends.observed.status, ends.observed.code) == ("rejected", "lr_written_in_step")


def test_a_step_that_writes_the_very_rate_that_it_was_given_is_scaled(pair: Callable[..., Any]) -> None:
    class Same(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                group["lr"] = float(str(group["lr"]))
            return super().step(closure)

    parameter = weight()
    optimizer = Same([parameter], lr=0.1)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    assert used(optimizer, parameter) == pytest.approx(0.05)
    ends.client.step()
    assert (ends.observed.status, ends.observed.effective_lr) == ("applied", {"0": 0.05})
    assert ends.client.errors == {}


@pytest.mark.parametrize("made_before", [True, False], ids=["hooks of the parent run too", "hooks of the child alone"])
def test_only_the_outermost_of_nested_steps_acts(made_before: bool, pair: Callable[..., Any]) -> None:
    class Parent(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    class Child(Parent):
        def step(self, closure: Any = None) -> Any:
            return super().step(closure)

    if made_before:  # torch puts hooks around the step of a class when the first one is made
        Parent([weight()], lr=0.1)
        torch.optim.SGD([weight()], lr=0.1)
    parameter = weight()
    optimizer = Child([parameter], lr=0.1)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    for number in range(1, 4):
        assert used(optimizer, parameter) == pytest.approx(0.05)
        assert ends.client._adapter.steps == number
        ends.client.step()
    assert ends.client.errors == {}


class Failing(torch.optim.SGD):
    fail = False

    def step(self, closure: Any = None) -> Any:
        if self.fail:
            raise MemoryError("inside step")
        return super().step(closure)


@pytest.mark.parametrize("guarded", [True, False], ids=["by its own step", "by the step of the class"])
def test_a_step_that_raises_gives_the_rate_back_before_a_scheduler_sees_it(
    guarded: bool, pair: Callable[..., Any]
) -> None:
    parameter = weight()
    optimizer = Failing([parameter], lr=0.1)
    torch.optim.SGD([weight()], lr=0.1)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    schedule = torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda _: 0.9)
    assert used(optimizer, parameter) == pytest.approx(0.05)
    optimizer.fail = True
    with pytest.raises(MemoryError):
        optimizer.step() if guarded else Failing.step(optimizer)
    optimizer.fail = False
    if guarded:
        schedule.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.09)
        assert used(optimizer, parameter) == pytest.approx(0.045)
    else:
        assert used(optimizer, parameter) == pytest.approx(0.05), "once, and not a second time on top"
    assert ends.client.errors == {}


def test_an_optimizer_goes_with_its_last_reference_and_comes_back_as_it_was(tmp_path: Path) -> None:
    optimizer = torch.optim.SGD([weight()], lr=0.1)
    with lrwatch.attach(optimizer, tmp_path, poll_seconds=60) as watch:
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1)
        optimizer.step()
        schedule.step()
        watch.close()
        watch._adapter.release()
        assert "hooks" not in str(optimizer._optimizer_step_pre_hooks)
        optimizer.step()
    gone = weakref.ref(optimizer)
    del schedule
    gc.collect()
    gc.disable()
    try:
        del optimizer
        assert gone() is None, "a circle of references would keep the tensors on the device"
    finally:
        gc.enable()


def test_a_hook_of_the_script_may_step_the_scheduler(pair: Callable[..., Any]) -> None:
    parameter = weight()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    assert [used(optimizer, parameter) for _ in range(3)] == pytest.approx([0.05, 0.025, 0.0125])
    ends.client.step()
    assert ends.observed.status == "applied"


@pytest.mark.parametrize("tensor", [False, True])
def test_the_phantom_step_of_a_checkpoint_helper_does_not_count(tensor: bool, pair: Callable[..., Any]) -> None:
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=torch.tensor(0.1) if tensor else 0.1)
    ends = pair(optimizer)
    assert ends.send(0.5).status == "pending"
    ends.client.step()
    get_optimizer_state_dict(model, optimizer)  # makes the state by a step at rate 0
    assert optimizer.state, "it did step"
    ends.client.step()
    answer = ends.observed
    assert (answer.status, dict(answer.effective_lr)) == ("pending", {})
    assert ends.client._adapter.steps == 0
    assert float(optimizer.param_groups[0]["lr"]) == pytest.approx(0.1)


def test_a_step_that_puts_another_tensor_in_the_place_of_its_rate_is_rejected(pair: Callable[..., Any]) -> None:
    class Replacing(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            for group in self.param_groups:
                group["lr"] = torch.tensor(0.1)
            return super().step(closure)

    parameter = weight()
    optimizer = Replacing([parameter], lr=torch.tensor(0.1))
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    assert used(optimizer, parameter) == pytest.approx(0.1)
    ends.client.step()
    assert (ends.observed.status, ends.observed.code) == ("rejected", "lr_written_in_step")
    assert ends.client.lr == {}


def test_a_hook_that_is_registered_later_may_set_the_schedules_rate_before_each_step(pair: Callable[..., Any]) -> None:
    parameter = weight()
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    ends = pair(optimizer)
    rates = iter([0.09, 0.08, 0.07, 0.06])

    def schedule(optimizer: torch.optim.Optimizer, *_: object) -> None:
        optimizer.param_groups[0]["lr"] = next(rates)

    optimizer.register_step_pre_hook(schedule)
    assert used(optimizer, parameter) == pytest.approx(0.09)
    ends.send(0.5)
    ends.client.step()
    assert [used(optimizer, parameter) for _ in range(3)] == pytest.approx([0.04, 0.035, 0.03])
    ends.client.step()
    assert (ends.observed.status, ends.client.errors) == ("applied", {})
