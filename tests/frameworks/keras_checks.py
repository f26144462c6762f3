"""What holds for Keras on the backend of this process; `test_keras.py` starts it once for each."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from frameworks.scheduled_commands import OPTIONS, PLAN, STEPS, ScheduledCommands, scale_at

import lrwatch

# How NumPy 2 finds Keras's own variables.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

BATCHES = 8  # an epoch
EPOCHS = STEPS // BATCHES
X = np.random.default_rng(0).standard_normal((BATCHES * 2, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)

RATES: dict[str, Callable[[], Any]] = {
    "float": lambda: 0.05,
    "exponential": lambda: keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.7),
    "cosine": lambda: keras.optimizers.schedules.CosineDecay(0.05, STEPS, alpha=0.1),
    "cosine with warmup": lambda: keras.optimizers.schedules.CosineDecay(
        0.0, STEPS, alpha=0.1, warmup_target=0.05, warmup_steps=5
    ),
    "restarts": lambda: keras.optimizers.schedules.CosineDecayRestarts(0.05, 6),
    "inverse time": lambda: keras.optimizers.schedules.InverseTimeDecay(0.05, 3, 0.5),
    "piecewise": lambda: keras.optimizers.schedules.PiecewiseConstantDecay([6, 12], [0.05, 0.02, 0.01]),
    "polynomial": lambda: keras.optimizers.schedules.PolynomialDecay(0.05, STEPS),
    "callable": lambda: lambda: 0.05,
}


@keras.saving.register_keras_serializable("checks")
class Noted(keras.optimizers.SGD):
    """Puts the learning rate of its step into the weights, from where it is read exactly on every backend."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        rate = keras.ops.cast(learning_rate, variable.dtype)
        self.assign(variable, keras.ops.zeros(variable.shape, variable.dtype) + rate)


class Note(keras.callbacks.Callback):
    """Reads the weights before each step: what the step before has put there."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[float] = []
        self.first = True

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self.first:
            self.note()
        self.first = False

    def on_train_end(self, logs: Any = None) -> None:
        self.note()
        self.first = True

    def note(self) -> None:
        self.seen.append(float(self.model.trainable_weights[0].numpy().ravel()[0]))


class Daemon(keras.callbacks.Callback):
    """Asks for what the batch that begins is to use."""

    def __init__(self, directory: Path, plan: Mapping[int, float], accumulated: int = 1) -> None:
        super().__init__()
        self.commands = ScheduledCommands(directory, plan)
        self.watched = lrwatch.keras.LrwatchCallback(directory, **OPTIONS)
        self.before, self.accumulated = 0, accumulated

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        optimizer = getattr(self.model.optimizer, "inner_optimizer", self.model.optimizer)
        self.before = int(optimizer._iterations)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.commands.before((self.before + batch) // self.accumulated + 1, self.watched.watch)

    @property
    def callbacks(self) -> list[Any]:
        return [self, self.watched]


def build(optimizer: Any) -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer=optimizer, loss="mse")
    return model


def fit(model: Any, callbacks: list[Any], epochs: int = EPOCHS, first: int = 0, **changes: Any) -> Any:
    return model.fit(
        X, Y, batch_size=2, epochs=epochs, initial_epoch=first, shuffle=False, verbose=0, callbacks=callbacks, **changes
    )


def rates(model: Any, *callbacks: Any, **changes: Any) -> list[float]:
    note = Note()
    fit(model, [*callbacks, note], **changes)
    return note.seen


def expected(plain: list[float], plan: Mapping[int, float], first: int = 1) -> list[float]:
    """The product that single precision gives, which is where Keras multiplies."""
    return [
        float(np.float32(rate) * np.float32(scale_at(step, plan)))
        for step, rate in enumerate(plain, start=1)
        if step >= first
    ]


@pytest.mark.parametrize("rate", RATES)
def test_the_effective_rate_is_the_schedules_times_the_scale_exactly(rate: str, tmp_path: Path) -> None:
    plain = rates(build(Noted(RATES[rate]())))
    model, daemon = build(Noted(RATES[rate]())), Daemon(tmp_path, PLAN)
    assert rates(model, *daemon.callbacks) == expected(plain, PLAN)
    answer = daemon.commands.answer
    assert (answer.status, answer.applied_step, answer.step, answer.scale) == ("applied", 19, STEPS, 1.0)
    assert daemon.watched.watch is not None
    assert daemon.watched.watch.errors == {}


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Lion"])
def test_attached_and_at_scale_one_the_weights_are_bit_identical(kind: str, tmp_path: Path) -> None:
    make = getattr(keras.optimizers, kind)
    plain, watched = build(make(RATES["cosine"]())), build(make(RATES["cosine"]()))
    fit(plain, [])
    fit(watched, Daemon(tmp_path, {}).callbacks)
    assert all(map(np.array_equal, plain.get_weights(), watched.get_weights()))


@pytest.mark.parametrize("kind", ["SGD", "AdamW"])
def test_at_half_the_scale_the_weights_are_those_of_half_the_rate(kind: str, tmp_path: Path) -> None:
    make = getattr(keras.optimizers, kind)  # AdamW: the decay of the weights goes with the rate
    plain, watched = build(make(0.025)), build(make(0.05))
    fit(plain, [])
    fit(watched, Daemon(tmp_path, {1: 0.5}).callbacks)
    assert all(map(np.array_equal, plain.get_weights(), watched.get_weights()))


def test_with_gradient_accumulation_optimizer_steps_are_counted(tmp_path: Path) -> None:
    plain = rates(build(Noted(0.05, gradient_accumulation_steps=2)), epochs=2 * EPOCHS)
    daemon = Daemon(tmp_path, PLAN, accumulated=2)
    seen = rates(build(Noted(0.05, gradient_accumulation_steps=2)), *daemon.callbacks, epochs=2 * EPOCHS)
    assert seen[1::2] == expected(plain[1::2], PLAN)
    assert daemon.commands.answer.step == STEPS


def test_epochs_times_batches_are_the_length_and_make_a_warm_start(tmp_path: Path) -> None:
    watched = lrwatch.keras.LrwatchCallback(tmp_path, warm_start=4 / STEPS, **OPTIONS)
    factors = [0.1 ** (1 - done / 4) if done < 4 else 1.0 for done in range(STEPS)]
    model = build(Noted(0.05))
    assert rates(model, watched) == pytest.approx([0.05 * factor for factor in factors])
    assert watched._state()["total_steps"] == STEPS
    fit(model, [watched], epochs=EPOCHS + 2, first=EPOCHS)
    assert watched._state()["total_steps"] == STEPS + 2 * BATCHES


def test_other_callbacks_that_read_and_write_the_rate_see_the_schedules(tmp_path: Path) -> None:
    def others() -> list[Any]:
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch else rate)
        return [halve, keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=1, min_delta=1e9)]

    untouched, model = build(Noted(0.05)), build(Noted(0.05))
    plain = rates(untouched, *others())
    daemon = Daemon(tmp_path, PLAN)
    assert rates(model, *daemon.callbacks, *others()) == expected(plain, PLAN)
    assert len(set(plain)) > 2
    assert float(model.optimizer.learning_rate) == float(untouched.optimizer.learning_rate)


def test_one_step_is_compiled(tmp_path: Path) -> None:
    traced = []

    class Counted(Noted):
        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            traced.append(variable)
            super().update_step(gradient, variable, learning_rate)

    fit(build(Counted(0.05)), Daemon(tmp_path, PLAN).callbacks)
    assert len(traced) == {"jax": 2, "torch": 2 * STEPS}[keras.backend.backend()]  # the kernel and the bias


def test_mixed_precision_scales_the_optimizer_within(tmp_path: Path) -> None:
    model = build(keras.optimizers.LossScaleOptimizer(Noted(0.05), initial_scale=2.0))
    assert rates(model, *Daemon(tmp_path, PLAN).callbacks) == expected([0.05] * STEPS, PLAN)


def reloaded(path: Path, file: str, rate: str) -> Any:
    if file.endswith(".keras"):
        return keras.saving.load_model(path / file, custom_objects={"Noted": Noted})
    model = build(Noted(RATES[rate]()))
    model.load_weights(path / file)
    return model


@pytest.mark.parametrize("ending", ["keras", "weights.h5"])
@pytest.mark.parametrize("rate", ["float", "cosine"])
def test_a_resume_goes_on_at_the_scale_of_its_checkpoint(rate: str, ending: str, tmp_path: Path) -> None:
    plain = rates(build(Noted(RATES[rate]())))
    plan = {
        4: 0.5,
        9: 0.1,
        17: 0.2,
    }  # the checkpoint after step 8 was written before 0.1 was asked for, that after 16 later
    daemon = Daemon(tmp_path / "lrwatch", plan)
    save = keras.callbacks.ModelCheckpoint(
        tmp_path / f"{{epoch}}.{ending}", save_weights_only=ending != "keras", save_freq="epoch"
    )
    fit(build(Noted(RATES[rate]())), [*daemon.callbacks, save])
    for epoch in (1, 2):
        model, again = reloaded(tmp_path, f"{epoch}.{ending}", rate), Daemon(tmp_path / "lrwatch", {})
        held = scale_at(epoch * BATCHES, plan)
        done = epoch * BATCHES
        assert rates(model, *again.callbacks, first=epoch) == expected(plain, {1: held}, first=done + 1)
        assert again.commands.answer.resumed_from_step == done


def test_a_resume_by_backup_and_restore_whichever_callback_is_first(tmp_path: Path) -> None:
    class Preempted(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            if int(self.model.optimizer.iterations) == 2 * BATCHES:
                raise KeyboardInterrupt

    for backup_first in (True, False):
        path = tmp_path / str(backup_first)

        def callbacks(plan: dict[int, float], path: Path = path, backup_first: bool = backup_first) -> list[Any]:
            backup = [keras.callbacks.BackupAndRestore(path / "backup")]
            ours = Daemon(path / "lrwatch", plan).callbacks
            return backup + ours if backup_first else ours + backup

        first = callbacks({4: 0.5})
        with pytest.raises(KeyboardInterrupt):
            fit(build(Noted(0.05)), [*first, Preempted()])
        for callback in first:
            if isinstance(callback, lrwatch.keras.LrwatchCallback) and callback.watch is not None:
                callback.watch.close()  # as the end of the process does
        model = build(Noted(0.05))
        assert rates(model, *callbacks({})) == expected([0.05] * BATCHES, {1: 0.5})


def test_what_is_saved_has_no_trace_of_lrwatch_and_loads_without_it(tmp_path: Path) -> None:
    plain, watched = build(keras.optimizers.Adam(0.05)), build(keras.optimizers.Adam(0.05))
    fit(plain, [])
    fit(watched, Daemon(tmp_path, {}).callbacks)
    for name, model in (("plain", plain), ("watched", watched)):
        model.save(tmp_path / f"{name}.keras")
    loaded = [keras.saving.load_model(tmp_path / f"{name}.keras") for name in ("plain", "watched")]
    values = [[variable.numpy() for variable in model.optimizer.variables] for model in loaded]
    assert len(values[0]) == len(values[1])
    assert all(map(np.array_equal, *values))
    # And the other way round: a checkpoint that was written without it, into an optimizer that is attached.
    watched.load_weights(tmp_path / "plain.keras")


def test_never_from_another_run_that_used_the_directory(tmp_path: Path) -> None:
    fit(build(Noted(0.05)), Daemon(tmp_path, {4: 0.5}).callbacks)
    # A new run.
    assert rates(build(Noted(0.05)), *Daemon(tmp_path, {}).callbacks) == expected([0.05] * STEPS, {})
    # A checkpoint of a run without lrwatch, of the same number of steps.
    other = build(keras.optimizers.SGD(0.01))
    fit(other, [])
    other.save(tmp_path / "other.keras")
    resumed = keras.saving.load_model(tmp_path / "other.keras")
    daemon = Daemon(tmp_path, {})
    fit(resumed, daemon.callbacks, epochs=EPOCHS + 1, first=EPOCHS)
    assert (daemon.commands.answer.scale, daemon.commands.answer.resumed_from_step) == (1.0, STEPS)


def test_fit_once_more_goes_on_at_the_scale_with_the_same_callback_or_another(tmp_path: Path) -> None:
    model, daemon = build(Noted(0.05)), Daemon(tmp_path, {4: 0.5})
    fit(model, daemon.callbacks)
    assert rates(model, *daemon.callbacks, epochs=1) == expected([0.05] * BATCHES, {1: 0.5})
    assert rates(model, *Daemon(tmp_path, {}).callbacks, epochs=1) == expected([0.05] * BATCHES, {1: 0.5})
    assert daemon.commands.answer.step == STEPS + 2 * BATCHES


def test_a_loaded_checkpoint_within_a_process_brings_its_own_scale(tmp_path: Path) -> None:
    model, daemon = build(Noted(0.05)), Daemon(tmp_path, {4: 0.5})
    model.save_weights(tmp_path / "before.weights.h5")
    fit(model, daemon.callbacks, epochs=1)
    model.save_weights(tmp_path / "half.weights.h5")
    fit(model, Daemon(tmp_path, {9: 0.1}).callbacks, epochs=1)
    model.load_weights(tmp_path / "half.weights.h5")
    assert rates(model, *Daemon(tmp_path, {}).callbacks, epochs=1) == expected([0.05] * BATCHES, {1: 0.5})


def test_an_optimizer_that_is_forgotten_is_freed(tmp_path: Path) -> None:
    references = []
    for callbacks in ([], Daemon(tmp_path, {4: 0.5}).callbacks):
        model = build(Noted(0.05))
        fit(model, callbacks)
        references.append(weakref.ref(model.optimizer))
        del model, callbacks
    build(Noted(0.05))  # Keras itself holds on to the newest
    keras.backend.clear_session()
    gc.collect()
    assert references[1]() is None or references[0]() is not None


def test_what_an_epoch_ends_with_is_in_the_metrics_file(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {4: 0.5})
    fit(build(Noted(0.05)), daemon.callbacks, validation_data=(X, Y))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [BATCHES, 2 * BATCHES, 3 * BATCHES]
    assert all({"loss", "val_loss"} <= set(row) for row in rows)
    assert [row["lr"] for row in rows] == [pytest.approx(0.025)] * 3
    assert daemon.commands.answer.effective_lr["0"] == 0.5 * daemon.commands.answer.schedule_lr["0"]


def test_the_history_and_callbacks_behind_it_show_the_scale_and_the_rate_that_was_used(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path, {BATCHES + 1: 0.5})
    written = keras.callbacks.CSVLogger(str(tmp_path / "own.csv"))
    history = fit(build(Noted(0.05)), [*daemon.callbacks, written], validation_data=(X, Y)).history
    assert history["lrwatch/scale"] == [1.0, 0.5, 0.5]
    assert history["lrwatch/lr"] == pytest.approx([0.05, 0.025, 0.025])
    assert "lrwatch/scale" in (tmp_path / "own.csv").read_text()
    assert "lrwatch/" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_model_that_is_compiled_again_goes_on_at_the_scale_and_the_step(tmp_path: Path) -> None:
    """As to train a part of it that was frozen."""
    model = build(Noted(0.05))
    daemon = Daemon(tmp_path, {4: 0.5})
    assert rates(model, *daemon.callbacks, epochs=1) == expected([0.05] * BATCHES, {4: 0.5})
    model.compile(optimizer=Noted(0.02), loss="mse")
    again = lrwatch.keras.LrwatchCallback(tmp_path, **OPTIONS)
    assert rates(model, again, epochs=1) == expected([0.02] * BATCHES, {1: 0.5})
    assert again.watch is not None
    state = again.watch.state_dict()
    assert (state["step"], state["scale"], state["commands"], state["total_steps"]) == (
        2 * BATCHES,
        0.5,
        1,
        2 * BATCHES,
    )


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the trainer on JAX keeps the optimizer that it began with"
)
def test_an_optimizer_that_a_callback_puts_in_place_is_followed(tmp_path: Path) -> None:
    class Stage(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            if epoch == 1:
                self.model.optimizer = Noted(0.02)
                self.model.optimizer.build(self.model.trainable_variables)

    model = build(Noted(0.05))
    daemon = Daemon(tmp_path, {4: 0.5})
    seen = rates(model, *daemon.callbacks, Stage(), epochs=2)
    assert seen == expected([0.05] * BATCHES + [0.02] * BATCHES, {4: 0.5})
    assert daemon.watched.watch is not None
    state = daemon.watched.watch.state_dict()
    assert (state["step"], state["scale"]) == (2 * BATCHES, 0.5)
