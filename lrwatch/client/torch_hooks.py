"""PyTorch optimizers, scaled through their official step hooks.

Before the optimizer's step the learning rate of every parameter group is multiplied by the scale; after it the
schedule's own value is restored. So no scheduler ever sees the scale: the two compose exactly, whatever formula the
scheduler uses, and a checkpoint of optimizer and scheduler holds nothing of it, so that a resume cannot apply it twice.

    step():    before hook    lr = schedule * scale    the optimizer's own step    after hook    lr = schedule

At scale 1 nothing is written. A tensor is changed in place and never replaced, because compiled and captured
optimizers keep a reference to it. This module never imports torch; it relies on the shape of its optimizers alone.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable, Mapping, Sequence

from lrwatch.client.adapter import Adapter, LearningRates
from lrwatch.protocol import MAX_GROUPS
from lrwatch.protocol.lean import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any, TypeAlias, TypeGuard

    from lrwatch.client.average import Average

    Hook: TypeAlias = Callable[..., None]
    Group: TypeAlias = dict[str, Any]


class Handle(Protocol):
    """Registration of a hook."""

    def remove(self) -> None:
        """Remove the hook."""


class Optimizer(Protocol):
    """The part of `torch.optim.Optimizer` that is used here."""

    param_groups: list[Group]

    def register_step_pre_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` before each step."""

    def register_step_post_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` after each step that did not raise."""


# Optimizer -> its adapter: two pairs of hooks on one optimizer would apply two scales.
_attached: weakref.WeakKeyDictionary[Any, TorchAdapter] = weakref.WeakKeyDictionary()


def is_optimizer(value: object) -> TypeGuard[Optimizer]:
    """Return whether `value` is a torch optimizer, by its shape."""
    return all(hasattr(value, name) for name in ("param_groups", "register_step_pre_hook", "register_step_post_hook"))


# Attributes in which wrappers keep the wrapped optimizers: Accelerate and DeepSpeed; Megatron-LM; torchtitan.
_INSIDE = ("optimizer", "chained_optimizers", "optimizers")


def innermost(value: object) -> list[Optimizer]:
    """Return the optimizers that really step, each once, out of wrappers and containers; an empty list if there are none.

    A wrapper may look like an optimizer, as those of Accelerate and torchtitan do, or not, as that of DeepSpeed.
    """
    found: list[Optimizer] = []
    _collect(value, found, set())
    return found


def _collect(value: object, found: list[Optimizer], visited: set[int]) -> bool:
    """Return whether `value` holds an optimizer, now or on an earlier visit; append the new ones to `found`."""
    if id(value) in visited:
        return True
    visited.add(id(value))
    for name in _INSIDE:
        inside = getattr(value, name, None)
        parts = inside if isinstance(inside, (list, tuple)) else [inside]
        if inside is not None and sum(_collect(part, found, visited) for part in parts):  # unlike any(), looks at each
            return True
    if not is_optimizer(value):
        visited.discard(id(value))
        return False
    found.append(value)
    return True


class TorchAdapter(Adapter):
    """Scales one optimizer or several.

    Parameter groups are called "0", "1", ..., with several optimizers "0.0", "0.1", "1.0", ...

    Args:
        optimizers: The optimizers, or wrappers and containers of them.

    Attributes:
        scale: Factor that the hooks apply.
        sampled_scale: The factor at the newest sample.
        failure: Exception of a hook since the scale was set last, or None.
        average: The average of the weights, or None.

    Raises:
        ValueError: An optimizer is given twice, or is still attached to a client that is open.
    """

    name = "torch"

    def __init__(self, optimizers: Sequence[object]) -> None:
        super().__init__()
        self.scale = self.sampled_scale = 1.0
        self.failure: Exception | None = None
        self.average: Average | None = None
        self._steps_before = 0
        self._lapse: tuple[int, float] | None = None  # step from which another scale holds, and that scale
        inner = [one for optimizer in optimizers for one in innermost(optimizer)]
        if len({id(optimizer) for optimizer in inner}) != len(inner):
            raise ValueError("the same optimizer is given twice; its learning rate would be scaled twice")
        for optimizer in inner:
            earlier = _attached.get(optimizer)
            if earlier is not None and earlier.open:
                raise ValueError("this optimizer is attached to another client; close() that one first")
        for optimizer in inner:
            earlier = _attached.pop(optimizer, None)
            if earlier is not None:
                earlier.release()
        self._hooks = [
            _Hooks(self, optimizer, prefix=f"{number}." if len(inner) > 1 else "", leads=number == 0)
            for number, optimizer in enumerate(inner)
        ]
        for optimizer in inner:
            _attached[optimizer] = self

    def set(self, scale: float) -> None:
        """Use `scale` from the next optimizer step on."""
        self.failure = self._lapse = None
        self._steps_before = self.steps
        self.scale = scale
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
        """Return whether one of the optimizers has stepped since the scale was set."""
        if self.failure is not None:
            raise self.failure
        return self.steps > self._steps_before

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


class _Hooks:
    """The hooks on one optimizer, and the values that they have to restore. The one that `leads` sets `Adapter.lr`.

    `used` holds the rates of the last step by group; a tensor among them has changed since.
    """

    def __init__(self, adapter: TorchAdapter, optimizer: Optimizer, *, prefix: str, leads: bool) -> None:
        self.sample: LearningRates | None = None
        self.wanted = True
        self.used: list[Any] = []
        self._adapter = adapter
        self.prefix = prefix
        self._leads = leads
        self.optimizer = weakref.ref(optimizer)
        self._numbers: list[tuple[Group, Any, Any]] = []  # group, the schedule's number, the scaled number
        self._tensors: list[tuple[Any, Any]] = []  # the tensor, a copy with the schedule's value
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]
        # Code that stores a checkpoint after an exception in step() must find the schedule's values.
        store = getattr(optimizer, "register_state_dict_pre_hook", None)
        if store is not None:
            self._handles.append(store(self._before_state_dict))

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def stepped(self) -> bool:
        """Return whether the optimizer's state shows a step: a count above 0, or without a count anything at all."""
        states: Mapping[Any, Any] = getattr(self.optimizer(), "state", None) or {}
        return any(float(state.get("step", bool(state))) > 0 for state in states.values() if isinstance(state, Mapping))

    def _before(self, optimizer: Optimizer, *_: object) -> None:
        adapter = self._adapter
        try:
            if self._numbers or self._tensors:
                self.repair()
            adapter.check_lapse()
            # Read now and not at attach: DeepSpeed steps with one group after another in place of them all.
            groups = optimizer.param_groups
            schedule = self._copies(groups) if self.wanted else None
            if adapter.scale != 1.0:
                self._scale(groups, adapter.scale)
            self.used = [group["lr"] for group in groups]
            if self._leads:
                lr = self.used[0] if groups else None
                adapter.lr = None if hasattr(lr, "detach") else lr  # a tensor would change under the reader
            if schedule is not None:
                self.wanted = False
                self.sample = LearningRates(adapter.scale, schedule, self._copies(groups))
                adapter.sampled_scale = adapter.scale
                if self._leads:
                    adapter.lr = self.sample.effective.get(f"{self.prefix}0")
        except Exception as error:  # noqa: BLE001  the training goes on, with the learning rate of its schedule
            self._fail(error)

    def _after(self, *_: object) -> None:
        try:
            if self._numbers or self._tensors:
                # A rate that a step writes into its own group is lost while it is scaled: keeping it could scale it
                # again at each step.
                for group, base, scaled in self._numbers:
                    if group["lr"] is not scaled:
                        self._adapter.errors["lr_written_in_step"] += 1
                    group["lr"] = base
                for tensor, base in self._tensors:
                    tensor.copy_(base)
                self._numbers.clear()
                self._tensors.clear()
            self._adapter.steps += 1
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _before_state_dict(self, *_: object) -> None:
        try:
            self.repair()
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def repair(self) -> None:
        """Undo the scaling of a step that raised, except where another value was written since."""
        numbers, self._numbers = self._numbers, []
        tensors, self._tensors = self._tensors, []
        for group, base, scaled in numbers:
            if group.get("lr") is scaled:
                group["lr"] = base
            else:
                self._adapter.errors["lr_written_after_failed_step"] += 1
        for tensor, base in tensors:
            tensor.copy_(base)

    def _scale(self, groups: Sequence[Group], scale: float) -> None:
        done: set[int] = set()
        for group in groups:
            lr = group["lr"]
            if not hasattr(lr, "mul_"):
                scaled = lr * scale
                self._numbers.append((group, lr, scaled))
                group["lr"] = scaled
            elif id(lr) not in done:  # an optimizer made with lr=tensor shares one tensor between its groups
                done.add(id(lr))
                live = lr.detach()
                self._tensors.append((live, live.clone()))
                live.mul_(scale)

    def _copies(self, groups: Sequence[Group]) -> Mapping[str, object]:
        return {
            f"{self.prefix}{number}": lr.detach().clone() if hasattr(lr := group["lr"], "detach") else lr
            for number, group in enumerate(groups[:MAX_GROUPS])
        }

    def _fail(self, error: Exception) -> None:
        self._adapter.errors["hook"] += 1
        self._adapter.failure = error
        with contextlib.suppress(Exception):  # counted above; a second failure adds nothing
            self.repair()
