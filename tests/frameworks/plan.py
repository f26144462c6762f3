"""The daemon's end of a running training: it sends commands at exact steps, and waits until the client has taken them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.helpers import eventually

from lrwatch.client import Client
from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired, Observed

STEPS = 24
# Optimizer step from which on -> scale: down, further down, up, back.
PLAN = {4: 0.5, 9: 0.1, 14: 0.2, 19: 1.0}
# Options of `attach` in these tests: the plan goes up by more than a factor of two at once.
OPTIONS: dict[str, Any] = {"poll_seconds": 0.02, "max_factor_up": 10.0}

_generations = itertools.count(1)


def scale_at(step: int, plan: Mapping[int, float] = PLAN) -> float:
    """The scale that step number `step` is to use."""
    return next((scale for begin, scale in sorted(plan.items(), reverse=True) if begin <= step), 1.0)


class CommandSender:
    """Sends the commands of a plan.

    Args:
        directory: The control directory.
        plan: Optimizer step from which on -> scale.
    """

    def __init__(self, directory: Path, plan: Mapping[int, float] = PLAN) -> None:
        self.control = ControlDirectory(directory)
        self.plan = plan
        self.sent: set[int] = set()

    def before(self, step: int, watch: Client | None) -> None:
        """Send the command of step number `step`; call it before the client counts the step before."""
        if step in self.plan and step not in self.sent:
            assert watch is not None
            self.sent.add(step)
            self.send(self.plan[step], watch)

    def send(self, scale: float, watch: Client) -> None:
        """Publish a command, and wait until the worker has handed it to the training thread."""
        hello = eventually(lambda: self._hello(watch), what="the client says hello")
        desired = Desired(
            run=hello.run, incarnation=hello.incarnation, generation=next(_generations), token=1, scale=scale
        )
        self.control.publish(desired)
        watch._box.wake.set()
        eventually(lambda: watch._box.order == desired, what=f"scale {scale} is taken; {watch.errors}")

    def _hello(self, watch: Client) -> Observed | None:
        watch._box.wake.set()
        observed = self.control.read_observed()
        return observed if observed is not None and observed.incarnation == watch._incarnation else None

    @property
    def answer(self) -> Observed:
        """The newest observed state."""
        observed = self.control.read_observed()
        assert observed is not None
        return observed
