"""Keras 3, on its torch and JAX backends.

::

    model.fit(..., callbacks=[lrwatch.keras.LrwatchCallback("runs/a/lrwatch")])

The learning rate is multiplied where the optimizer uses it, within one step. Other readers and writers
(`LearningRateSchedule`, `ReduceLROnPlateau`, `LearningRateScheduler`, a checkpoint) see the schedule's own rate.

The logs of an epoch get `lrwatch/scale` and the rate that was used, `lrwatch/lr`, for the history, the progress bar, and the callbacks
that stand behind this one: put it first.

The factor is a variable of the optimizer. On JAX a value of any other kind becomes a constant of the compiled step. With a
variable one step is compiled, and the state of the model is fetched only when there is a new scale. Saved files hold no trace
of the variable, and load with lrwatch and without.

A Keras checkpoint has no room for anything else. So the control directory keeps, for each checkpoint that is written
(`.keras`, `.weights.h5`, `BackupAndRestore`), the state of that moment under a fingerprint of optimizer and weights. A training
that continues from one of them continues at its scale. One that begins at step 0, or with weights of another run, begins at 1.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import keras

from lrwatch.client import Client
from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.integrations._base import CallbackBase, known_length, scalars
from lrwatch.protocol import ProtocolError, publish, read_control_file

# The file of the states, by fingerprint of the checkpoint.
CHECKPOINTS_NAME = "keras_checkpoints.json"
# Number of newest checkpoints whose states are kept: a control file holds them, with room to spare.
MAX_CHECKPOINTS = 128
# Numbers of each variable in a fingerprint. They are enough to tell two checkpoints apart, and quickly fetched.
_FINGERPRINT_NUMBERS = 256


class LrwatchCallback(CallbackBase, keras.callbacks.Callback):
    """Lets lrwatch scale the learning rate of `Model.fit`.

    It has no `on_train_batch_end`: with one, Keras would wait for the numbers of every batch. The metrics file gets the logs
    of an epoch's end.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    _OF_THE_TRAINING = ("_link", "_adapter", "_model", "_optimizer", "params")

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        self._directory = os.path.abspath(os.fspath(control_dir))  # noqa: PTH100  fixed now: the script may chdir
        super().__init__(self._directory, **options)
        self._link: _Link | None = None
        self._adapter = Adapter()
        self._optimizer: Any = None
        self._steps_of_others = 0  # by the optimizers before this one, in this training
        self._batches_before = 0
        self._batches_a_step = 1
        self._length_is_known = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Attach, and continue where the same optimizer was trained before."""
        self._link = _link(self.model, self._directory)
        self._adapter = self._link.adapter(self._model)
        before = None if self._link.client is None or self._link.loaded else self._link.client.state_dict()
        self._optimizer, self._steps_of_others = self.model.optimizer, 0
        done = self._steps()
        length = {} if done else self._length(0)
        self._length_is_known = False
        self._link.client = self._attach(self._adapter, done, before, **length)
        self._steps_of_others = int(self._state()["step"]) - done  # of a stage before, with an optimizer of its own

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restore the state of a checkpoint that was loaded, which other callbacks may do when the training begins."""
        if self.watch is None or self._link is None:
            return
        if self._link.loaded:
            self._link.loaded = False
            state = self._link.found(self._directory)
            steps = self._steps()
            if state is not None:
                self.watch.load_state_dict({**state, "step": steps})
            elif self.watch.scale != 1.0 and (steps or self.watch.state_dict()["scale"] != 1.0):
                # A checkpoint of a training without lrwatch; before its first step a warm start is in place.
                self.watch.load_state_dict(_fresh(self.watch.state_dict(), steps))
        self._count_batches()
        if not self._length_is_known and "total_steps" not in self._arguments:
            self._length_is_known = True
            length = self._length(epoch)  # a training that goes on may begin with any epoch
            if length:
                self.watch.extend(length["total_steps"])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Count the step before this batch, and use a new scale from this batch on."""
        self._follow(batch)
        done, rest = divmod(self._batches_before + batch, self._batches_a_step)
        if rest == 0:
            self._step(done)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report the logs of the epoch as metrics."""
        if self._link is not None:
            self._adapter.lr = float(self._link.optimizer_of(self.model).learning_rate) * self._scale
            self._step(self._steps(), **scalars(logs))
        if isinstance(logs, dict):
            logs.update(self._shown())

    def on_train_end(self, logs: Any = None) -> None:
        """Write the waiting metrics."""
        self._close()
        self._optimizer = None  # a callback that is kept keeps no optimizer alive

    def _steps(self) -> int:
        return self._steps_of_others + int(self.model.optimizer.iterations)

    def _count_batches(self, batch: int = 0) -> None:
        """Note the batches before the epoch, when `batch` of its own are done."""
        optimizer = _Link.optimizer_of(self._model)
        self._batches_a_step = optimizer.gradient_accumulation_steps or 1
        self._batches_before = int(optimizer._iterations) + self._steps_of_others * self._batches_a_step - batch

    def _follow(self, batch: int) -> None:
        """Attach again where the model has another optimizer than before, which begins to count at 0."""
        if self.model.optimizer is self._optimizer or self._link is None:
            return
        self._steps_of_others = int(self._state()["step"])
        self._optimizer = self.model.optimizer
        self._link = _link(self.model, self._directory)
        self._link.loaded = False
        self._adapter = self._link.adapter(self._model)
        self._count_batches(batch)
        self._attach_anew(self._adapter)
        self._link.client = self.watch

    def _length(self, epoch: int) -> dict[str, Any]:
        """Return the argument `total_steps` when `epoch` is the next one, or nothing where Keras does not know the batches."""
        epochs, batches = self.params.get("epochs"), self.params.get("steps")
        if epochs is None or batches is None:
            return {}
        optimizer = _Link.optimizer_of(self._model)
        total = int(optimizer._iterations) + (epochs - epoch) * batches
        return known_length(self._steps_of_others + total // (optimizer.gradient_accumulation_steps or 1))


class _KerasAdapter(Adapter):
    """Writes the variable of one optimizer, and keeps neither the optimizer nor the model alive."""

    name = f"keras/{keras.backend.backend()}"

    def __init__(self, model: Any, scale: Any) -> None:
        super().__init__()
        self._model = weakref.ref(model)
        self._variable = scale
        self._sample: LearningRates | None = None

    def set(self, scale: float) -> None:
        """Write the variable, between two batches."""
        model = self._model()
        if model is None:
            return
        if hasattr(model, "jax_state_sync"):  # within an epoch the state is elsewhere on JAX, and would overwrite this
            model.jax_state_sync()
        self._variable.assign(scale)
        rate = float(model.optimizer.learning_rate)
        self._sample = LearningRates(scale, {"0": rate}, {"0": rate * scale})

    def trained(self) -> tuple[object, ...]:
        """Return weak references to the weights: a model that is compiled again, as to train more of it, goes on."""
        model = self._model()
        return () if model is None else tuple(weakref.ref(weight) for weight in model.weights)

    def sample(self) -> LearningRates | None:
        """Return the rates when the scale was set; later ones would need the state of a model on JAX to be fetched."""
        return self._sample


class _Link:
    """Hooks of lrwatch in an optimizer, installed once for its life.

    Args:
        optimizer: The optimizer.
        directory: Control directory, for the states of checkpoints.

    Attributes:
        client: The last client that scaled the optimizer, or None.
        loaded: The variables were loaded since the last check.
        directory: The control directory.
    """

    def __init__(self, optimizer: Any, directory: str) -> None:
        self.client: Client | None = None
        self.loaded = False
        self.directory = directory
        self._scale = keras.Variable(1.0, dtype="float32", trainable=False, name="lrwatch_scale")
        self._fingerprint: Callable[[], str] = str
        self._install(optimizer)

    @staticmethod
    def optimizer_of(model: Any) -> Any:
        """Return the optimizer that steps: mixed precision wraps it in one that scales the loss."""
        optimizer = model.optimizer
        while hasattr(optimizer, "inner_optimizer"):
            optimizer = optimizer.inner_optimizer
        return optimizer

    def adapter(self, model: Any) -> Adapter:
        """Return the adapter for a training of `model`."""
        return _KerasAdapter(model, self._scale)

    def found(self, directory: str) -> dict[str, Any] | None:
        """Return the state that was stored for the present optimizer and weights, or None."""
        state = _read_states(directory).get(self._fingerprint())
        return state if isinstance(state, dict) else None

    def _install(self, optimizer: Any) -> None:
        scale, within = self._scale, [False]
        optimizer._track_variable(scale)
        rate, apply = optimizer._get_current_learning_rate, optimizer._backend_apply_gradients
        save, load = optimizer.save_own_variables, optimizer.load_own_variables

        def scaled_rate() -> Any:
            return rate() * scale if within[0] else rate()

        def scaled_apply(grads: Any, trainable_variables: Any) -> None:
            within[0] = True
            try:
                apply(grads, trainable_variables)
            finally:
                within[0] = False

        @contextlib.contextmanager
        def hidden() -> Iterator[None]:
            optimizer._untrack_variable(scale)
            try:
                yield
            finally:
                optimizer._track_variable(scale)

        def save_without(store: Any) -> None:
            with hidden():
                save(store)
                if self.client is not None:
                    _remember(self.directory, _fingerprint(optimizer), self.client)

        def load_without(store: Any) -> None:
            self.loaded = True
            with hidden():
                load(store)

        def fingerprint() -> str:
            with hidden():
                return _fingerprint(optimizer)

        self._fingerprint = fingerprint
        optimizer._get_current_learning_rate = scaled_rate
        optimizer._backend_apply_gradients = scaled_apply
        optimizer.save_own_variables = save_without
        optimizer.load_own_variables = load_without


def _link(model: Any, directory: str) -> _Link:
    optimizer = _Link.optimizer_of(model)
    link: _Link | None = vars(optimizer).get("_lrwatch")
    if link is None:
        # Within the optimizer, so that they are forgotten together; past its own __setattr__, which would look into it.
        link = vars(optimizer)["_lrwatch"] = _Link(optimizer, directory)
        link.loaded = int(optimizer._iterations) > 0  # by load_model, or it was trained without this callback
    link.directory = directory
    return link


def _fingerprint(optimizer: Any) -> str:
    """Return a hash of the optimizer's variables and the weights that it trains, to identify a checkpoint."""
    digest = hashlib.sha256()
    for variable in [*optimizer.variables, *getattr(optimizer, "_trainable_variables", [])]:
        numbers = keras.ops.convert_to_numpy(keras.ops.reshape(variable, (-1,))[:_FINGERPRINT_NUMBERS])
        digest.update(f"{variable.shape} {numbers.dtype} ".encode())
        digest.update(numbers.tobytes())
    return digest.hexdigest()


def _fresh(state: dict[str, Any], step: int) -> dict[str, Any]:
    none = {"last_step": None, "ramp": None, "warm_until": None}
    return {**state, **none, "scale": 1.0, "generation": 0, "commands": 0, "step": step}


def _read_states(directory: str) -> dict[str, Any]:
    try:
        raw = read_control_file(directory, CHECKPOINTS_NAME)
        states = json.loads(raw) if raw is not None else {}
    except (OSError, ProtocolError, ValueError, RecursionError):
        return {}
    return states if isinstance(states, dict) else {}


def _remember(directory: str, fingerprint: str, client: Client) -> None:
    """Store the state for the checkpoint that is being written; an error never keeps the checkpoint from being written."""
    with contextlib.suppress(Exception):
        states = _read_states(directory)
        states.pop(fingerprint, None)
        states[fingerprint] = client.state_dict()  # the newest is last
        newest = list(states.items())[-MAX_CHECKPOINTS:]
        publish(directory, CHECKPOINTS_NAME, json.dumps(dict(newest)).encode("ascii"))
