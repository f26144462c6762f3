"""PyTorch optimizers, scaled through their official step hooks.

Before the optimizer's step the learning rate of every parameter group is multiplied by the scale; after it the
schedule's own value is restored. So no scheduler ever sees the scale: the two compose exactly, whatever formula the
scheduler uses, and a checkpoint of optimizer and scheduler holds nothing of it, so that a resume cannot apply it twice.

    step():    before hook    lr = schedule * scale    the optimizer's own step    after hook    lr = schedule

At scale 1 nothing is written. A tensor is changed in place and never replaced, because compiled and captured
optimizers keep a reference to it. This module never imports torch; it relies on the shape of its optimizers alone.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

from lrwatch.client.adapter import Adapter, LearningRates, NotAppliedError
from lrwatch.client.inner import Optimizer, innermost
from lrwatch.client.step_hooks import PATIENCE, StepHooks
from lrwatch.protocol import MAX_GROUPS, NotActing
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from lrwatch.client.average import Average

# Optimizer -> its adapter: two pairs of hooks on one optimizer would apply two scales.
_attached: weakref.WeakKeyDictionary[Any, TorchAdapter] = weakref.WeakKeyDictionary()


class TorchAdapter(Adapter):
    """Scales one optimizer or several.

    Parameter groups are called "0", "1", ..., with several optimizers "0.0", "0.1", "1.0", ...

    Args:
        optimizers: The optimizers, or wrappers and containers of them.

    Attributes:
        scale: Factor that the hooks apply.
        sampled_scale: The factor at the newest sample.
        acted: Those of the steps that used the rate of their groups, as far as anybody can tell.
        failure: Exception of a hook since the scale was set last, or None.
        average: The average of the weights, or None.

    Raises:
        TypeError: An optimizer does not take hooks; none is left behind.
        ValueError: An optimizer is given twice, or is still attached to a client that is open.
    """

    name = "torch"
    observes = True

    def __init__(self, optimizers: Sequence[object]) -> None:
        super().__init__()
        self.scale = self.sampled_scale = 1.0
        self.failure: Exception | None = None
        self.average: Average | None = None
        self.acted = self._acted_before = 0
        self._lapse: tuple[int, float] | None = None  # step from which another scale holds, and that scale
        inner = [one for optimizer in optimizers for one in innermost(optimizer)]
        if len({id(optimizer) for optimizer in inner}) != len(inner):
            raise ValueError("the same optimizer is given twice; its learning rate would be scaled twice")
        for optimizer in inner:
            earlier = _attached.get(optimizer)
            if earlier is not None and earlier.open:
                raise ValueError("this optimizer is attached to another client; close() that one first")
        self._hooks: list[StepHooks] = []
        try:
            for number, optimizer in enumerate(inner):
                prefix = f"{number}." if len(inner) > 1 else ""
                self._hooks.append(StepHooks(self, optimizer, prefix=prefix, leads=number == 0))
        except TypeError:
            for hooks in self._hooks:
                hooks.remove()
            raise
        for optimizer in inner:
            earlier = _attached.pop(optimizer, None)
            if earlier is not None:
                earlier.release()
            _attached[optimizer] = self

    def set(self, scale: float) -> None:
        """Use `scale` from the next optimizer step on."""
        self.failure = self._lapse = None
        self._acted_before = self.acted
        self.scale = scale
        if scale != 1.0 and any(hooks.written for hooks in self._hooks):
            self.failure = NotAppliedError("lr_written_in_step")
        self.ask()

    def ask(self) -> None:
        """Request a sample at the next step of each optimizer."""
        for hooks in self._hooks:
            hooks.wanted = True

    def lapse(self, steps: int, scale: float) -> None:
        """Use `scale` after `steps` more steps of the optimizers, unless `set` is called before."""
        self._lapse = self.steps + steps, scale

    def check_lapse(self) -> None:
        """Set the scale of `lapse` if its time has come, before a step."""
        if self._lapse is not None and self.steps >= self._lapse[0]:
            self.errors["scale_lapsed"] += 1
            self.set(self._lapse[1])

    def stepped(self) -> bool:
        """Return whether the state of an optimizer shows a step; that of plain gradient descent never does."""
        return self.steps > 0 or any(hooks.stepped() for hooks in self._hooks)

    def used(self) -> bool:
        """Return whether one of the optimizers has used its rate in a step since the scale was set.

        Raises:
            NotAppliedError: None of them uses the rate of its groups.
            Exception: A hook failed.
        """
        if self.failure is not None:
            raise self.failure
        if not any(hooks.acts for hooks in self._hooks):
            raise NotAppliedError("apply_failed")
        return self.acted > self._acted_before

    def trained(self) -> tuple[object, ...]:
        """Return weak references to the optimizers and to their parameters."""
        optimizers = tuple(hooks.optimizer for hooks in self._hooks)
        return (*optimizers, *(parameter for hooks in self._hooks for parameter in hooks.trains))

    def check(self, calls: int) -> int:
        """Find the optimizers that do not step, and return the number of calls at which to look again."""
        due = []
        for hooks in self._hooks:
            if not hooks.silent and calls - hooks.seen >= hooks.patience:
                hooks.fall_silent()
            if not hooks.silent:
                due.append(hooks.seen + hooks.patience)
        return min(due, default=calls + PATIENCE)

    def not_acting(self) -> NotActing | None:
        """Return why the scale does not act on all of the training, or None."""
        silent = sum(hooks.silent for hooks in self._hooks)
        if silent == len(self._hooks):
            return "no_step"
        if any(hooks.written for hooks in self._hooks):
            return "lr_written_in_step"
        if not any(hooks.acts for hooks in self._hooks):
            return "no_lr"
        return "some_no_step" if silent else None

    def sample(self) -> LearningRates | None:
        """Return the newest learning rates of all optimizers that stepped at one scale: the present one, if any has, else the last.

        While the scale moves at each step, none has stepped at the present one yet.
        """
        samples = [hooks.sample for hooks in self._hooks]
        present = any(sample is not None and sample.scale == self.scale for sample in samples)
        scale = self.scale if present else self.sampled_scale
        schedule: dict[str, object] = {}
        effective: dict[str, object] = {}
        for sample in samples:
            if sample is not None and sample.scale == scale:
                schedule.update(sample.schedule)
                effective.update(sample.effective)
        return LearningRates(scale, schedule, effective) if schedule else None

    def rates(self) -> Mapping[str, object]:
        """Return the learning rates that the last step of each optimizer used; tensors are those of the newest sample."""
        found: dict[str, object] = {}
        for hooks in self._hooks:
            sampled = {} if hooks.sample is None else hooks.sample.effective
            for number, lr in enumerate(hooks.used[:MAX_GROUPS]):
                group = f"{hooks.prefix}{number}"
                if (rate := sampled.get(group) if hasattr(lr, "detach") else lr) is not None:
                    found[group] = rate
        return found

    def forget(self) -> None:
        """Drop the samples of all optimizers."""
        for hooks in self._hooks:
            hooks.sample = None

    def repair(self) -> None:
        """Restore the schedule's learning rates after a step that raised."""
        for hooks in self._hooks:
            hooks.repair()

    def optimizers(self) -> list[Optimizer]:
        """Return the optimizers that really step."""
        return [optimizer for hooks in self._hooks if (optimizer := hooks.optimizer()) is not None]

    def release(self) -> None:
        """Remove the hooks."""
        self.repair()
        if self.average is not None:
            self.average.remove()
        for hooks in self._hooks:
            hooks.remove()
