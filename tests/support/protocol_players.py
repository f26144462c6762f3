"""The players of the games in tests/e2e/test_stateful.py: a trainer and a daemon, each with what must hold for it.

Client, daemon, store and files are the real ones; support/protocol_machine.py drives them, and support/protocol_referee.py compares
what a daemon sends and journals with what the trainers did.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from support.protocol_referee import Referee
from support.quadratic import Training

from lrwatch.client.adapter import CallableAdapter
from lrwatch.client.client import Client
from lrwatch.client.interlock import ScaleState
from lrwatch.config import load
from lrwatch.daemon.loop import Daemon
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.protocol import Desired, Process
from lrwatch.store import Entry, Store

if TYPE_CHECKING:
    from support.protocol_machine import ProtocolMachine

RUN = "a"

SEEN: Counter[str] = Counter()
"""What has happened in all games so far, so that a test can tell whether anything has."""


class Killed(BaseException):
    """The process ends here."""


class Trainer:
    """A training process with its client, as far as it lives."""

    def __init__(
        self, machine: ProtocolMachine, process: Process | None, *, start_step: int = 0, scale: float = 1.0
    ) -> None:
        self.machine = machine
        self.training = Training()
        self.training.done = start_step
        self.expected = scale  # until a command has its effect
        self.effects: set[tuple[str, int]] = set()
        self.resumed: ScaleState | None = None  # by the checkpoint, whose ramp goes on
        self.changes = 0  # of the scale, as the checkpoint says and as seen since
        self._token = 0  # of the newest command that took effect
        self._generation = 0  # of the newest command that took effect, or was found to be in effect
        self.client = Client(
            CallableAdapter(self._use), str(machine.control),
            run=RUN, limits=machine.limits, key=None, poll_seconds=1e-9, metrics_file=True, start_step=start_step,
        )  # fmt: skip
        worker = self.client._worker
        worker._process = worker._rivals._process = process

    def _use(self, scale: float) -> None:
        self.training.scale = scale

    def resume(self, state: dict[str, Any]) -> None:
        """Load a checkpoint."""
        self.client.load_state_dict(json.loads(json.dumps(state)))
        self.training.done = state["step"]
        self.expected = state["scale"]
        self.resumed = self.client._box.scale_state
        self.changes, self._generation = self.resumed.commands, self.resumed.generation

    def step(self) -> None:
        """Take one step, as a training loop does, and check what it used."""
        SEEN["steps"] += 1
        client, used = self.client, self.training.scale
        seen = client._max_token
        record = self.training.record()
        client.step(self.training.done, loss=record["loss"])
        assert used == self.expected, f"I1: a step used {used}, and {self.expected} is in force"
        state = client._box.scale_state
        if state.generation != self._generation:
            self._generation = state.generation
            self.machine.in_force.add((client.incarnation, state.generation))
        if self.training.scale != self.expected:
            self._changed(self.expected, self.training.scale, seen)
            self.expected = self.training.scale
        self.machine.in_use[client.incarnation] = client.scale
        assert client.scale == self.training.scale, "I1: what the client says is not what the optimizer has"
        assert state.commands <= self.changes, f"I3: {state.commands} changes are counted, and {self.changes} were made"
        assert client._box.errors["step"] == 0, f"I7: {dict(client.errors)}"

    def _changed(self, before: float, after: float, seen: int) -> None:
        """Find the command that has changed the scale, and check that it might."""
        client = self.client
        generation = client._box.scale_state.generation
        if self.resumed is not None and self.resumed.ramp is not None and self.resumed.generation == generation:
            target = self.resumed.ramp.to_scale
            assert min(before, target) <= after <= max(before, target), f"I1: {after} is off the ramp to {target}"
            self._within_bounds(before, after)
            return
        found = [
            one
            for one in self.machine.published
            if one.generation == generation and one.incarnation == client.incarnation
        ]
        assert found, (
            f"I4: {before} -> {after} by generation {generation}, which nobody sent to {client.incarnation[:6]}"
        )
        ramp = client._box.scale_state.ramp
        if any(one.ramp_steps > 1 for one in found):
            targets = [one.scale for one in found]
            assert min(before, *targets) <= after <= max(before, *targets), f"I1: {after} is off the ramp to {targets}"
            if (client.incarnation, generation) in self.effects or (ramp is None and after not in targets):
                self._within_bounds(before, after)
                return
        else:
            found = [one for one in found if one.scale == after]
            assert found, f"I1: {after} is of no command"
            assert (client.incarnation, generation) not in self.effects, f"I3: generation {generation} had its effect"
        self.effects.add((client.incarnation, generation))
        self.changes += 1
        SEEN["effects"] += 1
        token, seen = max(one.token for one in found), max(seen, self._token)
        assert token >= seen, f"I5: token {token} won over {seen}"
        self._token = token
        lasts = max(self.training.done + 1 if one.not_after_step is None else one.not_after_step for one in found)
        assert self.training.done <= lasts, f"I2: generation {generation} took effect after its last step {lasts}"
        self._within_bounds(before, after)

    def _within_bounds(self, before: float, after: float) -> None:
        limits = self.machine.limits
        assert limits.min_scale <= after <= limits.max_scale, f"I2: {after}"
        factor = after / before
        assert limits.max_factor_down * 0.999 <= factor <= limits.max_factor_up * 1.001, f"I2: {before} -> {after}"

    def round(self) -> None:
        """Let the worker do one round."""
        worker = self.client._worker
        worker.round()
        assert worker.errors["internal"] == 0, f"I7: {worker._last_error!r}"

    def goodbye(self) -> None:
        """End as a training does that ends well."""
        worker = self.client._worker
        worker._goodbye = "close"
        worker.round(reading=False)


class Watcher:
    """A daemon process with a state directory of its own, as far as it lives."""

    def __init__(self, machine: ProtocolMachine, name: str) -> None:
        self._machine = machine
        self._state = machine.home / name
        self.referee = Referee(machine.in_force, machine.forged, machine.in_use)
        self.faults: list[str] = []
        self.daemon: Daemon | None = None
        self.store: Store | None = None

    @property
    def run(self) -> WatchedRun | None:
        """The run that it watches, as far as it lives and has found it."""
        return None if self.daemon is None else self.daemon.runs.get(RUN)

    def start(self) -> None:
        """Start, on what an earlier one has left."""
        if self.daemon is not None:
            return
        machine = self._machine
        flags = {
            "watch.paths": (str(machine.runs),), "policy.mode": machine.mode, "policy.strategy": machine.strategy,
            "policy.length": 3000, "policy.every": 40, "policy.max_commands": 1000, "detect.horizon": 60, "run.name": RUN, "journal.in_store": 100, "journal.files": 2,
        }  # fmt: skip
        self.store = Store(self._state, exclusive=True)
        self.daemon = Daemon(
            load(flags=flags), self.store, self._heard, clock=lambda: machine.now, monotonic=lambda: machine.monotonic
        )
        self.daemon.discover()

    def _heard(self, entry: Entry) -> None:
        event = entry.event
        state = event.get("state") or event.get("code") or event.get("verb") or ""
        SEEN[f"{event['event']} {state} {event.get('cause') or ''}".strip()] += 1
        self._judge(lambda: self.referee.heard(entry))

    def _judge(self, check: Callable[[], None]) -> None:
        """Keep what breaks inside a turn for `check`: the bulkhead of the run would take it for a fault of the daemon."""
        try:
            check()
        except AssertionError as error:
            self.faults.append(str(error))

    def sends(self, desired: Desired) -> None:
        """Check a command that is about to be written."""
        assert self.store is not None
        assert self.run is not None
        assert self.run.commands.reconciler is not None
        reconciler, saved = self.run.commands.reconciler, self.store.load_run(RUN)
        self._judge(lambda: self.referee.sent(desired, reconciler, saved))

    def crash(self) -> None:
        """Drop everything; the system closes the files of a process that is killed."""
        if self.daemon is not None and self.store is not None:
            self.daemon.close()
            self.store.close()
            self.daemon = self.store = None

    def turn(self) -> None:
        """Take one turn."""
        if self.daemon is None:
            return
        try:
            self.daemon.turn()
        except Killed:
            self.crash()

    def check(self) -> None:
        """Check what the daemon has saved, and what it is waiting for."""
        assert not self.faults, self.faults[0]
        if self.daemon is None or self.store is None:
            return
        aside = {name: one.status.problem for name, one in self.daemon.fleet.bulkheads.aside.items()}
        assert not aside, f"I7: {aside}"
        assert self.store.journal_fault() is None, "I8"
        acknowledged = Counter(
            (entry.event["generation"]) for entry in self.store.journal() if entry.event["event"] == "acknowledged"
        )
        assert all(count == 1 for count in acknowledged.values()), f"I3: acknowledged {acknowledged}"
        if (run := self.run) is not None:
            self.referee.look(run)
