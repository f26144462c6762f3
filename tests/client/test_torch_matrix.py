"""Every scheduler of torch with everything that a PyTorch loop does around `step`: what is used is schedule times scale, exactly.

The reference is the same loop without lrwatch: gradients are given, so that neither rates nor losses depend on the scale.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler as schedulers

STEPS = 28
PLAN = {4: 0.5, 11: 0.1, 18: 0.2, 24: 1.0}
SCHEDULERS: dict[str, Callable[[Any], Any]] = {
    "lambda": lambda o: schedulers.LambdaLR(o, lambda step: 0.99**step),
    "multiplicative": lambda o: schedulers.MultiplicativeLR(o, lambda _: 0.97),
    "step": lambda o: schedulers.StepLR(o, 7),
    "multistep": lambda o: schedulers.MultiStepLR(o, [8, 16]),
    "constant": lambda o: schedulers.ConstantLR(o, 0.3, 9),
    "linear": lambda o: schedulers.LinearLR(o, 0.1, 1.0, 12),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.95),
    "polynomial": lambda o: schedulers.PolynomialLR(o, STEPS, 1.5),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.001),
    "warm_restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7),
    "one_cycle": lambda o: schedulers.OneCycleLR(o, max_lr=[0.05, 0.03], total_steps=STEPS + 1),
    "cyclic": lambda o: schedulers.CyclicLR(o, 0.001, [0.01, 0.02], 5, cycle_momentum=False),
    "sequential": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.ExponentialLR(o, 0.9)], [8]
    ),
    "chained": lambda o: schedulers.ChainedScheduler(
        [schedulers.ConstantLR(o, 0.5, 5), schedulers.ExponentialLR(o, 0.9)]
    ),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=3),
}
SKIPPED = {3, 11, 12, 23}  # steps with an infinite gradient, some of them just where the scale changes
RAISING = {5, 18}  # steps in which the optimizer raises the first time

pytestmark = pytest.mark.filterwarnings("ignore:.*epoch parameter in `scheduler.step:UserWarning")


class Spy(torch.optim.AdamW):
    """Notes the learning rates inside its own step, and may raise there."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.used: list[tuple[int, list[float]]] = []
        self.loop_step, self.fail = 0, False
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.used.append((self.loop_step, [float(group["lr"]) for group in self.param_groups]))
        if self.fail:
            self.fail = False
            raise RuntimeError("inside step")
        return super().step(closure)


class Loop:
    """Two parameter groups with rates of their own, and a scheduler."""

    def __init__(self, scheduler: str, lr: str, fused: bool = False) -> None:
        generator = torch.Generator().manual_seed(1)
        self.weights = [torch.randn(3, generator=generator).requires_grad_() for _ in range(2)]
        rates = [torch.tensor(0.01), torch.tensor(0.02)] if lr == "tensor" else [0.01, 0.02]
        groups = [{"params": [weight], "lr": rate} for weight, rate in zip(self.weights, rates, strict=True)]
        self.optimizer = Spy(groups, fused=fused)
        self.scheduler = SCHEDULERS[scheduler](self.optimizer)

    def backward(self, step: int, part: int = 0, bad: bool = False) -> None:
        for weight in self.weights:
            gradient = torch.linspace(-1, 1, 3) * (step + part / 2)
            gradient = torch.full_like(gradient, torch.inf) if bad else gradient
            weight.grad = gradient if weight.grad is None else weight.grad + gradient

    def advance(self) -> None:
        if isinstance(self.scheduler, schedulers.ReduceLROnPlateau):
            self.scheduler.step(1.0)
        else:
            self.scheduler.step()
        self.optimizer.zero_grad()


def plain_step(loop: Loop, step: int) -> None:
    loop.backward(step)
    loop.optimizer.step()
    loop.advance()


def accumulating_step(loop: Loop, step: int) -> None:
    for part in range(4):
        loop.backward(step, part)
    loop.optimizer.step()
    loop.advance()


def raising_step(loop: Loop, step: int) -> None:
    loop.backward(step)
    loop.optimizer.fail = step in RAISING
    with contextlib.suppress(RuntimeError):
        loop.optimizer.step()
        loop.advance()
        return
    loop.optimizer.step()  # the loop survives it, and tries again
    loop.advance()


class Scaler:
    """A loop in mixed precision: the steps with infinite gradients are skipped, by the scaler or inside a fused optimizer."""

    def __init__(self) -> None:
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=10**6)

    def __call__(self, loop: Loop, step: int) -> None:
        self.scaler.scale(torch.ones(()))  # makes its state
        loop.backward(step, bad=step in SKIPPED)
        self.scaler.step(loop.optimizer)
        self.scaler.update()
        loop.advance()  # also after a skipped step, as most loops do


KINDS: dict[str, Callable[[], Callable[[Loop, int], None]]] = {
    "plain": lambda: plain_step,
    "accumulating": lambda: accumulating_step,
    "raising": lambda: raising_step,
    "mixed precision": Scaler,
}


def scale_at(step: int) -> float:
    return next((scale for begin, scale in sorted(PLAN.items(), reverse=True) if begin <= step), 1.0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lr", ["float", "tensor", "fused"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_what_each_step_uses_is_the_schedules_rate_times_the_scale(
    scheduler: str, lr: str, kind: str, pair: Any
) -> None:
    def run(watched: bool) -> Loop:
        loop = Loop(scheduler, lr, fused=lr == "fused")
        ends = pair(loop.optimizer, max_factor_up=10.0) if watched else None
        one_step = KINDS[kind]()
        for step in range(1, STEPS + 1):
            loop.optimizer.loop_step = step
            one_step(loop, step)
            if ends is not None:
                if step + 1 in PLAN:
                    ends.control.publish(ends.command(PLAN[step + 1]))
                    ends.worker.round()
                ends.client.step()
        if ends is not None:
            assert ends.client.errors == {}
            assert ends.observed.status == "applied"
        return loop

    plain, scaled = run(False), run(True)
    assert [step for step, _ in scaled.optimizer.used] == [step for step, _ in plain.optimizer.used]
    if kind == "mixed precision" and lr != "fused":  # a fused optimizer is called, and skips the step itself
        assert SKIPPED.isdisjoint(step for step, _ in scaled.optimizer.used)
    for (step, bases), (_, rates) in zip(plain.optimizer.used, scaled.optimizer.used, strict=True):
        for base, rate in zip(bases, rates, strict=True):
            product = base * scale_at(step) if lr != "tensor" else float(torch.tensor(base) * scale_at(step))
            assert rate == product, step
    # Between the steps there are the schedule's own rates, whatever happened within.
    assert [float(g["lr"]) for g in scaled.optimizer.param_groups] == [
        float(g["lr"]) for g in plain.optimizer.param_groups
    ]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("lr", ["float", "tensor", "fused"])
def test_attached_and_at_scale_one_the_weights_are_bit_identical(lr: str, kind: str, pair: Any) -> None:
    def run(watched: bool) -> list[torch.Tensor]:
        loop = Loop("cosine", lr, fused=lr == "fused")
        client = pair(loop.optimizer).client if watched else None
        one_step = KINDS[kind]()
        for step in range(1, STEPS + 1):
            loop.optimizer.loop_step = step
            one_step(loop, step)
            if client is not None:
                client.step()
        return [weight.detach() for weight in loop.weights]

    assert all(map(torch.equal, run(False), run(True)))
