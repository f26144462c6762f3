"""The optimizers that really step are found in what DeepSpeed, Megatron-LM, torchtitan, Opacus and timm keep them in.

The originals need GPUs, or packages that are not installed here; the doubles do what they do with learning rates and parameter groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.optimizer_doubles import (
    AcceleratedDeepSpeed,
    ChainedOptimizer,
    DeepSpeedZero,
    MegatronOptimizer,
    MegatronScheduler,
    OpacusDP,
    Spy,
    TimmLookahead,
    TitanContainer,
    build,
)

import lrwatch
from lrwatch.client.inner import innermost


@pytest.mark.slow
def test_deepspeed_steps_one_group_after_another(pair: Any) -> None:
    base = build(0.1, 0.2)
    engine_optimizer = DeepSpeedZero(base)
    ends = pair(engine_optimizer)
    for scale in (0.5, 0.25, 0.5, 1.0):
        ends.send(scale)
        ends.client.step()
        engine_optimizer.step()
        assert base.used == [[0.1 * scale], [0.2 * scale]]
        base.used.clear()
        ends.client.step()
        assert ends.observed.status == "applied"
    assert [group["lr"] for group in base.param_groups] == [0.1, 0.2]
    assert ends.client.errors == {}


@pytest.mark.slow
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
        return [part.used for part in parts]

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
    assert [part.used for part in parts] == [[[0.05]], [[0.1]]]
    assert ends.observed.effective_lr == {"0.0": 0.05, "1.0": 0.1}
    with pytest.raises(ValueError, match="given twice"):
        lrwatch.attach([container, parts[1]], ends.control.path)


def test_what_can_be_called_is_called_even_where_it_keeps_an_optimizer(pair: Any) -> None:
    class Setter:
        def __init__(self, optimizer: Spy) -> None:
            self.optimizer = optimizer
            self.scales: list[float] = []

        def __call__(self, scale: float) -> None:
            self.scales.append(scale)

    setter = Setter(build(0.1))
    ends = pair(setter)
    ends.send(0.5)
    ends.client.step()
    setter.optimizer.step()
    assert setter.scales == [0.5]
    assert setter.optimizer.used == [[0.1]]


WRAPPERS: dict[str, Callable[[Spy], Any]] = {
    "Opacus": OpacusDP,
    "timm": TimmLookahead,
    "timm around Opacus": lambda base: TimmLookahead(OpacusDP(base)),
    "Accelerate around Opacus": lambda base: AcceleratedDeepSpeed(OpacusDP(base)),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_that_were_never_initialised_as_optimizers_are_opened(name: str, pair: Any) -> None:
    """Doubles of `opacus.optimizers.DPOptimizer` and `timm.optim.Lookahead`, with their attributes."""
    base = build(0.1, 0.2)
    wrapper = WRAPPERS[name](base)
    assert innermost(wrapper) == [base]
    ends = pair(wrapper)
    ends.send(0.5)
    ends.client.step()
    for _ in range(7):  # over the step in which the slow weights are taken
        (base if name.startswith("Accelerate") else wrapper).step()
        ends.client.step()
    assert base.used == [[0.05, 0.1]] * 7
    assert (ends.observed.status, ends.observed.effective_lr) == ("applied", {"0": 0.05, "1": 0.1})
    assert [group["lr"] for group in wrapper.param_groups] == [0.1, 0.2]
    assert ends.client.errors == {}


def test_a_checkpoint_that_a_wrapper_loads_has_new_groups_that_are_scaled(pair: Any) -> None:
    base = build(0.1)
    wrapper = TimmLookahead(base)
    ends = pair(wrapper)
    ends.send(0.5)
    ends.client.step()
    wrapper.step()
    wrapper.load_state_dict(wrapper.state_dict())
    wrapper.step()
    assert base.used == [[0.05], [0.05]]
    assert wrapper.param_groups[0]["lr"] == 0.1


def test_a_step_that_opacus_skips_applies_nothing(pair: Any) -> None:
    base = build(0.1)
    wrapper = OpacusDP(base)
    ends = pair(wrapper)
    ends.send(0.5)
    ends.client.step()
    wrapper.signal_skip_step()
    wrapper.step()
    ends.client.step()
    assert ends.observed.status == "pending"
    wrapper.step()
    ends.client.step()
    assert ends.observed.status == "applied"
