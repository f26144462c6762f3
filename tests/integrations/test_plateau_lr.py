"""`lrwatch.torch.PlateauLR`, in the place of `ReduceLROnPlateau`."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from typing import Any

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
    with pytest.raises(TypeError, match="unknown option 'patients'"):
        PlateauLR(made(OPTIMIZERS["SGD"]), patients=10)
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


# ---- the arguments of ReduceLROnPlateau -------------------------------------------------------------------------------


def test_the_call_of_torch_is_taken_as_it_stands_and_mapped_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    given: dict[str, Any] = {
        "factor": 0.05,
        "patience": 20,
        "threshold": 1e-3,
        "cooldown": 100,
        "min_lr": [0.001, 0.001],
        "eps": 1e-8,
    }
    torch.optim.lr_scheduler.ReduceLROnPlateau(made(OPTIMIZERS["SGD"]), "max", threshold_mode="abs", **given)
    scheduler = PlateauLR(optimizer, "max", threshold_mode="abs", **given)
    pipeline = scheduler.controller._pipeline
    detect, policy = pipeline.detect, pipeline.configured
    assert (detect.direction, detect.horizon, detect.min_improvement, detect.relative) == ("max", 20, 1e-3, False)
    assert (policy.factor, policy.max_factor_down, policy.min_scale, policy.cooldown) == (0.05, 0.05, 0.05, 5.0)
    (record,) = caplog.records
    assert record.name == "lrwatch.torch"
    assert record.getMessage() == (
        "PlateauLR takes the arguments of ReduceLROnPlateau as its own: patience=20: horizon=20 (calls); "
        "threshold=0.001: min_improvement=0.001 per horizon; threshold_mode='abs': relative=False; factor=0.05: max_factor_down=0.05; "
        "min_lr=[0.001, 0.001]: min_scale=0.05 (of the rate it starts from); cooldown=100: cooldown=5 horizons; eps=1e-08: not needed"
    )


def test_its_order_of_arguments_holds_and_its_own_names_need_no_line(caplog: pytest.LogCaptureFixture) -> None:
    PlateauLR(made(OPTIMIZERS["SGD"]), "min", 0.3)
    PlateauLR(made(OPTIMIZERS["SGD"]), factor=0.5, cooldown=3, min_scale=0.1)
    assert not caplog.records
    scheduler = PlateauLR(made(OPTIMIZERS["SGD"]), "min", 0.1, 3, 1e-4, "rel", 0, 0, 1e-8)
    detect, policy = scheduler.controller._pipeline.detect, scheduler.controller._pipeline.configured
    assert (detect.horizon, policy.factor, policy.min_scale, policy.cooldown) == (10, 0.1, 0.001, 2.5)
    assert "patience=3: horizon=10 (calls; 10 are the least)" in caplog.text


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"patience": -1}, ValueError, "patience must be finite and 0 or more, got -1"),
        ({"patience": "3"}, TypeError, "patience must be a number, got '3'"),
        ({"patience": 3, "horizon": 5}, TypeError, "patience is mapped to horizon, which is given as well"),
        ({"threshold_mode": "relative"}, ValueError, 'threshold_mode must be "rel" or "abs"'),
        ({"min_lr": [0.1]}, ValueError, "min_lr has 1 values, and the optimizer 2 groups"),
    ],
)
def test_an_argument_of_torch_that_cannot_be_is_refused(
    wrong: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        PlateauLR(made(OPTIMIZERS["SGD"]), **wrong)  # type: ignore[arg-type]


def test_no_group_goes_below_min_lr() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer, factor=0.1, min_lr=0.01)
    floor = torch.Generator().manual_seed(0)
    for step in range(6000):
        optimizer.step()
        scheduler.step(0.1 + 10 * scheduler.scale + 3 * 0.98**step + 0.01 * float(torch.randn((), generator=floor)))
    assert scheduler.scale == 0.5
    assert rates(optimizer) == pytest.approx([0.05, 0.01])


@pytest.mark.parametrize("noise", [0.0, 0.002, 0.01])
@pytest.mark.parametrize("arguments", [{}, {"patience": 5, "factor": 0.5}])
def test_fed_once_an_epoch_it_cuts_within_a_training_of_90_epochs(noise: float, arguments: dict[str, float]) -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer, **arguments)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    for epoch in range(90):
        for _ in range(10):
            optimizer.step()
        loss = 0.3 + 0.2 * scheduler.scale + 2 * 0.8**epoch + noise * float(torch.randn((), generator=generator))
        scheduler.step(loss)
    assert 40 < scheduler.commands[0].step < 90
    assert rates(optimizer) == pytest.approx([0.05, 0.01])


def test_fed_once_an_epoch_it_leaves_a_loss_alone_that_still_falls() -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    scheduler = PlateauLR(optimizer, patience=5)
    for epoch in range(1, 91):
        scheduler.step(2.0 * epoch**-0.3)
    assert scheduler.commands == []
    assert rates(optimizer) == [0.1, 0.02]


@pytest.mark.parametrize("order", ["before", "after"])
def test_torchs_arguments_beside_a_scheduler_that_overwrites_it_are_warned_of(order: str) -> None:
    optimizer = made(OPTIMIZERS["SGD"])
    other = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    scheduler = PlateauLR(optimizer, patience=10, factor=0.5)

    def train() -> None:
        for epoch in range(90):
            optimizer.step()
            if order == "before":
                other.step()
            scheduler.step(0.3 + 0.2 * scheduler.scale + 2 * 0.8**epoch)
            if order == "after":
                other.step()

    with pytest.warns(UserWarning, match="another scheduler overwrites the learning rate that PlateauLR has set"):
        train()
    assert scheduler.scale == 0.5
