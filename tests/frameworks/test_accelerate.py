"""Accelerate needs two lines and no adapter: `attach` opens its wrapper, and it stores any object with a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from frameworks.plan import OPTIONS, PLAN, STEPS, CommandSender, scale_at
from torch.optim import lr_scheduler as schedulers

import lrwatch

pytestmark = pytest.mark.frameworks

accelerate: Any = pytest.importorskip("accelerate")

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "lambda": lambda o: schedulers.LambdaLR(o, lambda step: 0.95**step),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.001),
    "one_cycle": lambda o: schedulers.OneCycleLR(o, max_lr=0.05, total_steps=STEPS + 1),
    "sequential": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.ExponentialLR(o, 0.9)], [8]
    ),
}


class Spy(torch.optim.AdamW):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[float] = []
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.seen.append(self.param_groups[0]["lr"])
        return super().step(closure)


@pytest.fixture(autouse=True)
def _state_of_its_own() -> Iterator[None]:
    yield
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


class Loop:
    """A loop as in the documentation of Accelerate, with accumulation."""

    def __init__(self, schedule: str, accumulate: int = 1) -> None:
        torch.manual_seed(0)
        self.accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
        model = torch.nn.Linear(3, 1)
        self.spy = Spy(model.parameters(), lr=0.01)
        self.model, self.optimizer, self.scheduler = self.accelerator.prepare(
            model, self.spy, SCHEDULES[schedule](self.spy)
        )

    def run(
        self, first: int = 1, last: int = STEPS, watch: Any = None, sender: Any = None, save: Any = None
    ) -> list[float]:
        step = first - 1
        while step < last:
            with self.accelerator.accumulate(self.model):
                loss = self.model(torch.ones(2, 3) * (step + 1)).square().mean()
                self.accelerator.backward(loss)
                self.optimizer.step()
                self.scheduler.step()
                self.optimizer.zero_grad()
                stepped = self.accelerator.sync_gradients
            if stepped:
                step += 1
                if watch is not None:
                    sender.before(step + 1, watch)
                    watch.step(loss=loss)
                if save is not None:
                    self.accelerator.save_state(str(save / f"{step}"))
        return self.spy.seen


def expected(plain: list[float], plan: Mapping[int, float], first: int = 1) -> list[float]:
    return [rate * scale_at(step, plan) for step, rate in enumerate(plain, start=1) if step >= first]


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(
    schedule: str, accumulate: int, tmp_path: Path
) -> None:
    plain = Loop(schedule, accumulate).run()
    loop = Loop(schedule, accumulate)
    with lrwatch.attach(loop.optimizer, tmp_path, **OPTIONS) as watch:
        assert loop.run(watch=watch, sender=CommandSender(tmp_path, PLAN)) == expected(plain, PLAN)
        assert watch.errors == {}


@pytest.mark.parametrize("checkpoint", [6, 8, 9, 12])
def test_a_resume_goes_on_at_the_scale_of_its_checkpoint(checkpoint: int, tmp_path: Path) -> None:
    plain, plan = Loop("cosine").run(), {4: 0.5, 9: 0.1}
    loop = Loop("cosine")
    with lrwatch.attach(loop.optimizer, tmp_path / "lrwatch", **OPTIONS) as watch:
        loop.accelerator.register_for_checkpointing(watch)
        loop.run(watch=watch, sender=CommandSender(tmp_path / "lrwatch", plan), save=tmp_path)
    resumed, held = Loop("cosine"), scale_at(checkpoint + 1, plan)
    with lrwatch.attach(resumed.optimizer, tmp_path / "lrwatch", **OPTIONS) as watch:
        resumed.accelerator.register_for_checkpointing(watch)
        resumed.accelerator.load_state(str(tmp_path / f"{checkpoint}"))
        seen = resumed.run(checkpoint + 1, watch=watch, sender=CommandSender(tmp_path / "lrwatch", {}))
        assert seen == expected(plain, {1: held}, first=checkpoint + 1)
        assert watch.state_dict()["step"] == STEPS


def test_a_new_run_in_the_same_directory_is_bit_identical_to_one_without(tmp_path: Path) -> None:
    plain, first, second = Loop("cosine"), Loop("cosine"), Loop("cosine")
    plain.run()
    with lrwatch.attach(first.optimizer, tmp_path, **OPTIONS) as watch:
        first.run(watch=watch, sender=CommandSender(tmp_path, {4: 0.5}))
    with lrwatch.attach(second.optimizer, tmp_path, **OPTIONS) as watch:
        assert second.run(watch=watch, sender=CommandSender(tmp_path, {})) == plain.spy.seen
    assert all(map(torch.equal, plain.model.parameters(), second.model.parameters()))


def test_a_step_that_the_scaler_skips_does_not_use_the_scale_up() -> None:
    spy = Spy([torch.ones(1, requires_grad=True)], lr=0.01)
    accelerate.Accelerator(cpu=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    wrapped = accelerate.optimizer.AcceleratedOptimizer(spy, scaler=scaler)  # as for fp16, which needs a GPU
    from lrwatch.client.torch_hooks import TorchAdapter

    adapter = TorchAdapter([wrapped])
    adapter.set(0.5)
    for gradient, used in ((torch.inf, False), (1.0, True)):
        scaler.scale(torch.ones(()))
        spy.param_groups[0]["params"][0].grad = torch.tensor([gradient])
        wrapped.step()
        assert adapter.used() is used
        assert wrapped.step_was_skipped is not used
    assert spy.seen == [0.005]
    assert spy.param_groups[0]["lr"] == 0.01
