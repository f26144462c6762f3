"""Lightning, imported as `lightning` or as `pytorch_lightning`, with automatic or manual optimization.

::

    trainer = Trainer(..., callbacks=[lrwatch.lightning.LrwatchCallback("runs/a/lrwatch")])
    trainer.fit(model)

The hooks sit on the optimizers themselves, so every scheduler, interval and strategy works as before. With several processes
all of them use one scale from one step on, and only the first uses the control directory. The state is in Lightning's own
checkpoints: a resume continues at the scale of the checkpoint that it loads. Lightning's loggers get `lrwatch/scale` and the rate
that was used, `lrwatch/lr`; the `LearningRateMonitor` shows the schedule's.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from lrwatch.integrations._base import CallbackBase, all_ranks, known_length, scalars

# Two packages of the same code. A callback of the one works in a Trainer of the other, but nobody wants to load both.
if not TYPE_CHECKING and "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback


class LrwatchCallback(CallbackBase, Callback):
    """Lets lrwatch scale the learning rates of all optimizers of a `Trainer`.

    A step is a batch in which an optimizer stepped, as Lightning's loggers count them.

    Args:
        control_dir: Control directory, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    _OF_THE_TRAINING = ("_optimizers",)

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(control_dir, **options)
        self._restored: dict[str, Any] | None = None
        self._fitting = False
        self._global_step = 0
        self._batches_without_step = 0
        self._optimizers: list[Any] | None = None

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Note the stage before a checkpoint is loaded: a training never continues from one loaded to test or predict."""
        self._fitting = stage == "fit"
        self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state for Lightning's checkpoint, with the average of the weights if there is one."""
        average = {} if self.watch is None else self.watch.average_state()
        return {**self._state(), **({"average": average} if average else {})}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state until there are optimizers: Lightning restores its callbacks before these."""
        if self._fitting and state_dict:
            self._restored = state_dict

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach; Lightning has made and loaded its optimizers by now."""
        state, self._restored = self._restored, None
        if state is None and trainer.global_step:  # fit() once more, which continues with the model as it is
            state = self.state_dict() or None
        self._global_step = trainer.global_step
        start_step = self._global_step // max(len(trainer.optimizers), 1)
        self._optimizers = list(trainer.optimizers)
        watch = self._attach(list(trainer.optimizers), start_step, **all_ranks(), **_length(trainer))
        if state is not None:
            watch.load_state_dict(state)  # with its own step, which counts batches as the client does
            if "average" in state:
                watch.load_average_state(state["average"])

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Attach again where the module has replaced its optimizers since the batch before."""
        self._follow(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the step, if an optimizer stepped in the batch."""
        self._follow(trainer)
        if trainer.global_step != self._global_step:
            self._global_step, self._batches_without_step = trainer.global_step, 0
            self._step(**{"epoch": trainer.current_epoch, **scalars(outputs)})
        else:
            self._batches_without_step += 1
            if self._batches_without_step % max(trainer.accumulate_grad_batches, 1) == 0:
                # So that the client finds out where an optimizer steps that Lightning does not know.
                self._step(self._state().get("step"))
        if trainer.loggers and (shown := self._shown()):
            pl_module.log_dict(shown, on_step=True, on_epoch=False)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Report the results of the validation as metrics of the step before it."""
        if not trainer.sanity_checking:
            self._step(self._state().get("step"), **scalars(trainer.callback_metrics))

    def _follow(self, trainer: Any) -> None:
        """Attach again where the trainer has other optimizers than before."""
        before, now = self._optimizers or [], list(trainer.optimizers)
        if len(before) != len(now) or any(one is not other for one, other in zip(before, now, strict=True)):
            self._optimizers = now
            self._attach_anew(now, **all_ranks(), **_length(trainer))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write the waiting metrics, and say what ended the training."""
        self._close(exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write the waiting metrics, after the last checkpoint."""
        self._close()
        self._optimizers = None  # a callback that is kept keeps no optimizer alive


def _length(trainer: Any) -> dict[str, Any]:
    try:
        return known_length(trainer.estimated_stepping_batches)
    except Exception:  # noqa: BLE001  Lightning raises where the accumulation of gradients changes, and a length is only a help
        return {}
