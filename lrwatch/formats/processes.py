"""The process to follow among several that write records with their number into one log: the lowest of the first round.

Processes write in any order, so the first records wait until one of their processes writes again, or process 0 does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed

RANK_NAMES = ("global_rank", "rank", "local_rank")
"""Names of the number of a process, the surest first."""

# Records that wait at the most.
_MOST = 4096

Numbered = tuple[int | None, Any]
"""The number of the process that wrote a record, None where it says none, and the record as JSON-plain values."""


@dataclass
class FirstRound(Checkpointed):
    """Records that wait until the process to follow is known.

    Attributes:
        followed: The number of that process.
        held: The numbers and records that wait.
    """

    SAVED: ClassVar[tuple[str, ...]] = ("followed", "held")

    followed: int | None = None
    held: list[list[Any]] = field(default_factory=list)

    def take(self, records: Iterable[Numbered], *, final: bool = False) -> list[Numbered]:
        """Return the records that wait no longer, in their order.

        Args:
            records: Further records.
            final: Nothing will follow.
        """
        known: list[Numbered] = []
        for rank, record in records:
            if self.followed is not None or (rank is None and not self.held):
                known.append((rank, record))
                continue
            again = rank == 0 or any(rank == before for before, _ in self.held if before is not None)
            self.held.append([rank, record])
            if again or len(self.held) >= _MOST:
                known.extend(self._decide())
        if final and self.held:
            known.extend(self._decide())
        return known

    def _decide(self) -> list[Numbered]:
        self.followed = min(rank for rank, _ in self.held if rank is not None)
        held, self.held = self.held, []
        return [(rank, record) for rank, record in held]

    def prefix(self, rank: int | None) -> str:
        """Return the prefix of the names of metrics of a process; that of the followed one has none."""
        return "" if rank is None or rank == self.followed else f"rank{rank}."
