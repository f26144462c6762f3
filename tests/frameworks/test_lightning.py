"""Lightning under both of its names, with the learning rate noted inside the optimizer's own step."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from frameworks.scheduled_commands import OPTIONS, PLAN, STEPS, ScheduledCommands, scale_at
from torch.optim import lr_scheduler as schedulers

import lrwatch

pytestmark = [
    pytest.mark.frameworks,
    *(
        pytest.mark.filterwarnings(f"ignore:.*{words}")
        for words in (
            "does not have many workers", "`srun` command", "epoch parameter in `scheduler", "LeafSpec", "heckpoint directory",
            "exists and is not empty", "ended before the epoch ended", "without a logger", "callbacks used to create the checkpoint",
        )
    ),
]  # fmt: skip

lightning: Any = pytest.importorskip("lightning.pytorch")

SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "none": lambda _: None,
    "lambda": lambda o: schedulers.LambdaLR(o, lambda step: 0.9**step),
    "step": lambda o: schedulers.StepLR(o, 5),
    "multistep": lambda o: schedulers.MultiStepLR(o, [6, 12]),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.95),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS, eta_min=0.001),
    "warm_restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 7),
    "one_cycle": lambda o: schedulers.OneCycleLR(o, max_lr=0.05, total_steps=STEPS + 1),
    "cyclic": lambda o: schedulers.CyclicLR(o, 0.001, 0.01, 5, cycle_momentum=False),
    "sequential": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, 1.0, 8), schedulers.ExponentialLR(o, 0.9)], [8]
    ),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=2),
}


class Spy(torch.optim.AdamW):
    """Notes the learning rates inside its own step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[list[float]] = []
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.seen.append([float(group["lr"]) for group in self.param_groups])
        return super().step(closure)


class Automatic(lightning.LightningModule):
    def __init__(self, schedule: str = "cosine") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(3, 1)
        self.schedule = schedule
        self.spies: list[Spy] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.layer(batch[0]).square().mean()
        self.log_dict({"loss": loss, "always": 1.0})
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch[0]).square().mean())

    def configure_optimizers(self) -> Any:
        groups = [{"params": [self.layer.weight], "lr": 0.01}, {"params": [self.layer.bias], "lr": 0.02}]
        self.spies.append(Spy(groups, lr=0.01))
        schedule = SCHEDULES[self.schedule](self.spies[-1])
        if schedule is None:
            return self.spies[-1]
        described = {"scheduler": schedule, "interval": "step", "monitor": "always"}
        return {"optimizer": self.spies[-1], "lr_scheduler": described}


class Manual(Automatic):
    """Two optimizers, the second of which steps in every second batch; schedulers stepped by hand."""

    def __init__(self, schedule: str = "cosine") -> None:
        super().__init__(schedule)
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        parts = list(zip(self.optimizers(), self.lr_schedulers(), strict=True))
        for optimizer, scheduler in parts[: 2 if batch_idx % 2 else 1]:
            loss = self.layer(batch[0]).square().mean()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            scheduler.step()

    def configure_optimizers(self) -> Any:
        self.spies = [Spy([self.layer.weight], lr=0.01), Spy([self.layer.bias], lr=0.02)]
        return self.spies, [SCHEDULES[self.schedule](spy) for spy in self.spies]


class Daemon(lightning.Callback):
    """Asks within the batch before, ahead of the callback under test."""

    def __init__(self, commands: ScheduledCommands, callback: Any) -> None:
        self.commands, self.callback, self.stepped, self.global_step = commands, callback, 0, 0

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        self.stepped = self.global_step = trainer.global_step

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step != self.global_step:
            self.global_step = trainer.global_step
            self.stepped += 1
            self.commands.before(self.stepped + 1, self.callback.watch)


class Training:
    def __init__(
        self,
        out: Path,
        plan: Mapping[int, float] | None = None,
        module: Any = None,
        library: Any = lightning,
        **changes: Any,
    ) -> None:
        self.module = module or Automatic()
        callbacks = []
        control = changes.pop("control", out / "lrwatch")
        if plan is not None:
            self.commands = ScheduledCommands(control, plan)
            self.callback = lrwatch.lightning.LrwatchCallback(control, **OPTIONS, **changes.pop("options", {}))
            callbacks = [Daemon(self.commands, self.callback), self.callback]
        save = changes.pop("save", 0)
        if save:
            checkpoints = library.callbacks.ModelCheckpoint(
                out, filename="{step}", every_n_train_steps=save, save_top_k=-1, enable_version_counter=False
            )
            callbacks.append(checkpoints)
        values: dict[str, Any] = {
            "max_steps": STEPS, "max_epochs": -1, "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
            "enable_model_summary": False, "enable_checkpointing": bool(save), "callbacks": callbacks,
            "limit_val_batches": 0, "default_root_dir": out,
        }  # fmt: skip
        self.trainer = library.Trainer(**(values | changes))
        generator = torch.Generator().manual_seed(0)
        data = torch.utils.data.TensorDataset(torch.randn(STEPS * 2, 3, generator=generator))
        self.loader = torch.utils.data.DataLoader(data, batch_size=4)  # an epoch has 12 batches

    def run(self, checkpoint: Path | None = None) -> list[list[float]]:
        self.trainer.fit(
            self.module, self.loader, self.loader, ckpt_path=None if checkpoint is None else str(checkpoint),
            **({"weights_only": False} if checkpoint is not None else {}),
        )  # fmt: skip
        seen: list[list[float]] = self.module.spies[-1].seen
        return seen

    @property
    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.module.parameters()]


def expected(schedule: list[list[float]], plan: Mapping[int, float], first: int = 1) -> list[list[float]]:
    return [
        [rate * scale_at(step, plan) for rate in rates] for step, rates in enumerate(schedule, start=1) if step >= first
    ]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(schedule: str, tmp_path: Path) -> None:
    plain = Training(tmp_path, module=Automatic(schedule)).run()
    training = Training(tmp_path, PLAN, Automatic(schedule))
    assert training.run() == expected(plain, PLAN)
    answer = training.commands.answer
    assert (answer.status, answer.applied_step, answer.step, answer.scale) == ("applied", 19, STEPS, 1.0)
    assert training.callback.watch is not None
    assert training.callback.watch.errors == {}


def test_the_trainers_length_makes_a_warm_start(tmp_path: Path) -> None:
    plain = Training(tmp_path, module=Automatic()).run()
    training = Training(tmp_path, {}, Automatic(), options={"warm_start": 5 / STEPS})
    factors = [0.1 ** (1 - done / 5) if done < 5 else 1.0 for done in range(STEPS)]
    assert training.run() == [[rate * factor for rate in rates] for rates, factor in zip(plain, factors, strict=True)]
    assert (training.commands.answer.total_steps, training.commands.answer.warm_until) == (STEPS, None)


def test_the_average_of_the_weights_is_in_the_checkpoint(tmp_path: Path) -> None:
    # At the end of an epoch: in its middle the loader would begin again, and the weights would be others.
    straight = Training(tmp_path, {}, Automatic(), save=12, options={"average": 0.25})
    straight.run()
    resumed = Training(tmp_path, {}, Automatic(), options={"average": 0.25})
    resumed.run(tmp_path / "step=12.ckpt")
    averages = []
    for training in (straight, resumed):
        assert training.callback.watch is not None
        averages.append(training.callback.watch.average_state()["optimizers"][0]["averages"])
    assert all(map(torch.equal, *averages))


def test_a_length_without_end_is_unknown(tmp_path: Path) -> None:
    training = Training(tmp_path, {}, Automatic(), max_steps=-1, max_time={"seconds": 1}, options={"warm_start": 0.1})
    training.run()
    assert training.commands.answer.total_steps is None
    assert training.callback.watch is not None
    assert training.callback.watch.scale == 1.0


@pytest.mark.parametrize("module", [Automatic, Manual])
def test_attached_and_at_scale_one_the_weights_are_bit_identical(module: Any, tmp_path: Path) -> None:
    plain, watched = Training(tmp_path, module=module()), Training(tmp_path, {}, module())
    plain.run()
    watched.run()
    assert all(map(torch.equal, plain.weights, watched.weights))


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name not in ("none", "plateau")])
def test_manual_optimization_with_two_optimizers_that_step_at_different_times(schedule: str, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"max_steps": -1, "max_epochs": 2}
    plain = Training(tmp_path, module=Manual(schedule), **changes)
    plain.run()
    training = Training(tmp_path, PLAN, Manual(schedule), **changes)
    training.run()
    first, second = (spy.seen for spy in plain.module.spies)
    assert training.module.spies[0].seen == expected(first, PLAN)
    # The second one steps in the batches 2, 4, 6, ...
    halved = [[rate * scale_at(2 * number, PLAN) for rate in rates] for number, rates in enumerate(second, start=1)]
    assert training.module.spies[1].seen == halved
    assert training.commands.answer.step == STEPS  # batches that stepped, not the sum over the optimizers


def test_with_gradient_accumulation_optimizer_steps_are_counted(tmp_path: Path) -> None:
    plain = Training(tmp_path, accumulate_grad_batches=3).run()
    training = Training(tmp_path, PLAN, accumulate_grad_batches=3)
    assert training.run() == expected(plain, PLAN)
    assert training.commands.answer.step == STEPS


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle"])
@pytest.mark.parametrize("checkpoint", [6, 8, 9, 12], ids="checkpoint-{}".format)
def test_a_resume_goes_on_at_the_scale_of_its_checkpoint(checkpoint: int, schedule: str, tmp_path: Path) -> None:
    plain = Training(tmp_path, module=Automatic(schedule)).run()
    plan = {4: 0.5, 9: 0.1}  # asked for in step 8, so the checkpoint of step 8 was saved before it was used
    Training(tmp_path, plan, Automatic(schedule), save=1).run()
    resumed = Training(tmp_path, {}, Automatic(schedule), save=10)
    held = scale_at(checkpoint + 1, plan)
    assert resumed.run(tmp_path / f"step={checkpoint}.ckpt") == expected(plain, {1: held}, first=checkpoint + 1)
    answer = resumed.commands.answer
    assert (answer.resumed_from_step, answer.step, answer.scale) == (checkpoint, STEPS, held)
    again = Training(tmp_path, {}, Automatic(schedule))  # of the checkpoint that the resumed run has written
    assert again.run(tmp_path / "step=20.ckpt") == expected(plain, {1: held}, first=21)


def test_a_new_run_in_the_same_directories_begins_at_scale_one(tmp_path: Path) -> None:
    plain = Training(tmp_path).run()
    first = Training(tmp_path, {4: 0.5}, save=8)
    first.run()
    assert Training(tmp_path, {}).run() == plain
    second = Training(tmp_path, {}, callbacks=[first.callback])  # a used callback in a new Trainer
    assert second.run() == plain


def test_a_checkpoint_that_is_only_tested_or_was_written_without_the_callback_brings_no_scale(tmp_path: Path) -> None:
    plain = Training(tmp_path / "plain", save=8).run()
    first = Training(tmp_path / "a", {4: 0.5}, save=8)
    first.run()
    fresh = Training(tmp_path / "b", {})
    fresh.trainer.validate(
        fresh.module, fresh.loader, str(tmp_path / "a" / "step=8.ckpt"), verbose=False, weights_only=False
    )
    fresh.module = Automatic()
    assert fresh.run() == plain
    resumed = Training(tmp_path / "c", {12: 0.5})
    assert resumed.run(tmp_path / "plain" / "step=8.ckpt") == expected(plain, {12: 0.5}, first=9)
    assert resumed.commands.answer.resumed_from_step == 8


def test_fit_once_more_goes_on_at_the_scale(tmp_path: Path) -> None:
    training = Training(tmp_path, {4: 0.5}, Automatic("none"))
    training.run()
    training.trainer.fit_loop.epoch_loop.max_steps = STEPS + 5
    assert training.run() == [[0.005, 0.01]] * 5
    assert training.commands.answer.step == STEPS + 5


def test_an_exception_in_the_training_ends_the_client_and_leaves_the_schedules_rates(tmp_path: Path) -> None:
    class Fails(Spy):
        def step(self, closure: Any = None) -> Any:
            super().step(closure)
            if len(self.seen) == 6:
                raise RuntimeError("inside step")

    class Module(Automatic):
        def configure_optimizers(self) -> Any:
            self.spies = [Fails(self.layer.parameters(), lr=0.01)]
            return self.spies[0]

    training = Training(tmp_path, {4: 0.5}, Module())
    with pytest.raises(RuntimeError, match="inside step"):
        training.run()
    assert training.callback.state_dict()["scale"] == 0.5
    assert training.module.spies[0].param_groups[0]["lr"] == 0.01


def test_losses_and_what_the_validation_found_are_in_the_metrics_file(tmp_path: Path) -> None:
    Training(tmp_path, {4: 0.5}, limit_val_batches=1.0).run()
    rows = [json.loads(line) for line in (tmp_path / "lrwatch" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val_loss" not in row] == list(range(1, STEPS + 1))
    assert [row["step"] for row in rows if "val_loss" in row] == [12, 24]
    assert all("loss" in row and row["scale"] in (0.5, 1.0) for row in rows)


@pytest.mark.parametrize("kind", [Automatic, Manual])
def test_lightnings_own_log_shows_the_scale_and_the_rate_that_was_used(kind: Any, tmp_path: Path) -> None:
    plain = Training(tmp_path, module=kind("exponential"))
    plain.run()
    rates = plain.module.spies[0].seen
    plan = {4: 0.5, 14: 0.2}
    logger = lightning.loggers.CSVLogger(tmp_path, name="own")
    training = Training(tmp_path, plan, kind("exponential"), logger=logger, log_every_n_steps=1)
    training.run()
    with Path(logger.log_dir, "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row.get("lrwatch/scale")]
    assert rows
    scales = [float(row["lrwatch/scale"]) for row in rows]
    assert scales == pytest.approx([scale_at(number + 1, plan) for number in range(1, len(rows) + 1)])
    used = [float(row["lrwatch/lr"]) for row in rows]
    assert used == pytest.approx([rate * scale_at(number, plan) for number, (rate, *_) in enumerate(rates, start=1)])
    if kind is Automatic:  # the other gives no loss to write
        assert "lrwatch/" not in (tmp_path / "lrwatch" / "metrics.jsonl").read_text()


def test_the_other_name_of_the_package_works_as_well(tmp_path: Path) -> None:
    other: Any = pytest.importorskip("pytorch_lightning")

    class Module(other.LightningModule):
        training_step, validation_step = Automatic.training_step, Automatic.validation_step
        configure_optimizers = Automatic.configure_optimizers

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer, self.schedule = torch.nn.Linear(3, 1), "cosine"
            self.spies: list[Spy] = []

    plain = Training(tmp_path, module=Module(), library=other).run()
    training = Training(tmp_path, PLAN, Module(), other)
    assert training.run() == expected(plain, PLAN)
