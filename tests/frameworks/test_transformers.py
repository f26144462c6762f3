"""The Hugging Face Trainer, with the learning rate noted inside the optimizer's own step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from frameworks.scheduled_commands import OPTIONS, PLAN, STEPS, ScheduledCommands, scale_at

import lrwatch

pytestmark = pytest.mark.frameworks

transformers: Any = pytest.importorskip("transformers")

SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "constant_with_warmup": {},
    "linear": {},
    "cosine": {},
    "cosine_with_restarts": {"num_cycles": 3},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr_rate": 0.1},
    "polynomial": {"power": 1.5},
    "inverse_sqrt": {},
    "warmup_stable_decay": {"num_decay_steps": 8},
    "reduce_lr_on_plateau": {"patience": 1},
}


class Spy(torch.optim.AdamW):
    """Notes the learning rates inside its own step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[list[float]] = []
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.seen.append([float(group["lr"]) for group in self.param_groups])
        return super().step(closure)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.layer(x) - labels).square().mean()}


class Data(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    def __len__(self) -> int:
        return STEPS * 4

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        generator = torch.Generator().manual_seed(i)
        return {"x": torch.randn(3, generator=generator), "labels": torch.randn(1, generator=generator)}


class Daemon(transformers.TrainerCallback):
    """Asks within the step before, so that it goes before the callback under test."""

    def __init__(self, commands: ScheduledCommands, watched: Any) -> None:
        self.commands, self.watched = commands, watched

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.commands.before(state.global_step + 2, self.watched().watch)


class Training:
    """One `Trainer`, whose optimizer notes what it steps with."""

    def __init__(self, out: Path, plan: Mapping[int, float] | None = None, **changes: Any) -> None:
        torch.manual_seed(0)
        model = Model()
        self.optimizer = Spy(
            [{"params": [model.layer.weight], "lr": 0.01}, {"params": [model.layer.bias], "lr": 0.02}], lr=0.01
        )
        control, callbacks = changes.pop("control", out / "lrwatch"), []
        if plan is not None:
            self.commands = ScheduledCommands(control, plan)
            callbacks = [
                Daemon(self.commands, lambda: self.callback),
                lrwatch.transformers.LrwatchCallback(control, **OPTIONS, **changes.pop("options", {})),
            ]
        schedule = changes.pop("schedule", "linear")
        values: dict[str, Any] = {
            "output_dir": str(out), "max_steps": STEPS, "per_device_train_batch_size": 2, "learning_rate": 0.01,
            "lr_scheduler_type": schedule, "lr_scheduler_kwargs": SCHEDULES[schedule], "warmup_steps": 3,
            "use_cpu": True, "report_to": [], "logging_steps": 5, "save_strategy": "no", "disable_tqdm": True, "seed": 0,
            "dataloader_pin_memory": False,
        }  # fmt: skip
        if schedule == "constant":
            values["warmup_steps"] = 0
        if schedule == "reduce_lr_on_plateau":
            values |= {"eval_strategy": "steps", "eval_steps": 2, "metric_for_best_model": "loss"}
        self.trainer = transformers.Trainer(
            model=model, args=transformers.TrainingArguments(**(values | changes)), train_dataset=Data(),
            eval_dataset=torch.utils.data.Subset(Data(), range(4)), optimizers=(self.optimizer, None), callbacks=callbacks,
        )  # fmt: skip
        self.trainer.remove_callback(transformers.PrinterCallback)

    @property
    def callback(self) -> Any:
        """The callback in force: a resume may have replaced the one that was given."""
        return next(
            c for c in self.trainer.callback_handler.callbacks if isinstance(c, lrwatch.transformers.LrwatchCallback)
        )

    def run(self, resume: Path | None = None) -> list[list[float]]:
        self.trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return self.optimizer.seen

    @property
    def weights(self) -> list[torch.Tensor]:
        return [p.detach().clone() for p in self.trainer.model.parameters()]


def expected(schedule: list[list[float]], plan: Mapping[int, float], first: int = 1) -> list[list[float]]:
    return [
        [rate * scale_at(step, plan) for rate in rates] for step, rates in enumerate(schedule, start=1) if step >= first
    ]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a schedule gives without lrwatch."""
    known: dict[str, tuple[list[list[float]], list[torch.Tensor]]] = {}

    def of(schedule: str) -> tuple[list[list[float]], list[torch.Tensor]]:
        if schedule not in known:
            training = Training(tmp_path_factory.mktemp("plain"), schedule=schedule)
            known[schedule] = training.run(), training.weights
        return known[schedule]

    return of


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(schedule: str, tmp_path: Path, plain: Any) -> None:
    training = Training(tmp_path, PLAN, schedule=schedule)
    assert training.run() == expected(plain(schedule)[0], PLAN)
    answer = training.commands.answer
    assert (answer.status, answer.applied_step, answer.step, answer.scale) == ("applied", 19, STEPS, 1.0)
    assert training.callback.watch.errors == {}


def test_attached_and_at_scale_one_the_weights_are_bit_identical(tmp_path: Path, plain: Any) -> None:
    training = Training(tmp_path, {})
    assert training.run() == plain("linear")[0]
    assert all(map(torch.equal, training.weights, plain("linear")[1]))


def test_with_gradient_accumulation_optimizer_steps_are_counted(tmp_path: Path, plain: Any) -> None:
    training = Training(
        tmp_path, PLAN, gradient_accumulation_steps=2, num_train_epochs=1, per_device_train_batch_size=2
    )
    assert training.run() == expected(plain("linear")[0], PLAN)
    assert training.commands.answer.step == STEPS


@pytest.mark.parametrize("restored", [True, False], ids=["callback state restored", "callback state not restored"])
@pytest.mark.parametrize("schedule", ["linear", "cosine_with_min_lr"])
@pytest.mark.parametrize("checkpoint", [6, 8, 9, 12], ids="checkpoint-{}".format)
def test_a_resume_goes_on_at_the_scale_of_its_checkpoint(
    checkpoint: int, schedule: str, restored: bool, tmp_path: Path, plain: Any
) -> None:
    # Asked for in step 8, so checkpoint-8 is saved before the scale 0.1 was used, and knows of it all the same.
    plan = {4: 0.5, 9: 0.1}
    Training(tmp_path, plan, schedule=schedule, save_strategy="steps", save_steps=1).run()
    resumed = Training(
        tmp_path,
        {},
        schedule=schedule,
        restore_callback_states_from_checkpoint=restored,
        save_strategy="steps",
        save_steps=10,
    )
    seen = resumed.run(tmp_path / f"checkpoint-{checkpoint}")
    held = scale_at(checkpoint + 1, plan)
    assert seen == expected(plain(schedule)[0], {1: held}, first=checkpoint + 1)
    assert resumed.callback.watch.scale == held
    answer = resumed.commands.answer
    assert (answer.resumed_from_step, answer.step, answer.scale) == (checkpoint, STEPS, held)

    again = Training(tmp_path, {}, schedule=schedule)  # of the checkpoint that the resumed run has written
    assert again.run(tmp_path / "checkpoint-20") == expected(plain(schedule)[0], {1: held}, first=21)


@pytest.mark.parametrize("checkpoint", [3, 9])
def test_the_trainers_length_makes_a_warm_start_that_a_resume_goes_on_with(
    checkpoint: int, tmp_path: Path, plain: Any
) -> None:
    options = {"warm_start": 5 / STEPS}
    first = Training(tmp_path, {}, options=options, save_strategy="steps", save_steps=checkpoint)
    wanted = [
        [rate * (0.1 ** (1 - done / 5) if done < 5 else 1.0) for rate in rates]
        for done, rates in enumerate(plain("linear")[0])
    ]
    assert first.run() == wanted
    assert (first.commands.answer.total_steps, first.commands.answer.warm_until) == (STEPS, None)
    resumed = Training(tmp_path, {}, options=options)
    assert resumed.run(tmp_path / f"checkpoint-{checkpoint}") == wanted[checkpoint:]
    assert resumed.callback.watch.errors == {}


@pytest.mark.parametrize("elsewhere", [False, True])
def test_the_average_of_the_weights_is_in_the_checkpoint(elsewhere: bool, tmp_path: Path) -> None:
    options = {"average": 0.25}
    straight = Training(tmp_path / "a", {}, options=options, save_strategy="steps", save_steps=9)
    straight.run()
    other = tmp_path / "b"
    if elsewhere:  # a checkpoint of the same number, of another run, in the output directory
        Training(other, {}, options=options, save_strategy="steps", save_steps=9, seed=1).run()
    resumed = Training(other if elsewhere else tmp_path / "a", {}, options=options)
    resumed.run(tmp_path / "a" / "checkpoint-9")
    averages = [
        training.callback.watch.average_state()["optimizers"][0]["averages"] for training in (straight, resumed)
    ]
    assert all(map(torch.equal, *averages)) is not elsewhere
    assert resumed.callback.watch.errors == {}


def test_a_new_run_in_the_same_directories_begins_at_scale_one(tmp_path: Path, plain: Any) -> None:
    first = Training(tmp_path, {4: 0.5}, save_strategy="steps", save_steps=8)
    first.run()
    assert Training(tmp_path, {}).run() == plain("linear")[0]
    # ... and so it does where the same callback is used for a second training.
    second = Training(tmp_path / "second")
    second.trainer.add_callback(first.callback)
    assert second.run() == plain("linear")[0]


def test_a_checkpoint_of_another_run_brings_its_own_scale_not_that_of_the_directory(tmp_path: Path, plain: Any) -> None:
    control = tmp_path / "control"
    Training(tmp_path / "a", {4: 0.5}, control=control, save_strategy="steps", save_steps=8).run()
    Training(tmp_path / "b", {4: 0.2}, control=control, save_strategy="steps", save_steps=8).run()
    resumed = Training(tmp_path / "b", {}, control=control)
    assert resumed.run(tmp_path / "a" / "checkpoint-8") == expected(plain("linear")[0], {1: 0.5}, first=9)


@pytest.mark.parametrize("restored", [True, False])
def test_a_checkpoint_that_was_written_without_the_callback_goes_on_at_scale_one(
    restored: bool, tmp_path: Path, plain: Any
) -> None:
    Training(tmp_path, save_strategy="steps", save_steps=8).run()
    resumed = Training(
        tmp_path, {12: 0.5}, save_strategy="steps", save_steps=8, restore_callback_states_from_checkpoint=restored
    )
    assert resumed.run(tmp_path / "checkpoint-8") == expected(plain("linear")[0], {12: 0.5}, first=9)
    assert resumed.commands.answer.resumed_from_step == 8


def test_what_the_trainer_logs_is_in_the_metrics_file_beside_the_rate_that_was_used(tmp_path: Path, plain: Any) -> None:
    Training(tmp_path, {4: 0.5}).run()
    rows = [json.loads(line) for line in (tmp_path / "lrwatch" / "metrics.jsonl").read_text().splitlines()]
    logged = {row["step"]: row for row in rows if "loss" in row}
    assert sorted(logged) == [5, 10, 15, 20]
    for step, row in logged.items():
        assert row["lr"] == 0.5 * plain("linear")[0][step - 1][0]
        assert row["learning_rate"] == plain("linear")[0][step - 1][0]  # what the Trainer says is the schedule's


class Reporter(transformers.TrainerCallback):
    """Stands for TensorBoard's, W&B's and the like: writes down what `on_log` gives it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.rows.append({"step": state.global_step, **logs})


@pytest.mark.parametrize("place", ["in front", "behind"])
def test_the_trainers_own_logs_show_the_scale_and_the_rate_that_was_used_wherever_it_reports(
    place: str, tmp_path: Path, plain: Any
) -> None:
    plan, rates = {4: 0.5, 14: 0.2}, plain("linear")[0]
    training, reporter = Training(tmp_path, plan, eval_strategy="steps", eval_steps=10), Reporter()
    callbacks = training.trainer.callback_handler.callbacks
    callbacks.insert(0 if place == "in front" else len(callbacks), reporter)
    before = list(callbacks)
    assert training.run() == expected(rates, plan)
    assert sorted(map(id, callbacks)) == sorted(map(id, before)), "none is lost, and none is there twice"
    for rows in (reporter.rows, training.trainer.state.log_history):
        shown = {row["step"]: row for row in rows if "lrwatch/scale" in row}
        assert sorted(shown) == [5, 10, 15, 20], "with the training's own logs, and with no others"
        for step, row in shown.items():
            assert row["lrwatch/lr"] == rates[step - 1][0] * scale_at(step, plan)
            assert row["lrwatch/scale"] == scale_at(step + 1, plan)
    metrics = (tmp_path / "lrwatch" / "metrics.jsonl").read_text()
    assert "lrwatch/" not in metrics, "the metrics file has both under names of its own"


def test_what_an_evaluation_returns_has_nothing_of_lrwatch(tmp_path: Path) -> None:
    training = Training(tmp_path, {4: 0.5})
    training.run()
    assert not [name for name in training.trainer.evaluate() if name.startswith("lrwatch/")]


def test_tensorboard_gets_both_curves(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    training = Training(tmp_path, {4: 0.5}, report_to=["tensorboard"])
    training.run()
    (file,) = tmp_path.rglob("*tfevents*")
    found = EventAccumulator(str(file.parent)).Reload()
    assert [event.value for event in found.Scalars("train/lrwatch/scale")] == [0.5] * 4
    assert len(found.Scalars("train/lrwatch/lr")) == 4


def test_arguments_that_a_checkpoint_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="as JSON"):
        lrwatch.transformers.LrwatchCallback(tmp_path, reload=print)
    callback = lrwatch.transformers.LrwatchCallback(tmp_path, key_file=tmp_path / "key")
    assert json.loads(json.dumps(callback.state()))["args"] == {
        "control_dir": str(tmp_path), "key_file": str(tmp_path / "key"),
    }  # fmt: skip
