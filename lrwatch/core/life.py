"""The life of a run, as one table: from the signs of one moment to the state of the run.

A run is `starting` until its first sample, and `running` while samples come. It has `ended` when its trainer says goodbye, or when
it falls silent at its full length. It is `lost` when the trainer's process is gone without a goodbye, when an exception ended it,
or, where nobody can see the process, when it is silent for longer than ever. A run whose logs were old when they were first seen is
history: `finished`. One whose files are gone is `removed`, which the search for runs says and no row here.

Nothing is final: a new attempt of the same job is the same run, and runs again.

>>> life_of(Signs(samples=True, alive=True, silent=True))
'running'
>>> life_of(Signs(samples=True, alive=False))
'lost'
>>> life_of(Signs(samples=True, alive=False, told="ended"))
'ended'
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

Life = Literal["starting", "running", "ended", "lost", "finished", "removed"]

LIVES: tuple[Life, ...] = get_args(Life)

OVER: frozenset[Life] = frozenset({"ended", "lost", "finished", "removed"})
"""A run in one of these has no future unless a new attempt begins; of all but `lost` nobody expects a sample."""

Told = Literal["", "ended", "failed"]
"""The goodbye of the trainer: none, the training is over, an exception ended it."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs of a run at one moment.

    Attributes:
        samples: Whether it ever had a sample.
        history: Whether all of its samples were old when its logs were first seen.
        told: The goodbye of its trainer.
        alive: Whether the process of its trainer runs; None where nobody can see that.
        silent: Whether it has been silent for longer than its own gaps explain.
        complete: Whether it has reached its full length.
    """

    samples: bool = False
    history: bool = False
    told: Told = ""
    alive: bool | None = None
    silent: bool = False
    complete: bool = False


class LifeRow(NamedTuple):
    """One row of the table."""

    life: Life
    why: str
    holds: Callable[[Signs], bool]


# The first row that holds decides.
TABLE = (
    LifeRow(
        "finished", "its samples were old when first seen", lambda s: s.history and s.samples and s.alive is not True
    ),
    LifeRow("lost", "an exception ended it", lambda s: s.told == "failed"),
    LifeRow("ended", "its trainer said goodbye", lambda s: s.told == "ended"),
    LifeRow("lost", "its process is gone without a goodbye", lambda s: s.alive is False),
    LifeRow("starting", "it has no sample yet", lambda s: not s.samples),
    LifeRow("running", "its process lives", lambda s: s.alive is True),
    LifeRow("running", "samples come as they used to", lambda s: not s.silent),
    LifeRow("ended", "it fell silent at its full length", lambda s: s.complete),
    LifeRow("lost", "it is silent for longer than its own gaps explain", lambda _: True),
)


def row_of(signs: Signs) -> LifeRow:
    """Return the row that holds for these signs."""
    return next(row for row in TABLE if row.holds(signs))


def life_of(signs: Signs) -> Life:
    """Return the life that follows from these signs."""
    return row_of(signs).life
