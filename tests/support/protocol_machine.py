"""A machine that plays daemons and trainers against each other, with every accident in between: see tests/e2e/test_stateful.py.

Client, daemon, store and files are the real ones. What is driven is what would make a failure hard to repeat: the rounds of the client's
worker are called by hand instead of by its thread, the daemon's turns too, and its clock is set. A crash is a process that stops at a
chosen call: its objects are dropped without a word, and only what lies on the disk goes on.

After every rule these hold (I1 to I8 of the design):

I1  the optimizer's scale is that of the last command that took effect, or of the checkpoint
I2  a change is within the bounds of the trainer
I3  a generation has one effect at the most, and is journalled as acknowledged once
I4  a command has an effect on the incarnation that it names, only
I5  no command has an effect under a lower token than one that the trainer has seen
I6  what is said to be applied was applied; and at the end a command is applied and acknowledged within a few turns
I7  nothing is raised into the training, and no daemon sets its run aside
I8  the journal's chain holds

One file because the rules and the invariants are about the same few objects.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.quadratic import Training

from lrwatch.client import worker as client_worker
from lrwatch.client.adapter import CallableAdapter
from lrwatch.client.client import Client
from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.config import load
from lrwatch.control.directory import ControlDirectory
from lrwatch.daemon.loop import Daemon
from lrwatch.protocol import Desired, Observed, ProtocolError, decode_observed, publish
from lrwatch.protocol.process import Process, own_machine, own_process
from lrwatch.store import Entry, Store

RUN = "a"
LIMITS = Limits(min_scale=0.01, max_scale=1.0, max_factor_down=0.1, max_factor_up=2.0, max_commands=1000)
# Turns and rounds within which everything is settled once nothing more goes wrong.
SETTLED_AFTER = 40

STEPS = st.sampled_from([1, 30, 40, 50, 60, 80])
SCALES = st.sampled_from([1.0, 0.5, 0.25, 0.125, 0.06, 0.02, 0.005, 2.0])
WHERE = st.sampled_from(["before", "after"])

STRATEGIES = ("step", "plateau", "exponential", "cosine", "rescue", "observe")

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
        self.client = Client(
            CallableAdapter(self._use), str(machine.control),
            run=RUN, limits=LIMITS, key=None, poll_seconds=1e-9, metrics_file=True, start_step=start_step,
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

    def step(self) -> None:
        """Take one step, as a training loop does, and check what it used."""
        SEEN["steps"] += 1
        client, used = self.client, self.training.scale
        seen = client._max_token
        record = self.training.record()
        client.step(self.training.done, loss=record["loss"])
        assert used == self.expected, f"I1: a step used {used}, and {self.expected} is in force"
        if self.training.scale != self.expected:
            self._changed(self.expected, self.training.scale, seen)
            self.expected = self.training.scale
        assert client.scale == self.training.scale, "I1: what the client says is not what the optimizer has"
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
            if one.generation == generation and one.incarnation == client._incarnation
        ]
        assert found, (
            f"I4: {before} -> {after} by generation {generation}, which nobody sent to {client._incarnation[:6]}"
        )
        ramp = client._box.scale_state.ramp
        if any(one.ramp_steps > 1 for one in found):
            targets = [one.scale for one in found]
            assert min(before, *targets) <= after <= max(before, *targets), f"I1: {after} is off the ramp to {targets}"
            if ramp is not None or (client._incarnation, generation) in self.effects:
                self.effects.add((client._incarnation, generation))
                self._within_bounds(before, after)
                return
        else:
            found = [one for one in found if one.scale == after]
            assert found, f"I1: {after} is of no command"
            assert (client._incarnation, generation) not in self.effects, f"I3: generation {generation} had its effect"
        self.effects.add((client._incarnation, generation))
        SEEN["effects"] += 1
        assert max(one.token for one in found) >= seen, f"I5: token {found[0].token} won over {seen}"
        self._within_bounds(before, after)

    def _within_bounds(self, before: float, after: float) -> None:
        assert LIMITS.min_scale <= after <= LIMITS.max_scale, f"I2: {after}"
        factor = after / before
        assert LIMITS.max_factor_down * 0.999 <= factor <= LIMITS.max_factor_up * 1.001, f"I2: {before} -> {after}"

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
        self.daemon: Daemon | None = None
        self.store: Store | None = None

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
        state = entry.event.get("state") or entry.event.get("code") or entry.event.get("verb") or ""
        SEEN[f"{entry.event['event']} {state}".strip()] += 1

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
        """Check what the daemon has saved."""
        if self.daemon is None or self.store is None:
            return
        aside = {name: one.status.problem for name, one in self.daemon.fleet.bulkheads.aside.items()}
        assert not aside, f"I7: {aside}"
        assert self.store.journal_fault() is None, "I8"
        acknowledged = Counter(
            (entry.event["generation"]) for entry in self.store.journal() if entry.event["event"] == "acknowledged"
        )
        assert all(count == 1 for count in acknowledged.values()), f"I3: acknowledged {acknowledged}"


class ProtocolMachine(RuleBasedStateMachine):
    """The rules, the invariants, and what must come about at the end."""

    def __init__(self) -> None:
        super().__init__()
        shared = Path("/dev/shm")
        self.home = Path(tempfile.mkdtemp(prefix="lrwatch-", dir=shared if os.access(shared, os.W_OK) else None))
        self.runs = self.home / "runs"
        self.control = self.runs / RUN / "lrwatch"
        self.runs.joinpath(RUN).mkdir(parents=True)
        self.now, self.monotonic = 1_700_000_000.0, 1000.0
        self.mode, self.strategy = "auto", "plateau"
        self.published: list[Desired] = []
        self.old: dict[str, list[bytes]] = {"desired.json": [], "observed.json": []}
        self.checkpoints: list[dict[str, Any]] = []
        self.trainer: Trainer | None = None
        self.rival: Trainer | None = None
        self.other_process: subprocess.Popen[bytes] | None = None
        self.watchers = [Watcher(self, "state"), Watcher(self, "state2")]
        self._kill: tuple[str, str] | None = None
        self._directory_publish = ControlDirectory.publish
        self._worker_publish = vars(client_worker)["publish"]
        self._transaction = Store.transaction
        self._patch()

    # ---- the places at which a process can be killed --------------------------------------------------------------

    def _patch(self) -> None:
        """Note every command that is sent, and let a process end before or after it, a save, or a state of the trainer."""
        machine = self

        def send(directory: ControlDirectory, desired: Desired) -> None:
            machine.published.append(desired)
            machine._dying("publish", lambda: machine._directory_publish(directory, desired))
            machine._remember("desired.json")

        def say(folder: Any, name: str, data: bytes) -> None:
            machine._dying("say", lambda: machine._worker_publish(folder, name, data))
            machine._remember("observed.json")

        ControlDirectory.publish = send  # type: ignore[method-assign, assignment]
        vars(client_worker)["publish"] = say

    def _dying(self, place: str, act: Callable[[], None]) -> None:
        if self._kill == (place, "before"):
            SEEN[f"killed {place}"] += 1
            raise Killed
        act()
        if self._kill == (place, "after"):
            SEEN[f"killed {place}"] += 1
            raise Killed

    def _remember(self, name: str) -> None:
        path = self.control / name
        if path.exists():
            self.old[name] = [*self.old[name], path.read_bytes()][-20:]

    # ---- rules ----------------------------------------------------------------------------------------------------

    @initialize(
        mode=st.sampled_from(["auto", "auto", "approve"]), strategy=st.sampled_from(["plateau", "observe", "rescue"])
    )
    def begin(self, mode: str, strategy: str) -> None:
        """Start a training and a daemon that meet."""
        SEEN["games"] += 1
        self.mode, self.strategy = mode, strategy
        self.trainer = Trainer(self, own_process())
        self.trainer.round()
        self.watchers[0].start()
        self.watchers[0].turn()

    @rule(chunks=st.sampled_from([4, 8, 12, 16]), steps=STEPS)
    def play(self, chunks: int, steps: int) -> None:
        """Train, with the daemon beside it: what happens most of the time."""
        for _ in range(chunks):
            self._steps(steps)
            self.watchers[0].turn()

    @rule(chunks=st.sampled_from([1, 2, 3, 4]), steps=STEPS, scale=SCALES)
    def play_with_an_operator(self, chunks: int, steps: int, scale: float) -> None:
        """Train, with somebody who asks for a scale in between."""
        self.ask(0, "set", scale, 0)
        self.play(chunks, steps)

    @rule(chunks=st.sampled_from([1, 2, 3, 4]), steps=STEPS, scale=SCALES)
    def play_with_two_daemons(self, chunks: int, steps: int, scale: float) -> None:
        """Train, with two daemons that take their turns, if both live; the second one is asked for a scale."""
        self.ask(1, "set", scale, 0)
        for _ in range(chunks):
            self._steps(steps)
            for watcher in self.watchers:
                watcher.turn()

    @rule(steps=STEPS)
    def train_alone(self, steps: int) -> None:
        """Take steps that no daemon looks at."""
        self._steps(steps)

    def _steps(self, count: int) -> None:
        if self.trainer is not None:
            for number in range(count):
                self.trainer.step()
                if number in (0, count - 1):
                    self.trainer.round()
        self._pass(1.0)

    @rule(who=st.integers(0, 1))
    def turn(self, who: int) -> None:
        """Let a daemon take a turn."""
        self._pass(1.0)
        self.watchers[who].turn()

    @rule(who=st.integers(0, 1))
    def start_daemon(self, who: int) -> None:
        """Start a daemon: the one that was, or a second one with a state of its own."""
        self.watchers[who].start()
        self.watchers[who].turn()

    @rule(who=st.integers(0, 1))
    def crash_daemon(self, who: int) -> None:
        """Kill a daemon between two turns."""
        self.watchers[who].crash()

    @rule(who=st.integers(0, 1), where=WHERE)
    def kill_daemon_at_a_command(self, who: int, where: str) -> None:
        """Kill a daemon in the turn in which it sends a command, before or after; if it sends none, it lives."""
        self._kill = ("publish", where)
        self.turn(who)
        self._kill = None

    @rule(where=WHERE)
    @precondition(lambda self: self.trainer is not None)
    def kill_trainer_at_its_word(self, where: str) -> None:
        """Kill the training while its worker publishes."""
        assert self.trainer is not None
        self._kill = ("say", where)
        try:
            self.trainer.round()
        except Killed:
            self.trainer = None
        self._kill = None

    @rule(says_goodbye=st.booleans())
    @precondition(lambda self: self.trainer is not None)
    def end_trainer(self, says_goodbye: bool) -> None:
        """End the training, with a goodbye or without."""
        assert self.trainer is not None
        if says_goodbye:
            self.trainer.goodbye()
        self.trainer = None

    @rule()
    @precondition(lambda self: self.trainer is not None)
    def save_checkpoint(self) -> None:
        """Save what a resume needs."""
        assert self.trainer is not None
        self.checkpoints.append(self.trainer.client.state_dict())

    @rule(back=st.integers(0, 5))
    @precondition(lambda self: bool(self.checkpoints))
    def resume_from_a_checkpoint(self, back: int) -> None:
        """Resume in a new process, from the newest checkpoint or an older one."""
        state = self.checkpoints[max(len(self.checkpoints) - 1 - back, 0)]
        self.trainer = Trainer(self, own_process())
        self.trainer.resume(state)
        self.trainer.round()

    @rule(back=st.integers(0, 5))
    @precondition(lambda self: self.trainer is not None and bool(self.checkpoints))
    def go_back_in_the_same_process(self, back: int) -> None:
        """Load a checkpoint into the training that runs."""
        assert self.trainer is not None
        self.trainer.resume(self.checkpoints[max(len(self.checkpoints) - 1 - back, 0)])

    @rule()
    def start_anew_in_the_old_directory(self) -> None:
        """Start another run from step 0, in the directory of the one before."""
        self.trainer = Trainer(self, own_process())
        self.trainer.round()

    @rule(steps=STEPS)
    def second_trainer(self, steps: int) -> None:
        """Start a second training in the same directory by mistake, in a process that lives, or let it go on."""
        if self.rival is None:
            self.other_process = subprocess.Popen(["sleep", "1000"])
            stat = Path(f"/proc/{self.other_process.pid}/stat").read_bytes().rpartition(b")")[2].split()
            self.rival = Trainer(self, Process(self.other_process.pid, int(stat[19]), own_machine()))
        for _ in range(steps):
            self.rival.step()
        self.rival.round()

    @rule()
    @precondition(lambda self: self.rival is not None)
    def second_trainer_dies(self) -> None:
        """End the second training."""
        self._end_rival()

    @rule(name=st.sampled_from(["desired.json", "observed.json", "metrics.jsonl"]))
    def lose_a_file(self, name: str) -> None:
        """Delete a file of the control directory."""
        self.control.joinpath(name).unlink(missing_ok=True)

    @rule(name=st.sampled_from(["desired.json", "observed.json"]), back=st.integers(0, 19))
    def put_an_old_file_back(self, name: str, back: int) -> None:
        """Replace a file by an earlier content, as a copy that is put back, or a writer that was late."""
        if self.old[name]:
            publish(self.control, name, self.old[name][max(len(self.old[name]) - 1 - back, 0)])

    @rule(name=st.sampled_from(["desired.json", "observed.json", "metrics.jsonl"]), part=st.floats(0, 1))
    def tear_a_file(self, name: str, part: float) -> None:
        """Cut a file at any place, as a file system does that loses its newest pages."""
        path = self.control / name
        if path.exists():
            content = path.read_bytes()
            os.truncate(path, int(len(content) * part))

    @rule(
        scale=st.sampled_from([1e-300, 1e-3, 0.005, 0.04, 0.3, 0.9, 1.5, 1e300]),
        generation=st.integers(-2, 3),
        token=st.integers(-2, 2),
        addressed=st.booleans(),
        ramp=st.sampled_from([0, 0, 30]),
    )
    @precondition(lambda self: self.trainer is not None)
    def forge_a_command(self, scale: float, generation: int, token: int, addressed: bool, ramp: int) -> None:
        """Write a command as nobody should: beyond the bounds, to another incarnation, with any number and token."""
        assert self.trainer is not None
        client = self.trainer.client
        forged = Desired(
            run=RUN, incarnation=client._incarnation if addressed else "0" * 32, scale=scale, ramp_steps=ramp, reason="", actor="nobody",
            generation=max(1, client._worker.state.generation + generation), token=max(1, client._max_token + token), prev="",
        )  # fmt: skip
        ControlDirectory(self.control).publish(forged)
        self._steps(2)

    @rule(part=st.floats(0, 1))
    def repeat_lines(self, part: float) -> None:
        """Write lines of the log a second time."""
        path = self.control / "metrics.jsonl"
        if path.exists():
            lines = path.read_bytes().splitlines(keepends=True)
            with path.open("ab") as file:
                file.writelines(lines[int(len(lines) * part) :][:50])

    @rule(above=st.integers(0, 3))
    def disturb_claims(self, above: int) -> None:
        """Delete the claims of daemons, or leave one of a daemon that nobody knows."""
        claims = [int(path.name.split("-")[1]) for path in self.control.glob("controller-*")]
        if above:
            self.control.joinpath(f"controller-{max([0, *claims]) + above}").write_bytes(b"")
        else:
            for path in self.control.glob("controller-*"):
                path.unlink()

    @rule(seconds=st.sampled_from([-3600.0, 3600.0, -3e8, 3e8, -0.5, 0.0]))
    def step_the_clock(self, seconds: float) -> None:
        """Set the wall clock back or forward."""
        self.now += seconds

    @rule(
        who=st.integers(0, 1),
        verb=st.sampled_from(["set", "set", "set", "undo", "hold", "resume", "strategy", "extend", "approve", "deny"]),
        scale=SCALES,
        number=st.integers(1, 5000),
    )
    def ask(self, who: int, verb: str, scale: float, number: int) -> None:
        """Ask a daemon as an operator does; it answers at its next turn."""
        store = self.watchers[who].store
        if store is None:
            return
        argument = {"set": f"{scale}", "extend": f"{number}", "deny": "0"}.get(verb, "")
        if verb == "strategy":
            argument = json.dumps({"strategy": STRATEGIES[number % len(STRATEGIES)], "every": 40, "length": 3000})
        if verb in ("approve", "deny"):
            argument = str(self._newest_proposal(store) or number)
        store.request(RUN, "anna", verb, argument, self.now)

    # ---- invariants -----------------------------------------------------------------------------------------------

    @invariant()
    def what_is_said_was_done(self) -> None:
        """Check the trainer's word against what it did (I6), and the daemons (I3, I7, I8)."""
        for trainer in (self.trainer, self.rival):
            if trainer is not None:
                assert trainer.client.scale == trainer.training.scale == trainer.expected, "I1"
                said = self._said()
                if said is not None and said.status == "applied" and said.incarnation == trainer.client._incarnation:
                    sent = [
                        d
                        for d in self.published
                        if (d.incarnation, d.generation) == (said.incarnation, said.observed_generation)
                    ]
                    assert sent, f"I6: generation {said.observed_generation} is applied, and nobody sent it"
        SEEN["rules"] += 1
        for watcher in self.watchers:
            watcher.check()

    def teardown(self) -> None:
        """Let nothing more go wrong, and expect that a command of an operator comes through and is acknowledged."""
        try:
            self._settle()
        finally:
            for watcher in self.watchers:
                watcher.crash()
            self._end_rival()
            ControlDirectory.publish = self._directory_publish  # type: ignore[method-assign]
            vars(client_worker)["publish"] = self._worker_publish
            shutil.rmtree(self.home)

    def _settle(self) -> None:
        self._end_rival()
        self.watchers[1].crash()
        self.watchers[0].crash()
        if self.trainer is None:
            self.trainer = Trainer(self, own_process())
        self.trainer.step()
        self.trainer.round()
        watcher, trainer = self.watchers[0], self.trainer
        watcher.start()
        self._turns(4)
        assert watcher.store is not None
        for verb, argument in (("hold", ""), ("resume", ""), ("strategy", '{"strategy": "observe"}')):
            watcher.store.request(RUN, "anna", verb, argument, self.now)
        self._turns(2)
        wanted = trainer.client.scale / 2 if trainer.client.scale > 0.3 else min(1.0, trainer.client.scale * 2)
        number = watcher.store.request(RUN, "anna", "set", repr(wanted), self.now)
        self._turns(SETTLED_AFTER)
        answer = watcher.store.answer_to(number)
        assert answer is not None, f"I6: no answer to an operator; problems: {self._problems()}"
        assert answer["done"], f"I6: {answer}; problems: {self._problems()}"
        assert math.isclose(trainer.client.scale, wanted), f"I6: {trainer.client.scale} instead of {wanted}"
        assert watcher.daemon is not None
        (run,) = watcher.daemon.runs.values()
        assert run.commands.reconciler is not None
        assert run.commands.reconciler.pending is None, "I6: what was applied is not acknowledged"
        assert math.isclose(run.commands.scales[-1], wanted), f"I6: the daemon believes {run.commands.scales}"

    def _turns(self, count: int) -> None:
        assert self.trainer is not None
        for _ in range(count):
            self._pass(1.0)
            self.watchers[0].turn()
            self.trainer.round()
            self.trainer.step()
            self.trainer.round()

    # ---- looking --------------------------------------------------------------------------------------------------

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        self.monotonic += seconds

    def _said(self) -> Observed | None:
        try:
            return decode_observed(self.control.joinpath("observed.json").read_bytes())
        except (OSError, ProtocolError):
            return None

    def _newest_proposal(self, store: Store) -> int | None:
        found = [entry.id for entry in store.journal() if entry.event["event"] == "command"]
        return found[-1] if found else None

    def _problems(self) -> list[str]:
        daemon = self.watchers[0].daemon
        return [] if daemon is None else [*daemon.problems, *(run.problem for run in daemon.runs.values())]

    def _end_rival(self) -> None:
        if self.other_process is not None:
            self.other_process.kill()
            self.other_process.wait()
        self.rival = self.other_process = None
