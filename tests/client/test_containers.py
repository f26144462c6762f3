"""The optimizers that really step are found in what DeepSpeed, Megatron-LM and torchtitan keep them in.

The doubles do what the originals do with learning rates and parameter groups, and nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import lrwatch
from lrwatch.client.torch import innermost


class Spy(torch.optim.SGD):
    """Notes the learning rates inside its own step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[list[float]] = []
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.seen.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def build(*rates: float) -> Spy:
    """One parameter group with a gradient for each rate."""
    groups = []
    for rate in rates:
        weight = torch.ones(2, requires_grad=True)
        weight.grad = torch.ones(2)
        groups.append({"params": [weight], "lr": rate})
    return Spy(groups, lr=rates[0])


class DeepSpeedZero:
    """No torch optimizer, though it looks like one: steps the base optimizer once a group, with that group alone in it."""

    def __init__(self, base: Spy) -> None:
        self.optimizer = base

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def step(self) -> None:
        groups = self.optimizer.param_groups
        for group in groups:
            self.optimizer.param_groups = [group]
            self.optimizer.step()
            self.optimizer.param_groups = groups


class AcceleratedDeepSpeed(torch.optim.Optimizer):
    """Accelerate's wrapper around it: a torch optimizer by class, never initialised as one, whose step does nothing."""

    def __init__(self, inner: DeepSpeedZero) -> None:
        self.optimizer = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        pass


class MegatronOptimizer:
    """Keeps a torch optimizer; one may be there for a rank that has no parameters, with none."""

    def __init__(self, inner: Spy | None) -> None:
        self.optimizer = inner

    def step(self) -> None:
        if self.optimizer is not None:
            self.optimizer.step()


class ChainedOptimizer:
    def __init__(self, chained: list[MegatronOptimizer]) -> None:
        self.chained_optimizers = chained

    def step(self) -> None:
        for optimizer in self.chained_optimizers:
            optimizer.step()


class MegatronScheduler:
    """Writes each group's rate anew at each step, from what the group says."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups, self.steps = groups, 0
        for group in groups:
            group.update(max_lr=group["lr"], min_lr=group["lr"] / 10)

    def step(self) -> None:
        self.steps += 1
        for group in self.groups:
            group["lr"] = group["min_lr"] + (group["max_lr"] - group["min_lr"]) * 0.9**self.steps


class TitanContainer(torch.optim.Optimizer):
    """One optimizer for each part of the model, and an optimizer over all parameters that is never stepped itself."""

    def __init__(self, optimizers: list[Spy]) -> None:
        self.optimizers = optimizers
        super().__init__([p for o in optimizers for g in o.param_groups for p in g["params"]], {"lr": 99.0})

    def step(self, closure: Any = None) -> Any:
        for optimizer in self.optimizers:
            optimizer.step()


def test_deepspeed_steps_one_group_after_another(pair: Any) -> None:
    base = build(0.1, 0.2)
    engine_optimizer = DeepSpeedZero(base)
    ends = pair(engine_optimizer)
    for scale in (0.5, 0.25, 0.5, 1.0):
        ends.send(scale)
        ends.client.step()
        engine_optimizer.step()
        assert base.seen == [[0.1 * scale], [0.2 * scale]]
        base.seen.clear()
        ends.client.step()
        assert ends.observed.status == "applied"
    assert [group["lr"] for group in base.param_groups] == [0.1, 0.2]
    assert ends.client.errors == {}


def test_accelerates_wrapper_of_deepspeed_is_looked_through(pair: Any) -> None:
    base = build(0.1)
    assert innermost(AcceleratedDeepSpeed(DeepSpeedZero(base))) == [base]


def test_megatrons_chain_is_scaled_on_top_of_its_own_scheduler(pair: Any) -> None:
    def train(scales: dict[int, float]) -> list[list[list[float]]]:
        parts = [build(0.1, 0.2), build(0.3)]
        chain = ChainedOptimizer([MegatronOptimizer(parts[0]), MegatronOptimizer(None), MegatronOptimizer(parts[1])])
        scheduler = MegatronScheduler([group for part in parts for group in part.param_groups])
        ends = pair(chain, max_factor_up=10.0)
        for step in range(1, 21):
            if step in scales:
                ends.send(scales[step])
                ends.client.step(step)
            chain.step()
            scheduler.step()
        assert ends.client.errors == {}
        assert {group["max_lr"] for part in parts for group in part.param_groups} == {0.1, 0.2, 0.3}
        return [part.seen for part in parts]

    plan = {6: 0.5, 11: 0.1, 14: 0.2, 17: 1.0}
    scale = 1.0
    for step, plain, scaled in zip(
        range(1, 21), zip(*train({}), strict=True), zip(*train(plan), strict=True), strict=True
    ):
        scale = plan.get(step, scale)
        assert [list(part) for part in scaled] == [[rate * scale for rate in part] for part in plain]


def test_torchtitans_container_is_opened(pair: Any) -> None:
    parts = [build(0.1), build(0.2)]
    container = TitanContainer(parts)
    ends = pair(container)
    ends.send(0.5)
    ends.client.step()
    container.step()
    ends.client.step()
    assert [part.seen for part in parts] == [[[0.05]], [[0.1]]]
    assert ends.observed.effective_lr == {"0.0": 0.05, "1.0": 0.1}
    with pytest.raises(ValueError, match="given twice"):
        lrwatch.attach([container, parts[1]], ends.control.path)


def test_what_can_be_called_is_called_even_where_it_keeps_an_optimizer(pair: Any) -> None:
    class Setter:
        def __init__(self, optimizer: Spy) -> None:
            self.optimizer = optimizer
            self.told: list[float] = []

        def __call__(self, scale: float) -> None:
            self.told.append(scale)

    setter = Setter(build(0.1))
    ends = pair(setter)
    ends.send(0.5)
    ends.client.step()
    setter.optimizer.step()
    assert setter.told == [0.5]
    assert setter.optimizer.seen == [[0.1]]
