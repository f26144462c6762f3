"""Many controllers on one training: controllers share a run as long as their learning rates are equal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from bench.closed.trainings import Runs

Update = Callable[[int, float], float]
"""Maps a finished step, from 0, and the loss of its batch to the learning rate of the next step."""


@runtime_checkable
class Backtracks(Protocol):
    """An `Update` that may go back to an earlier state of its training. The steps in between are lost, and count.

    Attributes:
        wants: What is to be done before the next step: save the state, restore the one saved last, or nothing.
    """

    wants: Literal["", "save", "restore"]

    def __call__(self, step: int, loss: float, /) -> float: ...


class Moves:
    """Changes of a value. Changes in one direction at consecutive steps, a ramp, are one move.

    Args:
        value: The value at the start.

    Attributes:
        value: The value in use.
        moves: For each move the number of steps that were completed when it began, and the value that it came to.

    >>> rates = Moves(1.0)
    >>> for step, rate in ((3, 0.5), (8, 0.4), (9, 0.3), (10, 0.2), (11, 0.2), (12, 0.1)):
    ...     rates.record(step, rate)
    >>> rates.moves
    [(3, 0.5), (8, 0.2), (12, 0.1)]
    """

    def __init__(self, value: float) -> None:
        self.value = value
        self.moves: list[tuple[int, float]] = []
        self._last, self._falls = -1, False

    def record(self, step: int, value: float) -> None:
        """Take the value that holds after `step` completed steps."""
        if value == self.value:
            return
        falls = value < self.value
        goes_on = self._last == step - 1 and falls == self._falls
        begin = self.moves.pop()[0] if goes_on else step
        self.moves.append((begin, value))
        self.value, self._last, self._falls = value, step, falls


@dataclass(frozen=True, slots=True)
class Plan:
    """One controller on one run.

    Attributes:
        name: Name of the controller.
        setting: Setting of the controller, "" at its default.
        rate: Learning rate that the user sets.
        reads: Numbers of steps after which the loss is measured; the run ends at the last one.
        make: Function that makes the controller.
        first: Multiplier of the rate at the first step: below 1 with a warm-up.
    """

    name: str
    setting: str
    rate: float
    reads: tuple[int, ...]
    make: Callable[[], Update]
    first: float = 1.0


@dataclass(slots=True)
class Outcome:
    """The result of a plan.

    Attributes:
        losses: The loss at each of the reads.
        changes: Changes of the learning rate, as in `Moves`.
        first: As in `Plan`.
    """

    name: str
    setting: str
    rate: float
    losses: dict[int, float] = field(default_factory=dict)
    changes: list[tuple[int, float]] = field(default_factory=list)
    first: float = 1.0

    def cuts(self, steps: int) -> int:
        """Count the cuts of the learning rate in the first `steps` steps."""
        return self._turns(steps, down=True)

    def raises(self, steps: int) -> int:
        """Count the raises in the first `steps` steps: cuts that were taken back."""
        return self._turns(steps, down=False)

    def _turns(self, steps: int, down: bool) -> int:
        rate, turns = self.rate * self.first, 0
        for at, now in self.changes:
            if at >= steps:  # it had no step yet
                break
            turns += now < rate if down else now > rate
            rate = now
        return turns

    def plain(self) -> dict[str, Any]:
        """Return the outcome for JSON."""
        return {
            "name": self.name, "setting": self.setting, "rate": self.rate,
            "losses": {str(steps): loss if np.isfinite(loss) else None for steps, loss in self.losses.items()},
            "changes": self.changes, "first": self.first,
        }  # fmt: skip

    @classmethod
    def of(cls, plain: dict[str, Any]) -> Outcome:
        """Restore an outcome from its `plain` form."""
        losses = {int(steps): np.inf if loss is None else loss for steps, loss in plain["losses"].items()}
        changes = [(at, rate) for at, rate in plain["changes"]]
        return cls(plain["name"], plain["setting"], plain["rate"], losses, changes, plain["first"])


def play(plans: Sequence[Plan], runs: Runs, progress: Callable[[], None] = lambda: None) -> list[Outcome]:
    """Run all plans on one training.

    Args:
        plans: The controllers.
        runs: The training, at its start.
        progress: Called after each step.

    Returns:
        The outcome of each plan.
    """
    outcomes = [Outcome(plan.name, plan.setting, plan.rate, first=plan.first) for plan in plans]
    updates: list[Update | Backtracks] = [plan.make() for plan in plans]
    backtracking = {i: update for i, update in enumerate(updates) if isinstance(update, Backtracks)}
    alive = list(range(len(plans)))
    row_of = [0] * len(plans)
    wanted = [Moves(plan.rate * plan.first) for plan in plans]
    rates = np.empty(0)
    reads = {steps for plan in plans for steps in plan.reads}
    saved: dict[int, Any] = {}
    back: set[int] = set()
    for step in range(max(reads, default=0)):
        # One run for each pair of a run so far and its next rate, and one for each that goes back.
        rows: dict[tuple[int, float, int | None], int] = {}
        for i in alive:
            row_of[i] = rows.setdefault((row_of[i], wanted[i].value, i if i in back else None), len(rows))
        parents = [parent for parent, _, _ in rows]
        if parents != list(range(len(rates))):
            runs.take(parents)
        rates = np.array([rate for _, rate, _ in rows])
        for i in back:
            runs.restore(row_of[i], saved[i])
        back.clear()
        losses = runs.step(rates).tolist()
        done = step + 1
        for i in alive:
            wanted[i].record(done, updates[i](step, losses[row_of[i]]))
            if i in backtracking and backtracking[i].wants == "save":
                saved[i] = runs.saved(row_of[i])
            elif i in backtracking and backtracking[i].wants == "restore":
                back.add(i)
        if done in reads:
            final = runs.final().tolist()
            for i in alive:
                if done in plans[i].reads:
                    outcomes[i].losses[done] = final[row_of[i]]
            alive = [i for i in alive if done < max(plans[i].reads)]
        progress()
    for outcome, moves in zip(outcomes, wanted, strict=True):
        outcome.changes = moves.moves
    return outcomes
