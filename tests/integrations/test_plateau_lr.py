"""`lrwatch.torch.PlateauLR`, in the place of `ReduceLROnPlateau`."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable

import pytest
import torch
from support.quadratic import Training

import lrwatch
from lrwatch.integrations.torch import PlateauLR

STEPS = 6000

Make = Callable[[list[torch.nn.Parameter]], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Make] = {
    "SGD": lambda weights: torch.optim.SGD([{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.02}]),
    "AdamW": lambda weights: torch.optim.AdamW(
        [{"params": weights[:1], "lr": 0.1}, {"params": weights[1:], "lr": 0.02}]
    ),
    "Adam, tensor": lambda weights: torch.optim.Adam(
        [{"params": weights[:1], "lr": torch.tensor(0.1)}, {"params": weights[1:], "lr": torch.tensor(0.02)}],
        capturable=False, foreach=False,
    ),
}  # fmt: skip


def made(make: Make) -> torch.optim.Optimizer:
    """An optimizer with two groups."""
    return make([torch.nn.Parameter(torch.zeros(2)), torch.nn.Parameter(torch.zeros(3))])


def rates(optimizer: torch.optim.Optimizer) -> list[float]:
    """What the optimizer would use now."""
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.slow
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_it_decides_as_the_controller_does_and_scales_every_group(make: Make) -> None:
    optimizer = made(make)
    scheduler = lrwatch.torch.PlateauLR(optimizer)
    controller = lrwatch.Controller()
    training = Training()
    for step in range(1, STEPS):
        loss = training.record()["loss"]
        optimizer.step()
        scheduler.step(torch.tensor(loss, dtype=torch.float64))
        training.scale = controller.update(step, loss)
        assert scheduler.scale == training.scale
    assert scheduler.scale < 1
    assert rates(optimizer) == pytest.approx([0.1 * scheduler.scale, 0.02 * scheduler.scale], rel=1e-6)
    assert scheduler.get_last_lr() == rates(optimizer)
    assert scheduler.commands == controller.commands
    assert scheduler.findings == controller.findings
    assert scheduler.effects == controller.effects
    assert scheduler.effects


@pytest.mark.slow
@pytest.mark.parametrize("at", [100, 1500, 3000])
def test_a_resumed_training_goes_on_as_if_nothing_had_been(at: int) -> None:
    whole, losses = made(OPTIMIZERS["SGD"]), []
    scheduler = PlateauLR(whole)
    training = Training()
    recorded = []
    for step in range(STEPS):
        if step == at:
            file = io.BytesIO()
            torch.save({"optimizer": whole.state_dict(), "scheduler": scheduler.state_dict()}, file)
        training.scale = scheduler.scale
        losses.append(training.record()["loss"])
        whole.step()
        scheduler.step(losses[-1])
        recorded.append(rates(whole))
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = made(OPTIMIZERS["SGD"])
    again = PlateauLR(resumed)
    resumed.load_state_dict(saved["optimizer"])
    again.load_state_dict(saved["scheduler"])
    assert again.state_dict() == saved["scheduler"]
    for step in range(at, STEPS):
        resumed.step()
        again.step(losses[step])
        assert rates(resumed) == recorded[step]
    assert recorded[-1] != recorded[0]


@pytest.mark.slow
def test_a_metric_that_should_rise() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer, mode="max")
    training = Training()
    for _ in range(STEPS):
        training.scale = scheduler.scale
        scheduler.step(20 - training.record()["loss"])
    assert rates(optimizer)[0] < 0.1


def test_what_only_suggests_changes_nothing() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer, mode="suggest")
    training = Training()
    for _ in range(STEPS):
        scheduler.step(training.record()["loss"])
    assert scheduler.commands
    assert rates(optimizer) == [0.1, 0.02]


def test_values_that_are_not_finite_are_found_and_no_error() -> None:
    scheduler = PlateauLR(made(OPTIMIZERS["SGD"]))
    for value in (1.0, float("nan"), float("inf"), 1.0):
        scheduler.step(value)
    assert [finding.kind for finding in scheduler.findings] == ["nonfinite"]


def test_what_it_does_not_know_it_says() -> None:
    with pytest.raises(TypeError, match="unknown option 'patience'"):
        PlateauLR(made(OPTIMIZERS["SGD"]), patience=10)
    with pytest.raises(ValueError, match="factor must be between 0 and 1"):
        PlateauLR(made(OPTIMIZERS["SGD"]), factor=2.0)
    with pytest.raises(TypeError, match=r"must be a torch\.optim\.Optimizer, got int"):
        PlateauLR(3)  # type: ignore[arg-type]


def flat_then_falling(step: int, rest: int, generator: torch.Generator) -> float:
    """Return a loss that rests for `rest` steps, then falls and rests again."""
    fall = 3 + 7.4 * math.exp(-max(0, step - rest) / 300)
    return fall + 0.1 * float(torch.randn((), generator=generator))


def test_while_another_scheduler_moves_the_rate_it_is_left_alone() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    noise = torch.Generator().manual_seed(0)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 0.01, total_iters=3000)
    scheduler = PlateauLR(optimizer)
    for step in range(12_000):
        optimizer.step()
        warmup.step()
        scheduler.step(flat_then_falling(step, 800, noise))
        if step < 3000:
            assert scheduler.scale == 1.0
    assert scheduler.commands != []
    assert rates(optimizer) == pytest.approx([0.1 * scheduler.scale, 0.02 * scheduler.scale])


def test_before_the_metric_has_improved_nothing_is_cut() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    noise = torch.Generator().manual_seed(0)
    scheduler = PlateauLR(optimizer)
    for step in range(800):
        optimizer.step()
        scheduler.step(flat_then_falling(step, 800, noise))
    assert scheduler.commands == []


@pytest.mark.parametrize("chained", [False, True])
def test_a_scheduler_that_overwrites_the_rate_is_warned_of_once_and_its_rate_is_scaled(
    chained: bool, recwarn: pytest.WarningsRecorder
) -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    noise = torch.Generator().manual_seed(0)
    other = (
        torch.optim.lr_scheduler.MultiplicativeLR(optimizer, lambda step: 0.3 if step == 3700 else 1.0)
        if chained
        else torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 if step < 3700 else 0.3)
    )
    scheduler = PlateauLR(optimizer)
    scales = set()
    for step in range(4500):
        optimizer.step()
        other.step()
        scheduler.step(flat_then_falling(step, 0, noise))
        scales.add(scheduler.scale)
        schedule = 1.0 if step + 1 < 3700 else 0.3
        assert rates(optimizer) == pytest.approx([0.1 * schedule * scheduler.scale, 0.02 * schedule * scheduler.scale])
    assert len(scales) > 1
    said = [
        str(one.message) for one in recwarn if "overwrites the learning rate that PlateauLR has set" in str(one.message)
    ]
    assert len(said) == (0 if chained else 1)


def test_without_a_mode_a_metric_that_rises_is_warned_of_and_left_alone() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        for step in range(1000):
            optimizer.step()
            scheduler.step(1 - math.exp(-step / 100))
    assert ["has risen since the run began" in str(one.message) for one in seen] == [True]
    assert scheduler.scale == 1.0
