"""The scale and the schedule of a torch optimizer compose exactly, whatever happens in between."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

import lrwatch

STEPS = 40
# Optimizer step from which on -> scale: down, further down, up, back.
PLAN = {6: 0.5, 15: 0.1, 24: 0.2, 33: 1.0}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "lambda": lambda o: schedulers.LambdaLR(o, lambda step: 0.99**step),
    "multiplicative": lambda o: schedulers.MultiplicativeLR(o, lambda _: 0.97),
    "step": lambda o: schedulers.StepLR(o, 7),
    "multistep": lambda o: schedulers.MultiStepLR(o, [10, 20]),
    "constant": lambda o: schedulers.ConstantLR(o, 0.3, 9),
    "linear": lambda o: schedulers.LinearLR(o, 0.1, 1.0, 12),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.95),
    "polynomial": lambda o: schedulers.PolynomialLR(o, STEPS, 1.5),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.001),
    "warm_restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7),
    "one_cycle": lambda o: schedulers.OneCycleLR(o, max_lr=0.05, total_steps=STEPS + 1),
    "cyclic": lambda o: schedulers.CyclicLR(o, 0.001, 0.01, 5, cycle_momentum=False),
    "sequential": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.ExponentialLR(o, 0.9)], [8]
    ),
    "chained": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.5, 5), schedulers.ExponentialLR(o, 0.9)]
    ),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=3),
}


class Spy(torch.optim.AdamW):
    """Notes the learning rates inside its own step, where they count."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.used: list[list[float]] = []
        self.fail = False
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.used.append([float(group["lr"]) for group in self.param_groups])
        if self.fail:
            raise RuntimeError("inside step")
        return super().step(closure)


def build(lr: str = "float", groups: int = 1, kind: Callable[..., Any] = Spy) -> Any:
    """An optimizer over small tensors with gradients."""
    generator = torch.Generator().manual_seed(1)
    parts: list[dict[str, Any]] = []
    for number in range(groups):
        tensor = torch.randn(3, generator=generator).requires_grad_()
        tensor.grad = torch.randn(3, generator=generator)
        rate = 0.01 * (number + 1)
        parts.append({"params": [tensor], "lr": torch.tensor(rate) if lr == "tensor" else rate})
    if lr == "shared":
        shared = torch.tensor(0.01)
        return kind([{"params": part["params"]} for part in parts], lr=shared)
    return kind(parts)


def drive(optimizer: Any, scheduler: Any, after: Callable[[int], None]) -> list[Any]:
    """Train; gives the learning rates that each step used."""
    for step in range(1, STEPS + 1):
        optimizer.step()
        if scheduler is not None:
            scheduler.step(1.0) if isinstance(scheduler, schedulers.ReduceLROnPlateau) else scheduler.step()
        after(step)
    return list(optimizer.used)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step:UserWarning")
@pytest.mark.parametrize("lr", ["float", "tensor", "shared"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(name: str, lr: str, pair: Any) -> None:
    plain = build(lr, 2)
    schedule = drive(plain, SCHEDULERS[name](plain), lambda _: None)

    scaled = build(lr, 2)
    ends = pair(scaled, max_factor_up=10.0)
    identities = [id(group["lr"]) for group in scaled.param_groups] if lr != "float" else []

    def after(step: int) -> None:
        if step + 1 in PLAN:
            ends.control.publish(ends.command(PLAN[step + 1]))
            ends.worker.round()
        ends.client.step()

    effective = drive(scaled, SCHEDULERS[name](scaled), after)
    scale = 1.0
    for step in range(1, STEPS + 1):
        scale = PLAN.get(step, scale)
        for base, used in zip(schedule[step - 1], effective[step - 1], strict=True):
            expected = base * scale if lr == "float" else float(torch.tensor(base) * scale)
            assert used == expected, (name, lr, step)
    # Nobody outside of step() ever sees a scaled rate, and tensors are still the same ones.
    assert [float(g["lr"]) for g in scaled.param_groups] == [float(g["lr"]) for g in plain.param_groups]
    assert [id(group["lr"]) for group in scaled.param_groups] == identities or lr == "float"
    assert ends.observed.status == "applied"
    assert ends.client.errors == {}


def test_at_scale_one_the_weights_are_bit_identical(pair: Any) -> None:
    def train(attached: bool) -> list[torch.Tensor]:
        torch.manual_seed(3)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
        scheduler = schedulers.CosineAnnealingLR(optimizer, 50)
        watch = pair(optimizer).client if attached else None
        for _ in range(50):
            loss = model(torch.randn(16, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if watch is not None:
                watch.step(loss=loss)
        return [p.detach() for p in model.parameters()]

    for plain, watched in zip(train(False), train(True), strict=True):
        assert torch.equal(plain, watched)


def test_scale_one_after_another_scale_touches_nothing(pair: Any) -> None:
    optimizer = build()
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    optimizer.step()
    ends.client.step()
    ends.send(1.0)
    ends.client.step()
    rate = optimizer.param_groups[0]["lr"]
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] is rate
    assert optimizer.used == [[0.005], [0.01]]


@pytest.mark.parametrize("lr", ["float", "tensor", "shared"])
def test_an_exception_inside_step_leaves_no_scaled_rate_behind(lr: str, pair: Any) -> None:
    optimizer = build(lr, 2)
    rates = [float(group["lr"]) for group in optimizer.param_groups]
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()

    def rate() -> list[float]:
        return [float(group["lr"]) for group in optimizer.param_groups]

    def crash() -> None:
        optimizer.fail = True
        with pytest.raises(RuntimeError, match="inside step"):
            optimizer.step()
        optimizer.fail = False
        assert rate() == rates, "given back at once: a scheduler or a checkpoint may come before any other step"

    crash()
    optimizer.step()
    assert optimizer.used[0] == optimizer.used[1]
    assert rate() == rates

    crash()
    assert [float(group["lr"]) for group in optimizer.state_dict()["param_groups"]] == rates
    crash()
    ends.client.state_dict()
    assert rate() == rates
    assert ends.client.errors == {}


def test_a_rate_that_was_written_after_a_failed_step_is_the_schedules_from_then_on(pair: Any) -> None:
    optimizer = build()
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    optimizer.fail = True
    with pytest.raises(RuntimeError, match="inside step"):
        optimizer.step()
    optimizer.fail = False
    optimizer.param_groups[0]["lr"] = 0.3
    optimizer.step()
    assert optimizer.used[-1] == [0.15]
    assert optimizer.param_groups[0]["lr"] == 0.3
    assert ends.client.errors == {}


def test_a_resume_neither_doubles_nor_loses_the_scale(pair: Any) -> None:
    optimizer = build()
    scheduler = schedulers.ExponentialLR(optimizer, 0.9)
    first = pair(optimizer)
    first.send(0.5)
    for _ in range(5):
        first.client.step()
        optimizer.step()
        scheduler.step()
    checkpoint = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict(), first.client.state_dict()))

    resumed = build()
    again = schedulers.ExponentialLR(resumed, 0.9)
    second = pair(resumed)
    before = second.observed.incarnation
    resumed.load_state_dict(checkpoint[0])
    again.load_state_dict(checkpoint[1])
    second.client.load_state_dict(checkpoint[2])
    hello = second.observed
    assert hello.incarnation != before
    assert (hello.status, hello.scale, hello.resumed_from_step, hello.observed_generation) == ("hello", 0.5, 5, 1)
    resumed.step()
    assert resumed.used == [[again.get_last_lr()[0] * 0.5]]
    assert again.get_last_lr() == scheduler.get_last_lr()


def test_groups_are_read_at_the_time_of_the_step(pair: Any) -> None:
    optimizer = build(groups=2)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    both = optimizer.param_groups
    optimizer.param_groups = both[:1]  # as DeepSpeed does for each group in turn
    optimizer.step()
    optimizer.param_groups = both[1:]
    optimizer.step()
    optimizer.param_groups = both
    extra = torch.ones(1, requires_grad=True)
    extra.grad = torch.ones(1)
    optimizer.add_param_group({"params": [extra], "lr": 0.08})
    optimizer.step()
    assert optimizer.used == [[0.005], [0.01], [0.005, 0.01, 0.04]]
    assert [group["lr"] for group in both] == [0.01, 0.02, 0.08]


def test_several_optimizers_are_scaled_and_told_apart(pair: Any) -> None:
    first, second = build(groups=2), build()
    ends = pair([first, second])
    ends.send(0.5)
    ends.client.step()
    first.step()
    second.step()
    ends.client.step()
    observed = ends.observed
    assert observed.schedule_lr == {"0.0": 0.01, "0.1": 0.02, "1.0": 0.01}
    assert observed.effective_lr == {"0.0": 0.005, "0.1": 0.01, "1.0": 0.005}


def test_the_innermost_optimizer_is_scaled_whatever_it_is_wrapped_in(pair: Any) -> None:
    class Wrapper(torch.optim.Optimizer):
        def __init__(self, inner: Any) -> None:
            self.optimizer = inner
            self.param_groups = inner.param_groups

        def step(self, closure: Any = None) -> Any:
            return self.optimizer.step(closure)

    optimizer = build()
    wrapper = Wrapper(Wrapper(optimizer))
    ends = pair(wrapper)
    ends.send(0.5)
    ends.client.step()
    wrapper.step()
    assert optimizer.used == [[0.005]]


def test_one_optimizer_cannot_be_scaled_by_two_clients(tmp_path: Path, pair: Any) -> None:
    optimizer = build()
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    with pytest.raises(ValueError, match="attached to another client"):
        lrwatch.attach(optimizer, tmp_path)
    with pytest.raises(ValueError, match="given twice"):
        lrwatch.attach([optimizer, optimizer], tmp_path)
    ends.client.close()
    optimizer.step()
    with lrwatch.attach(optimizer, tmp_path):
        optimizer.step()
    assert optimizer.used == [[0.005], [0.005]], "the scale stays in force"


def test_an_optimizer_that_cannot_be_scaled_goes_on_with_its_schedule(pair: Any) -> None:
    optimizer = build(groups=2, kind=torch.optim.SGD)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    rate = optimizer.param_groups[1].pop("lr")
    with pytest.raises(KeyError):  # the optimizer's own complaint, not ours
        optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.01
    ends.client.step()
    answer = ends.observed
    assert (answer.status, answer.code, answer.scale) == ("rejected", "apply_failed", 1.0)
    assert ends.client.errors == {"hook": 1}
    optimizer.param_groups[1]["lr"] = rate
    assert ends.send(0.25).status == "pending"
    ends.client.step()
    optimizer.step()
    ends.client.step()
    assert ends.observed.effective_lr == {"0": 0.0025, "1": 0.005}


def test_a_command_counts_as_applied_only_after_an_optimizer_step_used_it(pair: Any) -> None:
    optimizer = build()
    ends = pair(optimizer)
    assert ends.send(0.5).status == "pending"
    for _ in range(3):  # a loop whose gradient scaler skips these steps
        ends.client.step()
        assert ends.observed.status == "pending"
    optimizer.step()
    ends.client.step()
    observed = ends.observed
    assert (observed.status, observed.applied_step, observed.scale) == ("applied", 4, 0.5)
    assert observed.effective_lr["0"] == 0.5 * observed.schedule_lr["0"]
    assert optimizer.used == [[0.005]]


@pytest.mark.parametrize("lr", ["float", "tensor"])
def test_what_the_last_step_used_is_told_by_group_and_a_printed_group_shows_the_schedules(
    lr: str, tmp_path: Path
) -> None:
    first, second = build(lr, groups=2), build(lr)
    schedule = schedulers.ExponentialLR(first, 0.9)
    with lrwatch.attach([first, second], tmp_path, poll_seconds=60) as watch:
        assert watch.lr == {}
        for _ in range(3):
            for optimizer in (first, second):
                optimizer.step()
            watch._adapter.ask()  # as each report does; tensors are told as of the newest sample
            schedule.step()
            watch.step()
        watch._adapter.set(0.5)
        for optimizer in (first, second):
            optimizer.step()
        used = {f"0.{number}": rate for number, rate in enumerate(first.used[-1])} | {"1.0": second.used[-1][0]}
        assert watch.lr == pytest.approx(used)
        printed = {f"0.{number}": float(group["lr"]) for number, group in enumerate(first.param_groups)}
        assert {group: rate / 2 for group, rate in printed.items()} == pytest.approx(
            {group: rate for group, rate in watch.lr.items() if group in printed}
        )


def test_what_a_callable_does_with_the_scale_is_not_known(tmp_path: Path) -> None:
    with lrwatch.attach(lambda _: None, tmp_path, poll_seconds=60) as watch:
        watch.step(loss=1.0)
        assert watch.lr == {}
