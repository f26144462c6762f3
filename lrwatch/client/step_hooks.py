"""The hooks on one torch optimizer: they scale its step, give the rate back, and read what the step used.

One step is the outermost call of `step`: a class whose `step` calls that of its parent runs the hooks of both. The rate of the
schedule comes back after it, also where it raises. A step that writes its own rate is found out by what stands in the group
afterwards; from then on it is left alone, because nobody can tell which rate it used.
"""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import weakref
from collections.abc import Callable, Mapping, Sequence

from lrwatch.client.adapter import LearningRates, NotAppliedError
from lrwatch.client.callers import is_compiled, is_helper, is_within
from lrwatch.client.inner import Optimizer, parameters
from lrwatch.client.opaque import opaque
from lrwatch.client.reading import RateReading
from lrwatch.protocol import MAX_GROUPS
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from lrwatch.client.inner import Group
    from lrwatch.client.torch_hooks import TorchAdapter

# Calls of `Client.step` without a step of the optimizer after which it is said not to act. One that comes back after a longer gap,
# as in training that accumulates gradients or takes turns, may then wait twice as long.
PATIENCE = 20


class StepHooks:
    """The hooks on one optimizer, and the values that they have to restore.

    Args:
        adapter: Holds the scale, and hears of steps and errors.
        optimizer: The optimizer.
        prefix: Beginning of the names of its groups.
        leads: Whether it sets `Adapter.lr`.

    Attributes:
        sample: The learning rates of the newest step that was sampled, or None where they are not known.
        wanted: Whether the next step is sampled.
        used: The rates of the last step by group, empty where they are not known; a tensor among them has changed since.
        written: The step was seen to write its own rate.
        reads: The step was seen to read the rate of a group, or there was nobody to see it.
        unread: Steps in a row that were seen not to, of those with gradients.
        has_rate: Whether a group has a learning rate; some optimizers find their own, and have none.
        seen: `Handoff.calls` at the last step.
        silent: The optimizer has not stepped for `patience` calls.
        patience: Number of these calls.

    Raises:
        TypeError: The optimizer does not take hooks. Those that were registered are removed.
    """

    def __init__(self, adapter: TorchAdapter, optimizer: Optimizer, *, prefix: str, leads: bool) -> None:
        self.sample: LearningRates | None = None
        self._taken: LearningRates | None = None  # of the step under way
        self.wanted = True
        self.used: list[Any] = []
        self.written = self.silent = self.reads = False
        self.unread = self.seen = 0
        self.patience = PATIENCE
        self.prefix = prefix
        self.optimizer = weakref.ref(optimizer)
        self.trains = [weakref.ref(parameter) for parameter in parameters(optimizer)]
        self._adapter = adapter
        self._leads = leads
        self._depth = 0  # calls of `step` under way, one inside the other
        self._numbers: list[tuple[Group, Any, Any]] = []  # group, the schedule's number, the scaled number
        self._tensors: list[
            tuple[Any, Any, int | None]
        ] = []  # the tensor, a copy with the schedule's value, its version
        self._reading: RateReading | None = None
        self.has_rate = _any_rate([group.get("lr") for group in optimizer.param_groups])
        self._tensor: object = next((group.get("lr") for group in optimizer.param_groups), None)
        self._handles: list[Any] = []
        self._before_step: Any = ()  # all hooks of the optimizer that are called before a step, in order
        self._guarded: tuple[Callable[..., object], object] | None = None
        try:
            self._register(optimizer)
        except Exception as error:
            self.remove()
            name = type(optimizer).__name__
            raise TypeError(
                f"{name} does not take the step hooks of torch optimizers ({error!r}); it may be a wrapper: "
                "attach the optimizer inside it"
            ) from error

    def remove(self) -> None:
        """Remove the hooks, those of a registration that failed too."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        optimizer: Any = self.optimizer()
        if optimizer is None or self._guarded is None:
            return
        guard, before = self._guarded
        if vars(optimizer).get("step") is guard:  # else somebody wrapped it since: there it stays, and does nothing
            if before is None:
                del optimizer.step
            else:
                optimizer.step = before

    def stepped(self) -> bool:
        """Return whether the optimizer's state shows a step: a count above 0, or without a count anything at all."""
        states: Mapping[Any, Any] = getattr(self.optimizer(), "state", None) or {}
        return any(float(state.get("step", bool(state))) > 0 for state in states.values() if isinstance(state, Mapping))

    @property
    def acts(self) -> bool:
        """Whether a step uses the rate of its groups, as far as anybody can tell."""
        return self.has_rate and self.unread < PATIENCE

    def fall_silent(self) -> None:
        """Forget the rates: the optimizer does not step, and what it used last says nothing about the training."""
        self.silent = True
        self._unknown()

    def repair(self) -> None:
        """Undo the scaling of a step that raised, except where another value was written since."""
        self._depth = 0
        self._end_reading()
        numbers, self._numbers = self._numbers, []
        tensors, self._tensors = self._tensors, []
        for group, base, scaled in numbers:
            if group.get("lr") is scaled:
                group["lr"] = base
            else:
                self._adapter.errors["lr_written_after_failed_step"] += 1
        for tensor, base, _ in tensors:
            tensor.copy_(base)

    def _register(self, optimizer: Any) -> None:
        self._handles.append(optimizer.register_step_pre_hook(self._before))
        hooks: Any = getattr(optimizer, "_optimizer_step_pre_hooks", None)
        if hasattr(hooks, "move_to_end") and hasattr(self._handles[0], "id"):
            self._before_step = hooks
        after = optimizer.register_step_post_hook(self._after)
        self._handles.append(after)
        others: Any = getattr(optimizer, "_optimizer_step_post_hooks", None)
        if hasattr(others, "move_to_end"):  # a scheduler in a hook of the script must find the schedule's rate
            others.move_to_end(after.id, last=False)
        # Code that stores a checkpoint after an exception in step() must find the schedule's values.
        store = getattr(optimizer, "register_state_dict_pre_hook", None)
        if store is not None:
            self._handles.append(store(self._before_state_dict))
        self._guard(optimizer)

    def _guard(self, optimizer: Any) -> None:
        """Wrap `optimizer.step`, as torch's schedulers do: torch calls no hook after a step that raised."""
        before = vars(optimizer).get("step")
        reference = self.optimizer

        def guarded(optimizer: Any, *args: object, **kwargs: object) -> object:
            depth = self._depth
            try:
                return type(optimizer).step(optimizer, *args, **kwargs) if before is None else before(*args, **kwargs)
            finally:
                if self._depth != depth:
                    self._left(depth)

        # No bound method, which would keep the optimizer and its tensors alive in a circle of references.
        @functools.wraps(type(optimizer).step if before is None else before)
        def step(*args: object, **kwargs: object) -> object:
            return guarded(reference(), *args, **kwargs)

        # Where a scheduler that is made later looks for the function of the method.
        setattr(step, "__func__", guarded)  # noqa: B010  a function has no such attribute for a type checker
        optimizer.step = step
        self._guarded = step, before

    def _comes_last(self) -> bool:
        """Let the hooks go first that were registered since, and return whether there were none: one may set the schedule's rate."""
        if not self._before_step or not self._handles:
            return True
        own = self._handles[0].id
        last: bool = next(reversed(self._before_step)) == own
        self._before_step.move_to_end(own)
        return last

    @opaque
    def _left(self, depth: int) -> None:
        """Give the rate back after a step that raised."""
        try:
            if depth == 0:
                self.repair()
            self._depth = depth
        except Exception as error:  # noqa: BLE001  the training sees its own exception
            self._fail(error)

    @opaque
    def _before(self, optimizer: Optimizer, *_: object) -> None:
        adapter = self._adapter
        if self._depth and is_within(sys._getframe(1), optimizer):
            self._depth += 1
            return
        try:
            if self._numbers or self._tensors:
                self.repair()
            self._depth = 1
            adapter.check_lapse()
            # Read now and not at attach: DeepSpeed steps with one group after another in place of them all.
            groups = optimizer.param_groups
            schedule = self._copies(groups) if self.wanted and not self.written else None
            if adapter.scale != 1.0 and not self.written:
                self._scale(groups, adapter.scale)
            self.used = used = [group.get("lr") for group in groups]
            if self.written:
                return
            if self._leads:
                lr = used[0] if used else None
                adapter.lr = None if hasattr(lr, "detach") else lr  # a tensor would change under the reader
            if schedule is not None:
                self.has_rate = _any_rate(used)
                self._taken = LearningRates(adapter.scale, schedule, self._copies(groups))
                if self._leads:
                    adapter.lr = self._taken.effective.get(f"{self.prefix}0")
            if not self.reads and (self._numbers or self.unread):  # a tensor may be used from anywhere else
                if is_compiled(sys._getframe(1)):
                    self.reads = True  # it would be compiled again, for a dict that has another key
                else:
                    self._reading = RateReading(groups)
        except Exception as error:  # noqa: BLE001  the training goes on, with the learning rate of its schedule
            self._fail(error)

    @opaque
    def _after(self, optimizer: Optimizer, *_: object) -> None:
        if self._depth > 1:
            self._depth -= 1
            return
        try:
            self._depth = 0
            used = self.used
            unused = self._reading is not None and not self._end_reading()
            if self._numbers or self._tensors:
                wrote = self._give_back(optimizer.param_groups)
            else:
                wrote = False
                for group, rate in zip(
                    optimizer.param_groups, used, strict=False
                ):  # any() would take three times as long
                    lr = group.get("lr")
                    wrote = wrote or (lr is not rate and _differs(lr, rate))
            if used and self._suspicious(used[0]) and is_helper(sys._getframe(1)):
                self._unknown()
                return
            if wrote and not self._comes_last():
                unused = True  # a hook may have written it, which comes before from the next step on
            elif wrote:
                self._adapter.errors["lr_written_in_step"] += 1
                self.written = True
                if self._adapter.scale != 1.0:
                    self._adapter.failure = NotAppliedError("lr_written_in_step")
            taken, self._taken = self._taken, None
            if self.written or unused:
                self._unknown()
            elif taken is not None:  # nobody hears of it before it was used
                self.sample, self.wanted = taken, False
                self._adapter.sampled_scale = taken.scale
            self._adapter.steps += 1
            self._adapter.acted += not unused
            if (box := self._adapter.box) is not None:
                if self.silent:
                    self.silent = False
                    self.patience = max(self.patience, 2 * (box.calls - self.seen))
                    box.look_by(box.calls + self.patience)
                self.seen = box.calls
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _end_reading(self) -> bool:
        """Return whether the step read the rate of a group, and count those that did not."""
        reading, self._reading = self._reading, None
        if reading is not None:
            self.reads = reading.end()
            self.unread = 0 if self.reads else self.unread + reading.trains
        return self.reads

    def _give_back(self, groups: Sequence[Group]) -> bool:
        """Restore the schedule's rates, and return whether the step wrote one of its own."""
        wrote = bool(self._tensors) and any(
            hasattr(rate, "detach") and group.get("lr") is not rate
            for group, rate in zip(groups, self.used, strict=False)
        )
        for group, base, scaled in self._numbers:
            lr = group["lr"]
            if lr is scaled or not _differs(lr, scaled):
                group["lr"] = base
            else:
                wrote = True
                group["lr"] = _reading(lr, base, scaled)
        for tensor, base, version in self._tensors:
            wrote = wrote or _version(tensor) != version
            tensor.copy_(base)
        self._numbers.clear()
        self._tensors.clear()
        return wrote

    def _suspicious(self, rate: Any) -> bool:
        """Return whether a helper may have set this rate: it is 0, or a tensor of its own, whose value nobody waits for here."""
        return rate is not self._tensor if hasattr(rate, "detach") else rate == 0

    def _unknown(self) -> None:
        self.sample, self.used = None, []
        if self._leads:
            self._adapter.lr = None

    @opaque
    def _before_state_dict(self, *_: object) -> None:
        try:
            if not self._depth or self._numbers or self._tensors:
                self.repair()
        except Exception as error:  # noqa: BLE001
            self._fail(error)

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
                base = live.clone()
                live.mul_(scale)
                self._tensors.append((live, base, _version(live)))

    def _copies(self, groups: Sequence[Group]) -> Mapping[str, object]:
        rates: list[Any] = [group.get("lr") for group in groups[:MAX_GROUPS]]
        return {
            f"{self.prefix}{number}": lr.detach().clone() if hasattr(lr, "detach") else lr
            for number, lr in enumerate(rates)
        }

    def _fail(self, error: Exception) -> None:
        self._adapter.errors["hook"] += 1
        self._adapter.failure = error
        self._unknown()
        with contextlib.suppress(Exception):  # counted above; a second failure adds nothing
            depth = self._depth
            self.repair()
            self._depth = depth


def _any_rate(rates: Sequence[object]) -> bool:
    return any(rate is not None for rate in rates) or not rates


def _differs(lr: object, rate: object) -> bool:
    return bool(lr != rate)


def _reading(written: Any, base: Any, scaled: Any) -> object:
    """Return the schedule's rate after a step that wrote one: its own value, or a change of the scaled one.

    The one that is nearer to the rate before is taken, so that a scale never becomes a part of the schedule.
    """
    try:
        unscaled = written * (base / scaled)
        if abs(math.log(unscaled / base)) < abs(math.log(written / base)):
            return unscaled
    except (ArithmeticError, ValueError, TypeError):  # a rate of 0, or none that is a number
        pass
    return written


def _version(tensor: Any) -> int | None:
    """Return the number of changes in place of a tensor, or None where torch counts none."""
    try:
        return int(tensor._version)
    except (AttributeError, RuntimeError):  # a tensor of inference mode
        return None
