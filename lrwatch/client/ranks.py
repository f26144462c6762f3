"""One scale on every rank: how the processes of one training agree on a command and on the step from which it counts.

Rank 0 alone reads and writes files. Every K optimizer steps, on every rank and whatever it sees, a round begins: the
ranks find the largest of each of a few numbers, among them the newest command of rank 0. The round runs in the background
and is read K steps later, again on every rank, so that the training waits for it only if it is not over by then. What was
read is taken by all ranks before the same optimizer step::

    step n            rank 0 proposes a command, the round begins
    step n + K        the round is read; the command has an agreed first step, n + K + 1 or later
    its first step    every rank judges the command by the same bounds and the same past, and uses it or not

Each round also compares where the ranks stand. As long as they differ (another number of steps, another scale, a checkpoint
that only some have loaded) no command is taken, since nobody could say what it would do.

A round that fails ends this for good: the ranks go on at the scale they have. Standard library only; torch is reached
through the group that the script gives.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeGuard, runtime_checkable

from lrwatch.client.interlock import Limits, Standing
from lrwatch.protocol import Desired

# Optimizer steps between two rounds: a round costs some 100 us, and a command waits for it up to two times as long.
DEFAULT_SYNC_EVERY = 20

# Whatever a rank other than 0 says where only rank 0 has a say; all that rank 0 says is larger.
_NOTHING = -1
# Hashes of this many bits can be negated within 64.
_HASH_MASK = 2**62 - 1
_FLOAT, _INTEGER = struct.Struct("<d"), struct.Struct("<q")


@runtime_checkable
class Ranks(Protocol):
    """What the client needs of the processes of a training; for torch a process group is enough.

    Attributes:
        rank: Number of this process; 0 is the one that reads and writes files.
    """

    rank: int

    def largest(self, numbers: Sequence[int]) -> Callable[[], Sequence[int]]:
        """Begin to find the largest of each number over all ranks, a collective that every rank begins in the same order.

        Args:
            numbers: Sixteen or fewer, each of 64 bits with sign.

        Returns:
            A function that waits for the result and gives it; it is called once.
        """


class ProcessGroup(Protocol):
    """The part of `torch.distributed.ProcessGroup` that is used here."""

    def rank(self) -> int:
        """Number of this process within the group."""

    def size(self) -> int:
        """Number of processes."""


def is_group(value: object) -> TypeGuard[ProcessGroup]:
    """Whether `value` is a torch process group, by its shape."""
    return all(callable(getattr(value, name, None)) for name in ("rank", "size", "allreduce"))


class TorchRanks:
    """The processes of a `torch.distributed` group.

    They talk over a gloo group of their own: in the memory of the processors, so that no accelerator is waited for, and
    apart from the collectives of the training. To make one is itself a collective.

    Args:
        group: Made by torch.

    Raises:
        RuntimeError: The group could not be made.
    """

    def __init__(self, group: ProcessGroup) -> None:
        torch: Any = sys.modules["torch"]
        self._distributed: Any = torch.distributed
        self._tensor, self._int64 = torch.tensor, torch.int64
        members: list[int] = self._distributed.get_process_group_ranks(group)
        everyone = len(members) == self._distributed.get_world_size()
        self.rank = group.rank()
        self._group = self._distributed.new_group(
            members, backend="gloo", use_local_synchronization=not everyone, group_desc="lrwatch"
        )

    def largest(self, numbers: Sequence[int]) -> Callable[[], Sequence[int]]:
        """See `Ranks.largest`."""
        tensor = self._tensor(numbers, dtype=self._int64)
        largest = self._distributed.ReduceOp.MAX
        work = self._distributed.all_reduce(tensor, op=largest, group=self._group, async_op=True)

        def result() -> Sequence[int]:
            work.wait()
            found: list[int] = tensor.tolist()
            return found

        return result


class Agreement:
    """What the ranks have agreed on; the training thread alone uses it.

    Args:
        ranks: The processes.
        every: Optimizer steps between two rounds, the same on every rank.
        limits: The bounds, the same on every rank.
        incarnation: Of this process, for the commands that come from rank 0.
        errors: Where rounds that bring nothing are counted: `ranks_differ`, `ranks_failed`.
        warn: Says a sentence of a kind once.

    Attributes:
        leads: Whether this is rank 0.
        order: The command that was agreed on last, the same on every rank, or None.
        max_token: Highest token that rank 0 had seen at the last round.
        taken: The command of rank 0 that needs no further round, as it was proposed.
        resumes: How often this process loaded a state.
        failed: A round failed; there will be none any more.
    """

    def __init__(
        self,
        ranks: Ranks,
        every: int,
        limits: Limits,
        *,
        incarnation: str,
        errors: Counter[str],
        warn: Callable[[str, str], None],
    ) -> None:
        self.leads = ranks.rank == 0
        self.incarnation = incarnation
        self.order: Desired | None = None
        self.max_token = 0
        self.taken: Desired | None = None
        self.resumes = 0
        self.failed = False
        self._errors = errors
        self._warn = warn
        self._ranks = ranks
        self._every = every
        self._limits = limits
        self._steps = 0
        self._wait: Callable[[], Sequence[int]] | None = None
        self._proposed: tuple[Desired, Desired] | None = None  # as it came, and with its first step

    def check(self, start_step: int) -> None:
        """Whether every rank was given the same bounds and the same cadence. Waits for all ranks.

        Raises:
            ValueError: They differ, on every rank.
        """
        mark = _mark(self._every, start_step, *(getattr(self._limits, name) for name in self._limits.__slots__))
        largest, smallest = self._ranks.largest([mark, -mark])()
        if largest != -smallest:
            raise ValueError("attach was given other bounds, another sync_every or start_step on another rank")

    def resume(self, incarnation: str, max_token: int) -> None:
        """A state was loaded: what was agreed before no longer counts."""
        self.incarnation, self.max_token = incarnation, max_token
        self.order = None
        self.resumes += 1

    def due(self) -> bool:
        """Count one optimizer step. -> whether the ranks are to `meet` now; that depends on nothing but the count."""
        self._steps += 1
        return self._steps % self._every == 0 and not self.failed

    def meet(self, proposal: Desired | None, step: int, standing: Standing, max_token: int, seen: int) -> None:
        """Read the round before, and begin the next one; never raises.

        Args:
            proposal: The newest command that rank 0 has let through and that was not taken yet; of rank 0.
            step: Optimizer steps done.
            standing: Where this rank stands.
            max_token: Highest token seen, of rank 0.
            seen: Optimizer steps that the adapter saw: a rank on which `step` is called too often must not count for another.
        """
        try:
            if self._wait is not None:
                self._read(self._wait())
            self._begin(None if proposal is self.taken else proposal, step, standing, max_token, seen)
        except Exception as error:  # noqa: BLE001  whatever a collective may raise
            self.failed, self._wait = True, None
            self._errors["ranks_failed"] += 1
            self._warn(
                "ranks", f"the ranks cannot agree any more, and go on at the scale that each of them has: {error!r}"
            )

    def _begin(self, proposal: Desired | None, step: int, standing: Standing, max_token: int, seen: int) -> None:
        self._proposed = None
        numbers = [_NOTHING] * 8
        if self.leads:
            numbers = [0, 0, 0, 0, 0, 0, self.resumes, max_token]
            if proposal is not None:
                first = max(proposal.apply_at_step or 0, step + self._every + 1)
                self._proposed = proposal, replace(proposal, apply_at_step=first)
                end = 0 if proposal.not_after_step is None else proposal.not_after_step + 1
                scale: int = _INTEGER.unpack(_FLOAT.pack(proposal.scale))[0]
                numbers[:6] = proposal.generation, scale, first, proposal.ramp_steps, end, int(proposal.reload)
        last = _NOTHING if standing.last_step is None else standing.last_step
        mark = _mark(step, seen, standing.scale, standing.generation, standing.commands, last, self.resumes)
        self._wait = self._ranks.largest([*numbers, mark, -mark])

    def _read(self, numbers: Sequence[int]) -> None:
        *told, largest, smallest = numbers
        generation, scale, first, ramp, end, reload, resumes, max_token = told
        if largest != -smallest:
            self._errors["ranks_differ"] += 1
            self._warn(
                "ranks_differ",
                "the ranks differ in their steps, scales or resumes; no command is taken until they agree",
            )
            return
        if resumes != self.resumes:  # begun before a state was loaded
            return
        self.max_token = max_token
        if not generation:
            return
        if self._proposed is not None:
            self.taken, self.order = self._proposed
        else:
            self.order = Desired(
                run="", incarnation=self.incarnation, generation=generation, token=max_token,
                scale=_FLOAT.unpack(_INTEGER.pack(scale))[0], apply_at_step=first, ramp_steps=ramp,
                not_after_step=end - 1 if end else None, reload=bool(reload),
            )  # fmt: skip


def _mark(*numbers: float) -> int:
    """One number that differs where any of them does; Python hashes numbers alike in every process."""
    return hash(numbers) & _HASH_MASK
