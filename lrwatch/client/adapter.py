"""Adapters carry a scale to the learning rate: the border between the client and the optimizer.

`Adapter` is the whole interface, and at the same time the adapter of scripts that read `Client.scale` themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from lrwatch.protocol import NotActing, RejectionCode
from lrwatch.protocol.lean import TYPE_CHECKING, dataclass

if TYPE_CHECKING:
    from lrwatch.client.handoff import Handoff


@dataclass(frozen=True)
class LearningRates:
    """The learning rates of one optimizer step by parameter group.

    The rates are numbers or copies of scalar tensors; they become floats in the worker thread, where waiting does no harm.

    Attributes:
        scale: The multiplier in force.
        schedule: Group to the rate that the schedule gave.
        effective: Group to the rate that the step used.
    """

    scale: float
    schedule: Mapping[str, object]
    effective: Mapping[str, object]


class NotAppliedError(Exception):
    """The optimizer does not use the scale, for a reason with a code of its own."""

    def __init__(self, code: RejectionCode) -> None:
        self.code: RejectionCode = code
        super().__init__(code)


class Adapter:
    """Interface of adapters; this one does nothing, and the script reads the scale from the client.

    Attributes:
        name: Kind of the optimizer, for people.
        observes: Whether steps can be observed, so that a scale counts once one has used it.
        steps: Optimizer steps observed, of all optimizers together; 0 where they cannot be observed.
        lr: The learning rate that the last optimizer step used in its first parameter group, or None.
        open: Whether a client uses it.
        box: Of the client that uses it, or None; counts the calls of `Client.step`.
        errors: Errors that were survived, by reason. Only the training thread counts here.
    """

    name = "none"
    observes = False

    def __init__(self) -> None:
        self.steps = 0
        self.lr: object = None
        self.open = True
        self.box: Handoff | None = None
        self.errors: Counter[str] = Counter()

    def set(self, scale: float) -> None:
        """Use `scale` from the next optimizer step on; may raise anything, then the old scale stays in force."""

    def lapse(self, steps: int, scale: float) -> None:
        """Use `scale` after `steps` more optimizer steps, unless `set` is called before; nothing where steps are not observed.

        Args:
            steps: Optimizer steps, of all optimizers together.
            scale: The scale.
        """

    def stepped(self) -> bool:
        """Return whether the optimizer has stepped before, in this process or before its state was loaded; False if unknown."""
        return False

    def used(self) -> bool:
        """Return whether an optimizer step has used the scale that was set last.

        Raises:
            Exception: It could not be used; the optimizer continues with the learning rate of its schedule.
        """
        return True

    def trained(self) -> tuple[object, ...]:
        """Return what tells whether another adapter has the same training: weak references, or a function."""
        return ()

    def __getstate__(self) -> dict[str, object]:
        """Return what a copy keeps: everything but the tie to the client."""
        return {**self.__dict__, "box": None}

    def check(self, calls: int) -> int:
        """Find out whether the optimizer steps while `Client.step` is called, and forget its rates if it does not.

        Args:
            calls: Calls of `Client.step` so far.

        Returns:
            The number of calls at which to look again; 0 for never, where steps are not observed.
        """
        return 0

    def not_acting(self) -> NotActing | None:
        """Return why the scale does not reach the training, or None where it does or nobody can tell."""
        return None

    def ask(self) -> None:
        """Request a new sample at the next optimizer step, from any thread."""

    def sample(self) -> LearningRates | None:
        """Return the newest learning rates, or None."""
        return None

    def rates(self) -> Mapping[str, object]:
        """Return the learning rate that the last optimizer step used, by parameter group; those of the sample where it is unknown."""
        sample = self.sample()
        if self.lr is not None and (sample is None or len(sample.effective) == 1):
            return {"0" if sample is None else next(iter(sample.effective)): self.lr}
        return {} if sample is None else sample.effective

    def forget(self) -> None:
        """Drop the sample: it says nothing about the steps to come."""

    def repair(self) -> None:
        """Restore the learning rates that an interrupted optimizer step left scaled, before a checkpoint stores them."""

    def release(self) -> None:
        """Detach from the optimizer for good."""


class CallableAdapter(Adapter):
    """Calls a function with every new scale, in the training thread; the next optimizer step should use it."""

    name = "callable"

    def __init__(self, function: Callable[[float], object]) -> None:
        super().__init__()
        self._function = function

    def set(self, scale: float) -> None:
        """Call the function."""
        self._function(scale)

    def trained(self) -> tuple[object, ...]:
        """Return the function."""
        return (self._function,)
