"""Lightning, imported as `lightning` or as `pytorch_lightning`, with automatic or manual optimization.

::

    trainer = Trainer(..., callbacks=[lrwatch.lightning.LrwatchCallback("runs/a/lrwatch")])
    trainer.fit(model)

The hooks sit on the optimizers themselves, so every scheduler, interval and strategy goes on as before. With several processes
all of them use one scale from one step on, and only the first touches the control directory. The state is in Lightning's own
checkpoints: a resume goes on at the scale of the checkpoint that it loads.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from lrwatch.client import Client, attach
from lrwatch.integrations._base import all_ranks, scalars

# Two packages of the same code. A callback of the one works in a Trainer of the other, but nobody wants to load both.
if not TYPE_CHECKING and "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
    from pytorch_lightning import Callback
else:
    try:
        from lightning.pytorch import Callback
    except ModuleNotFoundError:
        from pytorch_lightning import Callback


class LrwatchCallback(Callback):
    """Lets lrwatch scale the learning rates of all optimizers of a `Trainer`.

    A step is a batch in which an optimizer stepped, as Lightning's loggers count them.

    Args:
        control_dir: Where the two sides meet, as in `lrwatch.attach`.
        **options: The other arguments of `lrwatch.attach`.

    Attributes:
        watch: The client, from the beginning of the training on.
    """

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self.watch: Client | None = None
        self._arguments: dict[str, Any] = {"control_dir": control_dir, **options}
        self._restored: dict[str, Any] | None = None
        self._fitting = False
        self._global_step = 0

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Before any checkpoint is loaded: one that is loaded to test or to predict is none to go on from."""
        self._fitting = stage == "fit"
        self._restored = None

    def state_dict(self) -> dict[str, Any]:
        """What Lightning puts into a checkpoint."""
        return {} if self.watch is None else self.watch.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep it until there are optimizers: Lightning restores its callbacks before these."""
        if self._fitting and state_dict:
            self._restored = state_dict

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Attach; Lightning has made and loaded its optimizers by now."""
        state, self._restored = self._restored, None
        if self.watch is not None:
            if state is None and trainer.global_step:  # fit() once more, which goes on with the model as it is
                state = self.watch.state_dict()
            self.watch.close()
        self._global_step = trainer.global_step
        start_step = self._global_step // max(len(trainer.optimizers), 1)
        self.watch = attach(list(trainer.optimizers), **{"start_step": start_step, **all_ranks(), **self._arguments})
        if state is not None:
            self.watch.load_state_dict(state)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the step, if the batch was one."""
        if self.watch is not None and trainer.global_step != self._global_step:
            self._global_step = trainer.global_step
            self.watch.step(**scalars(outputs))

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Take what the validation found as metrics of the step before it."""
        if self.watch is not None and not trainer.sanity_checking:
            self.watch.step(self.watch.state_dict()["step"], **scalars(trainer.callback_metrics))

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Write what waits."""
        self._close()

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write what waits, after the last checkpoint."""
        self._close()

    def _close(self) -> None:
        if self.watch is not None:
            self.watch.close()
