"""Hugging Face `Trainer`, and what inherits from it (TRL and others).

::

    trainer = Trainer(..., callbacks=[lrwatch.transformers.LrwatchCallback("runs/a/lrwatch")])
    trainer.train()

The hooks sit on the innermost optimizer, so every `lr_scheduler_type`, gradient accumulation, mixed precision and DeepSpeed work
as before. With several processes all of them use one scale from one step on, and only the first uses the control directory. The
`learning_rate` that the Trainer logs is the schedule's; the rate that was used is `lr` in `metrics.jsonl`.

The state is in each checkpoint's `trainer_state.json`, which the Trainer reads at every resume. So a resume continues at the
scale of that checkpoint, and of no other, whether or not `restore_callback_states_from_checkpoint` is set, and regardless of
other files in the output directory. With it set, the arguments of the callback are those of the checkpoint too: the Trainer
constructs a new callback from them.
"""

from __future__ import annotations

import json
import os
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from lrwatch.integrations._base import CallbackBase, all_ranks, known_length, scalars


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

    def __init__(self, control_dir: str | os.PathLike[str], **options: Any) -> None:
        if "key_file" in options and options["key_file"] is not None:
            options["key_file"] = os.fspath(options["key_file"])
        try:
            arguments = json.loads(json.dumps({"control_dir": os.fspath(control_dir), **options}))
        except TypeError as error:
            raise TypeError(f"the Trainer stores the arguments of its callbacks as JSON: {error}") from None
        super().__init__(**arguments)
        self.saved: dict[str, Any] | None = None

    def state(self) -> dict[str, Any]:
        """Return the entry for the Trainer's checkpoint."""
        self.saved = self._state() or self.saved
        return {"args": self._arguments, "attributes": {"saved": self.saved}}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Attach; the Trainer has loaded its optimizer and scheduler by now."""
        self.saved = self._found(state) if state.global_step else None  # a used callback may start a new run
        self._attach(kwargs["optimizer"], state.global_step, self.saved, **all_ranks(), **known_length(state.max_steps))
        # Without an entry the Trainer fails at its next checkpoint, when it resumed from one without this callback.
        state.stateful_callbacks.setdefault(type(self).__name__, self.state())

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Count the step."""
        self._step(state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **_: Any
    ) -> None:
        """Report the logs of the Trainer as metrics."""
        self._step(state.global_step, **scalars(logs))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the waiting metrics."""
        self._close()

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
