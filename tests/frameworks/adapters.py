"""A short training with each adapter, for the table in docs/frameworks.md: what it does by itself, and what it needs a person for.

Each function trains in `where / "first"`, whose scale becomes one half, saves a checkpoint, and goes on from it with everything made anew in
another control directory. What it returns was read off the files, logs and clients of that training.

One file because the trainings are read beside each other: each is the same few lines in the words of another framework.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lrwatch

COLUMNS = ("length known", "rate in its logs", "end said", "state in checkpoints")

STEPS = 4
OPTIONS: dict[str, Any] = {"poll_seconds": 0.05}
X = np.random.default_rng(0).standard_normal((16, 3)).astype("float32")
Y = X.sum(axis=1)


def halve(watch: Any) -> None:
    """Give the client the scale of a command that was applied."""
    watch.load_state_dict({**watch.state_dict(), "scale": 0.5, "generation": 1, "commands": 1})


def said(directory: Path) -> dict[str, Any]:
    """Return the trainer's last word."""
    return dict(json.loads((directory / "observed.json").read_text()))


def grade(alone: object, helped: object = False) -> str:
    """Return "yes" for what happens by itself, "you" for what a person has to ask for, and else "no"."""
    return "yes" if alone else "you" if helped else "no"


def answers(directory: Path, *, length: str, rate: str, state: str, wanted: int = STEPS) -> dict[str, str]:
    """Return the row: length, rate and state as graded, and the end as the trainer said it."""
    last = said(directory)
    assert last["step"] == wanted, last
    ended = last["life"] == "ended" and last["goodbye"] is not None
    return dict(zip(COLUMNS, (length, rate, grade(ended), state), strict=True))


def weights() -> tuple[Any, torch.optim.Optimizer]:
    weight = torch.nn.Parameter(torch.ones(1))
    return weight, torch.optim.SGD([weight], lr=0.1)


def torch_loop(where: Path) -> dict[str, str]:
    def train(directory: Path, state: Any = None, **options: Any) -> Any:
        weight, optimizer = weights()
        with lrwatch.attach(optimizer, directory, **OPTIONS, **options) as watch:
            if state is None:
                halve(watch)
            else:
                watch.load_state_dict(state)
            for _ in range(STEPS):
                weight.square().sum().backward()
                optimizer.step()
                watch.step()
            return watch

    watch = train(where / "first")
    alone = said(where / "first")["total_steps"] == STEPS
    again = train(where / "second", watch.state_dict(), total_steps=STEPS)
    return answers(
        where / "first",
        length=grade(alone, said(where / "second")["total_steps"] == STEPS),
        rate=grade(False, watch.lr == {"0": 0.05}),
        state=grade(False, again.scale == 0.5),
    )


def plateau_lr(where: Path) -> dict[str, str]:
    _, optimizer = weights()
    scheduler = lrwatch.torch.PlateauLR(optimizer)
    noise = np.random.default_rng(0)
    for step in range(2000):  # a loss that settles where the learning rate holds it
        optimizer.step()
        scheduler.step(1 + 5 * optimizer.param_groups[0]["lr"] + 2 * 0.98**step + 0.01 * noise.standard_normal())
    assert scheduler.scale < 1
    assert not list(where.iterdir()), "without a daemon there is nobody to tell an end"
    loaded = lrwatch.torch.PlateauLR(weights()[1])
    loaded.load_state_dict(pickle.loads(pickle.dumps(scheduler.state_dict())))
    given = lrwatch.torch.PlateauLR(weights()[1], total_steps=STEPS)
    rates = (
        grade(False, given.controller is not None),
        grade(scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]),
        grade(False),
        grade(False, loaded.scale == scheduler.scale),
    )
    return dict(zip(COLUMNS, rates, strict=True))


def accelerate(where: Path) -> dict[str, str]:
    from accelerate import Accelerator

    def train(directory: Path, checkpoint: Path | None = None, **options: Any) -> Any:
        accelerator = Accelerator(cpu=True)
        weight, plain = weights()
        optimizer = accelerator.prepare(plain)
        watch = lrwatch.attach(optimizer, directory, **OPTIONS, **options)
        accelerator.register_for_checkpointing(watch)
        if checkpoint is None:
            halve(watch)
        else:
            accelerator.load_state(str(checkpoint))
        for _ in range(STEPS):
            accelerator.backward(weight.square().sum())
            optimizer.step()
            watch.step()
        if checkpoint is None:
            accelerator.save_state(str(where / "checkpoint"))
        watch.close()
        return watch

    watch = train(where / "first")
    alone = said(where / "first")["total_steps"] == STEPS
    again = train(where / "second", where / "checkpoint", total_steps=STEPS)
    return answers(
        where / "first",
        length=grade(alone, said(where / "second")["total_steps"] == STEPS),
        rate=grade(False, watch.lr == {"0": 0.05}),
        state=grade(again.scale == 0.5),
    )


def transformers(where: Path) -> dict[str, str]:
    import transformers
    from frameworks.test_transformers import Data, Model

    class Halved(transformers.TrainerCallback):
        def __init__(self, callback: Any) -> None:
            self.callback = callback

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            halve(self.callback.watch)

    def train(name: str, steps: int, checkpoint: str | None = None) -> Any:
        callback = lrwatch.transformers.LrwatchCallback(where / name, **OPTIONS)
        arguments = transformers.TrainingArguments(
            output_dir=str(where / "out"), max_steps=steps, per_device_train_batch_size=2, use_cpu=True, report_to=[],
            logging_steps=1, save_steps=STEPS, disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        callbacks = [callback] if checkpoint else [callback, Halved(callback)]
        trainer = transformers.Trainer(model=Model(), args=arguments, train_dataset=Data(), callbacks=callbacks)
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train(resume_from_checkpoint=checkpoint)
        return trainer, callback

    trainer, _ = train("first", STEPS)
    _, again = train("second", STEPS + 2, str(where / "out" / f"checkpoint-{STEPS}"))
    shown = [row for row in trainer.state.log_history if "lrwatch/lr" in row]
    return answers(
        where / "first",
        length=grade(said(where / "first")["total_steps"] == STEPS),
        rate=grade(len(shown) == STEPS and shown[-1]["lrwatch/lr"] == shown[-1]["learning_rate"] / 2),
        state=grade(again.watch.scale == 0.5),
    )


def lightning(where: Path) -> dict[str, str]:
    import lightning.pytorch as lightning

    logged: list[dict[str, float]] = []

    class Logger(lightning.loggers.logger.DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            logged.append(metrics)

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(1))

        def training_step(self, batch: Any, index: int) -> Any:
            return self.weight.square().sum()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD([self.weight], lr=0.1)

    class Halved(lightning.Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            halve(trainer.callbacks[0].watch)

    def train(name: str, steps: int, checkpoint: Path | None = None) -> Any:
        callback = lrwatch.lightning.LrwatchCallback(where / name, **OPTIONS)
        trainer = lightning.Trainer(
            max_steps=steps, max_epochs=-1, accelerator="cpu", logger=Logger(), enable_progress_bar=False,
            enable_model_summary=False, enable_checkpointing=False, log_every_n_steps=1, default_root_dir=where,
            callbacks=[callback] if checkpoint else [callback, Halved()],
        )  # fmt: skip
        numbers: Any = range(STEPS)
        trainer.fit(Module(), torch.utils.data.DataLoader(numbers), ckpt_path=checkpoint, weights_only=False)
        return trainer, callback

    trainer, _ = train("first", STEPS)
    trainer.save_checkpoint(where / "checkpoint")
    rates = [row["lrwatch/lr"] for row in logged if "lrwatch/lr" in row]
    _, again = train("second", STEPS + 2, where / "checkpoint")
    return answers(
        where / "first",
        length=grade(said(where / "first")["total_steps"] == STEPS),
        rate=grade(np.allclose(rates, [0.05] * STEPS)),
        state=grade(again.watch.scale == 0.5),
    )


def keras(where: Path) -> dict[str, str]:
    import keras

    class Halved(keras.callbacks.Callback):
        def __init__(self, callback: Any) -> None:
            super().__init__()
            self.callback = callback

        def on_train_begin(self, logs: Any = None) -> None:
            halve(self.callback.watch)

    def train(name: str, model: Any, first: int) -> Any:
        callback = lrwatch.keras.LrwatchCallback(where / name, **OPTIONS)
        callbacks = [callback] if first else [callback, Halved(callback)]
        batches = {"batch_size": len(X) * 2 // STEPS, "shuffle": False, "verbose": 0}
        history = model.fit(X, Y, initial_epoch=first, epochs=first + 2, callbacks=callbacks, **batches)
        return history.history, callback

    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
    history, _ = train("first", model, 0)
    row = answers(
        where / "first",
        length=grade(said(where / "first")["total_steps"] == STEPS),
        rate=grade(np.allclose(history["lrwatch/lr"], 0.05)),
        state="no",
    )
    model.save(where / "model.keras")
    alone = train("second", keras.saving.load_model(where / "model.keras"), 2)[1].watch.scale == 0.5
    helped = train("first", keras.saving.load_model(where / "model.keras"), 2)[1].watch.scale == 0.5
    return row | {COLUMNS[3]: grade(alone, helped)}


def optax(where: Path) -> dict[str, str]:
    import jax.numpy as jnp
    import optax

    def train(directory: Path, state: Any = None, **options: Any) -> Any:
        params = {"w": jnp.ones(1)}
        optimizer = lrwatch.optax.scaled(optax.sgd)(0.1)
        with lrwatch.attach(None, directory, **OPTIONS, **options) as watch:
            if state is None:
                state = optimizer.init(params)
                halve(watch)
            for _ in range(STEPS):
                state = lrwatch.optax.follow(watch, state)
                _, state = optimizer.update({"w": jnp.ones(1)}, state, params)
                watch.step()
            return watch, state

    watch, state = train(where / "first")
    alone = said(where / "first")["total_steps"] == STEPS
    again, _ = train(where / "second", pickle.loads(pickle.dumps(state)), total_steps=STEPS)
    return answers(
        where / "first",
        length=grade(alone, said(where / "second")["total_steps"] == STEPS),
        rate=grade(bool(watch.lr), watch.scale == 0.5),
        state=grade(again.scale == 0.5),
    )


def xgboost(where: Path) -> dict[str, str]:
    import xgboost

    class Halved(xgboost.callback.TrainingCallback):
        def __init__(self, callback: Any) -> None:
            self.callback = callback

        def before_training(self, model: Any) -> Any:
            halve(self.callback.watch)
            return model

    def train(name: str, start: Any = None) -> Any:
        callback = lrwatch.xgboost.LrwatchCallback(where / name, **OPTIONS)
        shown: dict[str, Any] = {}
        data = xgboost.DMatrix(X, Y)
        booster = xgboost.train(
            {"learning_rate": 0.1, "nthread": 1}, data, STEPS, evals=[(data, "train")], evals_result=shown,
            verbose_eval=False, xgb_model=start, callbacks=[callback] if start else [callback, Halved(callback)],
        )  # fmt: skip
        return booster, shown, callback

    booster, shown, _ = train("first")
    booster.save_model(where / "model.ubj")
    *_, again = train("second", where / "model.ubj")
    known = [said(where / name)["total_steps"] for name in ("first", "second")]
    return answers(
        where / "first",
        length=grade(known == [STEPS, 2 * STEPS]),
        rate=grade(shown["lrwatch"]["lr"] == [0.05] * STEPS),
        state=grade(again.watch.scale == 0.5),
    )


def lightgbm(where: Path) -> dict[str, str]:
    import lightgbm

    def train(name: str, start: Any = None, **options: Any) -> Any:
        shown: dict[str, Any] = {}
        callback = lrwatch.lightgbm.LrwatchCallback(where / name, **OPTIONS, **options)

        def halved(env: Any) -> None:
            if start is None and env.iteration == 0:
                halve(callback.watch)

        halved.order, halved.before_iteration = 15, True  # type: ignore[attr-defined]
        begin = callback.order
        callback.order = 10
        assert begin > 15
        data = lightgbm.Dataset(X, Y, free_raw_data=False)
        settings = {"learning_rate": 0.1, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 1}
        booster = lightgbm.train(
            settings, data, STEPS, valid_sets=[data], init_model=start, keep_training_booster=True,
            callbacks=[callback, halved, callback.metrics, lightgbm.record_evaluation(shown)],
        )  # fmt: skip
        return booster, shown, callback

    recorded: dict[str, Any] = {}
    booster, shown, first = train("first", record=recorded)
    _, _, second = train("second", booster)
    _, _, third = train("third", booster, state=first.state_dict())
    return answers(
        where / "first",
        length=grade(said(where / "first")["total_steps"] == STEPS),
        rate=grade("lrwatch" in shown, recorded["lrwatch"]["lr"][1:] == [0.05] * (STEPS - 1)),
        state=grade(second.watch.scale == 0.5, third.watch.scale == 0.5),
    )


def stable_baselines3(where: Path) -> dict[str, str]:
    import stable_baselines3
    from stable_baselines3.common.callbacks import BaseCallback, CallbackList
    from stable_baselines3.common.logger import Logger

    class Halved(BaseCallback):
        def __init__(self, callback: Any) -> None:
            super().__init__()
            self.callback = callback

        def _on_training_start(self) -> None:
            halve(self.callback.watch)

        def _on_step(self) -> bool:
            return True

    shown: list[dict[str, Any]] = []

    class Shown(Logger):
        def dump(self, step: int = 0) -> None:
            shown.append(dict(self.name_to_value))
            super().dump(step)

    def learn(name: str, model: Any, *others: Callable[[Any], Any]) -> Any:
        callback = lrwatch.stable_baselines3.LrwatchCallback(where / name, **OPTIONS)
        model.set_logger(Shown(None, []))
        model.learn(4 * STEPS, callback=CallbackList([callback, *(other(callback) for other in others)]))
        return callback

    model = stable_baselines3.PPO(
        "MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, n_epochs=1, learning_rate=0.01, device="cpu"
    )
    learn("first", model, Halved)
    rates = [row["lrwatch/lr"] for row in shown if "lrwatch/lr" in row]
    model.save(where / "model.zip")
    again = learn("second", type(model).load(where / "model.zip", env=model.get_env()))
    return answers(
        where / "first",
        length=grade(said(where / "first")["total_steps"] == 4 * STEPS),
        rate=grade(rates[-1:] == [0.005]),
        state=grade(again.watch.scale == 0.5),
        wanted=4 * STEPS,
    )


ADAPTERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "`lrwatch.attach` in a torch loop": torch_loop,
    "`lrwatch.torch.PlateauLR`": plateau_lr,
    "Accelerate": accelerate,
    "Transformers, TRL": transformers,
    "Lightning": lightning,
    "Keras 3": keras,
    "optax": optax,
    "XGBoost": xgboost,
    "LightGBM": lightgbm,
    "Stable-Baselines3": stable_baselines3,
}
"""Trainings by the first cell of their row."""
