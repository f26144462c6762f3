"""Several processes that print into one log: one of them is followed, and no two are mixed.

The lowest number that prints losses is followed. As processes print in any order, the first record waits until its
process prints again, or one with a lower number does. What the others print is `rank3.loss`, unless it repeats what
the followed one printed. A followed process that falls silent while another goes on, as after a restart, is replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import role

# Records with losses of another process since the last one of the followed process, after which that is taken for gone.
_SILENT = 16

Values = dict[str, float]


# Digits of the name of a process that count; a hash may have more.
_DIGITS = 15


def process_number(name: bytes) -> int:
    """Return the number of a process: all digits of its name.

    >>> process_number(b"3"), process_number(b"gpu-node-2"), process_number(b"1-0")
    (3, 2, 10)
    """
    return int(bytes(byte for byte in name if byte in b"0123456789")[:_DIGITS] or b"0")


class PrintingRanks(Checkpointed):
    """The processes of a log."""

    SAVED: ClassVar[tuple[str, ...]] = ("_followed", "_echoes", "_others")

    def __init__(self) -> None:
        self._followed: int | None = None
        self._losses: Values = {}  # the last ones of the followed process
        self._echoes: list[int] = []  # processes that print what the followed one does
        self._others: dict[str, int] = {}  # records of each other process since the last one of the followed process
        self._held: tuple[int, Values] | None = None  # the first record, while it is not known whom to follow

    @property
    def known(self) -> bool:
        """Whether a process has printed losses, so that it matters which one prints."""
        return self._followed is not None or self._held is not None

    @property
    def waiting(self) -> bool:
        """Whether a record waits."""
        return self._held is not None

    @property
    def first(self) -> int | None:
        """Number of the first process that printed losses, while none other did."""
        if self._held is not None:
            return self._held[0]
        return self._followed if not self._others and not self._echoes else None

    def take(self, rank: int, values: Values) -> list[Values]:
        """Take a record of a process, and return the records that are known now."""
        if self._followed is None:
            return self._first(rank, values)
        if rank in self._echoes:
            return [_places(values)]
        losses = _losses(values)
        if rank == self._followed:
            if losses:
                self._losses = losses
                if self._others:
                    self._others = {}
            return [values]
        if losses:
            if losses == self._losses:
                self._echoes.append(rank)
                return [_places(values)]
            count = self._others[str(rank)] = self._others.get(str(rank), 0) + 1
            if count > _SILENT:
                self._followed, self._losses, self._others = rank, losses, {}
                return [values]
        return [_named(rank, values)]

    def finish(self) -> list[Values]:
        """Return the record that waits: nothing will follow."""
        held, self._held = self._held, None
        return [] if held is None else [held[1]]

    def _first(self, rank: int, values: Values) -> list[Values]:
        losses = _losses(values)
        if not losses:
            if self._held is not None and self._held[0] == rank and values:  # its next place: nobody else printed here
                self._followed, self._losses = rank, _losses(self._held[1])
                return [*self.finish(), values]
            return [values]
        if self._held is None:
            if rank == 0:
                self._followed, self._losses = rank, losses
                return [values]
            self._held = (rank, values)
            return []
        first, held = self._held
        if rank > first:
            self._others[str(rank)] = self._others.get(str(rank), 0) + 1
            if self._others[str(rank)] <= _SILENT:
                return self._beside(rank, values, _losses(held))
            self._held, self._followed, self._losses, self._others = None, rank, losses, {}
            return [_named(first, held), values]
        self._held = None
        if rank == first:
            self._followed, self._losses = rank, losses
            return [held, values]
        before = self._beside(first, held, losses)
        return [*before, *self._first(rank, values)]

    def _beside(self, rank: int, values: Values, losses: Values) -> list[Values]:
        """Return the record of a process that is not followed, beside one with `losses`."""
        if _losses(values) == losses:
            self._echoes.append(rank)
            return [_places(values)]
        return [_named(rank, values)]

    def state(self) -> dict[str, Any]:
        """Return the state as JSON-plain values. Values of metrics are text, because JSON has no NaN."""
        held = None if self._held is None else [self._held[0], _spelled(self._held[1])]
        return {**super().state(), "losses": _spelled(self._losses), "held": held}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state` returned."""
        super().restore(state)
        self._losses = _parsed(state["losses"])
        self._held = None if state["held"] is None else (state["held"][0], _parsed(state["held"][1]))


def _losses(values: Values) -> Values:
    return {name: value for name, value in values.items() if role(name) in ("train_loss", "val_loss")}


def _places(values: Values) -> Values:
    return {name: value for name, value in values.items() if name in ("step", "epoch")}


def _named(rank: int, values: Values) -> Values:
    return {name if name in ("step", "epoch") else f"rank{rank}.{name}": value for name, value in values.items()}


def _spelled(values: Values) -> dict[str, str]:
    return {name: repr(value) for name, value in values.items()}


def _parsed(values: Mapping[str, str]) -> Values:
    return {name: float(value) for name, value in values.items()}
