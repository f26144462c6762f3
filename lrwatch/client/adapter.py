"""How a scale reaches the learning rate: the border to what is being trained.

`Adapter` is the whole interface, and at the same time the adapter for those who read `Client.scale` themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """The learning rates of one optimizer step: parameter group to what the schedule gave and what was used.

    The values are numbers or copies of scalar tensors, to be turned into floats where waiting does no harm.
    """

    scale: float
    schedule: Mapping[str, object]
    effective: Mapping[str, object]


class Adapter:
    """Does nothing: whoever trains reads the scale from the client.

    Attributes:
        name: What it adapts to, for people.
        steps: Optimizer steps seen, of all optimizers together; 0 where they cannot be seen.
        lr: The learning rate that the last optimizer step used in its first parameter group, or None.
        open: Whether a client uses it.
        errors: What was survived, by reason. Only the training thread counts here.
    """

    name = "none"

    def __init__(self) -> None:
        self.steps = 0
        self.lr: object = None
        self.open = True
        self.errors: Counter[str] = Counter()

    def set(self, scale: float) -> None:
        """Use `scale` from the next optimizer step on; may raise anything, and then the old scale counts."""

    def used(self) -> bool:
        """Whether an optimizer step has used the scale that was set last.

        Raises:
            Exception: It could not be used; the optimizer goes on with the learning rate of its schedule.
        """
        return True

    def ask(self) -> None:
        """Take a new sample at the next optimizer step; any thread may ask."""

    def sample(self) -> Sample | None:
        """The newest learning rates seen since the scale was set last, or None."""
        return None

    def repair(self) -> None:
        """Put back what an interrupted optimizer step left behind, before anyone stores it."""

    def release(self) -> None:
        """Let go of what is being trained, for good."""


class CallableAdapter(Adapter):
    """Calls a function with every new scale, in the training thread; the next optimizer step is to use it."""

    name = "callable"

    def __init__(self, function: Callable[[float], object]) -> None:
        super().__init__()
        self._function = function

    def set(self, scale: float) -> None:
        """Call the function."""
        self._function(scale)
