"""Hugging Face `Trainer`, and what inherits from it (TRL and others).

::

    trainer = Trainer(..., callbacks=[lrwatch.transformers.LrwatchCallback("runs/a/lrwatch")])
    trainer.train()

The hooks sit on the innermost optimizer, so every `lr_scheduler_type`, gradient accumulation, mixed precision and DeepSpeed work
as before. With several processes all of them use one scale from one step on, and only the first uses the control directory. The
`learning_rate` that the Trainer logs is the schedule's; beside it stand `lrwatch/scale` and the rate that was used, `lrwatch/lr`, in
the console, in `log_history`, and wherever the Trainer reports to (TensorBoard, W&B and others).

The state is in each checkpoint's `trainer_state.json`, which the Trainer reads at every resume. So a resume continues at the
scale of that checkpoint, and of no other, whether or not `restore_callback_states_from_checkpoint` is set, and regardless of
other files in the output directory. With it set, the arguments of the callback are those of the checkpoint too: the Trainer
constructs a new callback from them. An average of the weights (`average=0.125`) is in each checkpoint too, as `lrwatch_average.pt`.
"""

from __future__ import annotations

import json
import os
import sys
import weakref
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from lrwatch.integrations._base import CallbackBase, all_ranks, known_length, scalars

# The file of the average in a checkpoint.
AVERAGE_NAME = "lrwatch_average.pt"
# Callers among which the Trainer's list of callbacks is looked for: itself, and overrides of `on_train_begin` in between.
_CALLERS = 5


class LrwatchCallback(CallbackBase, TrainerCallback, ExportableState):
    """Lets lrwatch scale the learning rate of a `Trainer`.

    Steps are the Trainer's `global_step`, so that they agree with its logs; its logs are written to the metrics file.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`; JSON must be able to hold them, because the Trainer stores them.

    Attributes:
        watch: The client, from the beginning of the training on.
        saved: State of the client in the last checkpoint that was written or restored, or None.

    Raises:
        TypeError: An option cannot be stored.
    """

    _OF_THE_TRAINING = ("_optimizer", "_trainer")

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        if "key_file" in options and options["key_file"] is not None:
            options["key_file"] = os.fspath(options["key_file"])
        try:
            arguments = json.loads(json.dumps({"control_dir": os.fspath(control_dir), **options}))
        except TypeError as error:
            raise TypeError(f"the Trainer stores the arguments of its callbacks as JSON: {error}") from None
        super().__init__(**arguments)
        self.saved: dict[str, Any] | None = None
        self._optimizer: tuple[object, object] | None = None
        self._trainer: weakref.ref[Any] | None = None

    def state(self) -> dict[str, Any]:
        """Return the entry for the Trainer's checkpoint."""
        self.saved = self._state() or self.saved
        if self.saved is not None and self.watch is not None and self.watch.average_state():
            # So that a resume finds the average of this checkpoint, and of no other in the output directory.
            self.saved["average"] = os.urandom(16).hex()
        return {"args": self._arguments, "attributes": {"saved": self.saved}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Attach; the Trainer has loaded its optimizer and scheduler by now."""
        trainer = _come_first(self)
        self._trainer = None if trainer is None else weakref.ref(trainer)
        self.saved = self._found(state) if state.global_step else None  # a used callback may start a new run
        self._optimizer = _identity(kwargs["optimizer"])
        self._attach(kwargs["optimizer"], state.global_step, self.saved, **all_ranks(), **known_length(state.max_steps))
        if self.saved is not None and "average" in self.saved:
            self._load_average(_average_path(args, state), self.saved["average"])
        # Without an entry the Trainer fails at its next checkpoint, when it resumed from one without this callback.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step; attach again where the optimizer has changed."""
        self._follow(kwargs.get("optimizer"), state)
        self._step(state.global_step)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Attach again before the first step of an optimizer that was replaced since the step before."""
        self._follow(kwargs.get("optimizer"), state)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Report the logs of the Trainer as metrics."""
        self._step(state.global_step, **scalars(logs))
        if (
            isinstance(logs, dict) and "learning_rate" in logs
        ):  # of the training: those of an evaluation are returned too
            logs.update(self._shown())
            if state.log_history and state.log_history[-1].get("step") == state.global_step:
                state.log_history[-1].update(self._shown())

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the average of the weights, if there is one, into the checkpoint that was just written."""
        name = (self.saved or {}).get("average")
        path = _average_path(args, state)
        if self.watch is None or name is None or not state.is_world_process_zero or not path.parent.is_dir():
            return
        try:
            torch.save({"name": name, "average": self.watch.average_state()}, path)
        except (OSError, RuntimeError) as error:  # RuntimeError is what torch makes of a full disk
            self._warn(f"{path}: {error}; this checkpoint has no average of the weights")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the waiting metrics."""
        self._close()
        self._optimizer = self._trainer = None  # a callback that is kept keeps no optimizer alive

    def _follow(self, optimizer: Any, state: TrainerState) -> None:
        """Attach again if the Trainer steps with another optimizer than before; its callbacks are given the first one."""
        trainer = None if self._trainer is None else self._trainer()
        optimizer = getattr(trainer, "optimizer", optimizer)
        now, before = _identity(optimizer), self._optimizer
        if before is not None and optimizer is not None and (now[0] is not before[0] or now[1] is not before[1]):
            self._optimizer = now
            self._attach_anew([optimizer], **all_ranks(), **known_length(state.max_steps))

    def _load_average(self, path: Path, name: str) -> None:
        """Continue with the average that `on_save` wrote under this name."""
        assert self.watch is not None
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
            average = found["average"] if found["name"] == name else None
        except Exception as error:  # noqa: BLE001  of a file from outside
            self._warn(f"{path}: {error!r}; the average of the weights starts afresh")
            return
        if average is None:
            self._warn(f"{path} is of another checkpoint; the average of the weights starts afresh")
        else:
            self.watch.load_average_state(average)

    def _found(self, state: TrainerState) -> dict[str, Any] | None:
        """Return the client's state in the checkpoint that was loaded, or None."""
        entry: Any = state.stateful_callbacks.get(type(self).__name__)
        if isinstance(entry, list):  # two callbacks of this class, or a Trainer that appends
            entry = entry[-1] if entry else None
        try:
            saved = entry["attributes"]["saved"]
        except (KeyError, TypeError):
            return None
        return saved if isinstance(saved, dict) else None


def _identity(optimizer: object) -> tuple[object, object]:
    """Return the optimizer, and the one that Accelerate's wrapper holds."""
    return optimizer, getattr(optimizer, "optimizer", None)


def _come_first(callback: LrwatchCallback) -> Any:
    """Move to the front of the Trainer's callbacks, so that those that write its logs write what `on_log` adds.

    The Trainer shows itself and its list to no callback, so it is taken from the caller. Where that is not the Trainer's own
    code the callback stays where it is, and what stands before it, such as TensorBoard's, does not show the scale.

    Returns:
        The Trainer, or None where it was not found.
    """
    frame: FrameType | None = sys._getframe(1)
    moved = False
    for _ in range(_CALLERS):
        if frame is None:
            break
        caller = frame.f_locals.get("self")
        callbacks = getattr(caller, "callbacks", None)
        if not moved and isinstance(callbacks, list):
            places = [i for i, one in enumerate(callbacks) if one is callback]
            if places:
                callbacks.insert(
                    0, callbacks.pop(places[0])
                )  # those between move by one: the loop goes on with the next
                moved = True
        if hasattr(caller, "callback_handler") and hasattr(caller, "optimizer"):
            return caller
        frame = frame.f_back
    return None


def _average_path(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}" / AVERAGE_NAME
