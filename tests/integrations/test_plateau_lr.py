"""`lrwatch.torch.PlateauLR`, in the place of `ReduceLROnPlateau`."""

from __future__ import annotations

import io
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
    seen = []
    for step in range(STEPS):
        if step == at:
            file = io.BytesIO()
            torch.save({"optimizer": whole.state_dict(), "scheduler": scheduler.state_dict()}, file)
        training.scale = scheduler.scale
        losses.append(training.record()["loss"])
        whole.step()
        scheduler.step(losses[-1])
        seen.append(rates(whole))
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
        assert rates(resumed) == seen[step]
    assert seen[-1] != seen[0]


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
