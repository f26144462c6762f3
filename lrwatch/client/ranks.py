"""One scale on every rank: the processes of a training agree on a command and on the step from which it counts.

Rank 0 alone reads and writes files. Every K optimizer steps, unconditionally and on every rank, a round begins: the
ranks find the largest of each of a few numbers, among them the newest command of rank 0. The round runs in the background
and is read K steps later, again on every rank, so that the training waits for it only if it is not over by then. All ranks
take the result before the same optimizer step::

    step n            rank 0 proposes a command, the round begins
    step n + K        the round is read; the command has an agreed first step, n + K + 1 or later
    its first step    every rank judges the command by the same bounds and the same past, and uses it or not

Each round also compares the states of the ranks. As long as they differ (another number of steps, another scale, a checkpoint
that only some have loaded) no command is taken, since its effect would be unknown.

A failed round ends the exchange for good: the ranks continue at the scale they have. Standard library only; torch is reached
through the group that the script passes.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence

from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.protocol import Desired, replace
from lrwatch.protocol.lean import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any, TypeGuard

# Optimizer steps between two rounds: a round costs some 100 us, and a command waits for it up to two times as long.
DEFAULT_SYNC_EVERY = 20

# Contribution of the other ranks where only rank 0 decides; every number of rank 0 is larger.
_NOTHING = -1
# Hashes of this many bits can be negated within 64.
_HASH_MASK = 2**62 - 1
_FLOAT, _INTEGER = struct.Struct("<d"), struct.Struct("<q")


class Ranks(Protocol):
    """The processes of a training, as the client uses them; for torch a process group is enough.

    Attributes:
        rank: Number of this process; process 0 reads and writes the files.
    """

    rank: int

    def largest(self, numbers: Sequence[int]) -> Callable[[], Sequence[int]]:
        """Start to find the largest of each number over all ranks, a collective that every rank starts in the same order.

        Args:
            numbers: Sixteen or fewer, each of 64 bits with sign.

        Returns:
            A function that waits for the result and returns it; it is called once.
        """


class ProcessGroup(Protocol):
    """The part of `torch.distributed.ProcessGroup` that is used here."""

    def rank(self) -> int:
        """Return the number of this process within the group."""

    def size(self) -> int:
        """Return the number of processes."""


def is_group(value: object) -> TypeGuard[ProcessGroup]:
    """Return whether `value` is a torch process group, by its shape."""
    return all(callable(getattr(value, name, None)) for name in ("rank", "size", "allreduce"))


def is_ranks(value: object) -> TypeGuard[Ranks]:
    """Return whether `value` can serve as `Ranks`, by its shape."""
    return all(hasattr(value, name) for name in ("rank", "largest"))


class TorchRanks:
    """The processes of a `torch.distributed` group.

    They communicate over a gloo group of their own: in the memory of the processors, so that no accelerator is waited for,
    and apart from the collectives of the training. Making it is itself a collective.

    Args:
        group: A process group of torch.

    Raises:
        RuntimeError: The gloo group could not be made.
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
        """Start one all-reduce of the numbers, see `Ranks.largest`."""
        tensor = self._tensor(numbers, dtype=self._int64)
        largest = self._distributed.ReduceOp.MAX
        work = self._distributed.all_reduce(tensor, op=largest, group=self._group, async_op=True)

        def result() -> Sequence[int]:
            work.wait()
            found: list[int] = tensor.tolist()
            return found

        return result


class Agreement:
    """The command that the ranks have agreed on; only the training thread uses it.

    Args:
        ranks: The processes.
        every: Optimizer steps between two rounds, the same on every rank.
        limits: The bounds, the same on every rank.
        incarnation: Incarnation of this process, for the commands that come from rank 0.
        errors: Counter of rounds without a result: `ranks_differ`, `ranks_failed`.
        warn: Function that logs a sentence, once a kind.

    Attributes:
        leads: Whether this is rank 0.
        order: The command that was agreed on last, the same on every rank, or None.
        max_token: Highest token that rank 0 had seen at the last round.
        taken: The command of rank 0 that needs no further round, as it was proposed.
        resumes: Number of times that this process loaded a state.
        failed: A round failed; there will be no more.
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

    def check(self, start_step: int, warm_steps: int, *, stepped: bool) -> bool:
        """Check that every rank has the same bounds, cadence, start step and warm start; waits for all ranks.

        Args:
            start_step: Optimizer steps done before.
            warm_steps: Length of the warm start, 0 for none.
            stepped: Whether the optimizer of this rank has stepped before.

        Returns:
            Whether that of any rank has.

        Raises:
            ValueError: They differ. Every rank raises it.
        """
        mark = _mark(
            self._every, start_step, warm_steps, *(getattr(self._limits, name) for name in Limits.__match_args__)
        )
        largest, smallest, any_stepped = self._ranks.largest([mark, -mark, int(stepped)])()
        if largest != -smallest:
            raise ValueError(
                "attach was called with other bounds, another sync_every, start_step or warm start on another rank"
            )
        return bool(any_stepped)

    def resume(self, incarnation: str, max_token: int) -> None:
        """Forget the agreed command, because a state was loaded."""
        self.incarnation, self.max_token = incarnation, max_token
        self.order = None
        self.resumes += 1

    def due(self) -> bool:
        """Count one optimizer step, and return whether the ranks `meet` now; that depends on the count alone."""
        self._steps += 1
        return self._steps % self._every == 0 and not self.failed

    def meet(self, proposal: Desired | None, step: int, scale_state: ScaleState, max_token: int, observed: int) -> None:
        """Read the previous round, and begin the next one; never raises.

        Args:
            proposal: On rank 0, the newest command that was accepted and not taken yet.
            step: Optimizer steps done.
            scale_state: State of this rank.
            max_token: Highest token seen, of rank 0.
            observed: Optimizer steps that the adapter observed: a rank on which `step` is called too often must not
                count for another.
        """
        try:
            if self._wait is not None:
                self._read(self._wait())
            self._begin(None if proposal is self.taken else proposal, step, scale_state, max_token, observed)
        except Exception as error:  # noqa: BLE001  a collective may raise anything
            self.failed, self._wait = True, None
            self._errors["ranks_failed"] += 1
            self._warn(
                "ranks", f"the ranks cannot agree any more; each of them continues at the scale it has: {error!r}"
            )

    def _begin(
        self, proposal: Desired | None, step: int, scale_state: ScaleState, max_token: int, observed: int
    ) -> None:
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
        last = _NOTHING if scale_state.last_step is None else scale_state.last_step
        target = _NOTHING if scale_state.ramp is None else scale_state.ramp.to_scale
        mark = _mark(
            step, observed, scale_state.scale, target, scale_state.generation, scale_state.commands, last, self.resumes
        )
        self._wait = self._ranks.largest([*numbers, mark, -mark])

    def _read(self, numbers: Sequence[int]) -> None:
        *agreed, largest, smallest = numbers
        generation, scale, first, ramp, end, reload, resumes, max_token = agreed
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
    """Return one number that differs where any of them does; Python hashes numbers alike in every process."""
    return hash(numbers) & _HASH_MASK
