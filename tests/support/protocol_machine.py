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

Beside them: a run on hold sends nothing, what needs an approval is not sent without one, a daemon that commands knows the scale in use, and no
cut stays that is neither proven nor chosen by a person (support/protocol_referee.py). That all this finds a fault is tested too:
support/planted_faults.py.

One file because the rules and the invariants are about the same few objects.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from support.protocol_players import RUN, SEEN, Killed, Trainer, Watcher

from lrwatch.client import worker as client_worker
from lrwatch.client.interlock import Limits
from lrwatch.control.directory import ControlDirectory
from lrwatch.core.command import Status
from lrwatch.protocol import Desired, Observed, ProtocolError, decode_observed, publish, replace
from lrwatch.protocol.process import Process, own_machine, own_process
from lrwatch.store import Store

LIMITS = Limits(min_scale=0.01, max_scale=1.0, max_factor_down=0.1, max_factor_up=2.0, max_commands=1000)
# Steps from one change to the next, in the games that have such a bound: so the trainer refuses what the daemon decides.
PAUSE = 150
# Turns and rounds within which everything is settled once nothing more goes wrong.
SETTLED_AFTER = 40

STEPS = st.sampled_from([1, 30, 40, 50, 60, 80])
SCALES = st.sampled_from([1.0, 0.5, 0.25, 0.125, 0.06, 0.02, 0.005, 2.0])
WHERE = st.sampled_from(["before", "after"])
WRONG = ("above", "below", "down", "up", "generation", "token", "incarnation", "expired")

STRATEGIES = ("step", "plateau", "exponential", "cosine", "rescue", "observe")


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
        self.mode, self.strategy, self.limits = "auto", "plateau", LIMITS
        self.in_use: dict[str, float] = {}  # incarnation to the scale after its newest step
        self.forged: set[str] = set()  # incarnations that somebody else than a daemon has commanded
        self.in_force: set[tuple[str, int]] = (
            set()
        )  # incarnation and generation of every command that a trainer has taken
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
            for watcher in machine.watchers:
                run = watcher.run
                if (
                    run is not None
                    and run.commands.reconciler is not None
                    and run.commands.reconciler.control is directory
                ):
                    watcher.sends(desired)
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
        mode=st.sampled_from(["auto", "auto", "approve"]),
        strategy=st.sampled_from(["plateau", "plateau", "observe", "rescue"]),
        pause=st.sampled_from([0, 0, PAUSE]),
    )
    def begin(self, mode: str, strategy: str, pause: int) -> None:
        """Start a training and a daemon that meet."""
        SEEN["games"] += 1
        self.mode, self.strategy, self.limits = mode, strategy, replace(LIMITS, min_steps_between=pause)
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

    def _steps(self, count: int, *, deaf: bool = False, seconds: float = 1.0) -> None:
        """Take steps; the worker looks after the first and the last one, or, `deaf`, not at all, as where its disk hangs."""
        if self.trainer is not None:
            for number in range(count):
                self.trainer.step()
                if number in (0, count - 1) and not deaf:
                    self.trainer.round()
        self._pass(seconds)

    # Rules that a random order of the others would rarely make: each leads to a place where something is on its way.

    def _ready(self) -> Trainer:
        """Let a trainer and the first daemon be there, so that commands go through. Return the trainer."""
        if self.trainer is None:
            self.start_anew_in_the_old_directory()
        assert self.trainer is not None
        self._end_rival()
        self.watchers[0].start()
        self.ask(0, "resume", 1.0, 0)
        for _ in range(2):
            self.watchers[0].turn()
            self._steps(2)
        return self.trainer

    def _ask_another(self, who: int) -> None:
        """Ask for a scale that is within the bounds of one change."""
        assert self.trainer is not None
        now = self.trainer.client.scale
        self._steps(self.limits.min_steps_between)
        self.ask(who, "set", now / 2 if now > 0.1 else 2 * now, 0)
        self.watchers[who].turn()

    @rule(chunks=st.sampled_from([15, 25]), seconds=st.sampled_from([1.0, 30.0]))
    def play_for_long(self, chunks: int, seconds: float) -> None:
        """Train for long enough that a trial begins, and is taken back."""
        self._ready()
        for _ in range(chunks):
            self._steps(50, seconds=seconds)
            self.watchers[0].turn()

    @rule(what=st.sampled_from(["restart", "checkpoint", "deaf"]))
    @precondition(lambda self: self.mode == "auto")
    def disturb_a_trial(self, what: str) -> None:
        """Train until a trial is on, let something happen, and train on until it should be over."""
        self.start_anew_in_the_old_directory()  # a young run begins a trial after some 350 steps
        trainer = self._ready()
        self.ask(0, "strategy", 1.0, STRATEGIES.index("plateau"))
        for _ in range(24):
            self._steps(50)
            self.watchers[0].turn()
            run = self.watchers[0].run
            if run is not None and run.pipeline.command.status is Status.ON_TRIAL:
                break
        else:
            return
        match what:
            case "restart":
                self.watchers[0].crash()
                self.watchers[0].start()
            case "checkpoint":
                self.checkpoints.append(trainer.client.state_dict())
            case _:
                self._steps(500, deaf=True)
        for _ in range(8):
            self._steps(50)
            self.watchers[0].turn()
        if what == "checkpoint":
            self.resume_from_a_checkpoint(0)
            for _ in range(8):
                self._steps(50)
                self.watchers[0].turn()

    @rule(steps=st.sampled_from([1, 1100, 2000]))
    def a_command_waits(self, steps: int) -> None:
        """Send a command to a trainer that hears it late."""
        self._ready()
        self._steps(30, seconds=30.0)
        self.watchers[0].turn()
        self._ask_another(0)
        self._steps(steps, deaf=True, seconds=30.0)
        self._steps(2)
        self.watchers[0].turn()

    @rule(steps=st.sampled_from([1100, 2000]), turns=st.sampled_from([1, 8, 15]))
    def a_decision_waits(self, steps: int, turns: int) -> None:
        """Let the trainer go on unheard and deaf in the middle of whatever the daemon is about."""
        for _ in range(turns):
            self._steps(50, seconds=30.0)
            self.watchers[0].turn()
        self._steps(steps, deaf=True, seconds=30.0)
        self.watchers[0].turn()
        self._steps(2)
        self.watchers[0].turn()

    @rule(back=st.integers(1, 3))
    def an_old_command_comes_back(self, back: int) -> None:
        """Put an old command into the place of the newest one, after both had their effect."""
        self._ready()
        for _ in range(2):
            self._ask_another(0)
            self._steps(4)
            self.watchers[0].turn()
        self._steps(self.limits.min_steps_between)
        self.put_an_old_file_back("desired.json", back)
        self._steps(2)

    @rule()
    def go_back_with_a_command_in_hand(self) -> None:
        """Load a checkpoint after the worker has accepted a command and before the step that would use it."""
        trainer = self._ready()
        self.checkpoints.append(trainer.client.state_dict())
        self._ask_another(0)
        trainer.round()
        trainer.resume(self.checkpoints[-1])
        self._steps(3)

    @rule()
    def go_back_behind_a_change(self) -> None:
        """Load the checkpoint of before a change, or of after it, in a new process."""
        trainer = self._ready()
        self.checkpoints.append(trainer.client.state_dict())
        self._ask_another(0)
        self._steps(4)
        self.resume_from_a_checkpoint(0)
        self._steps(4)
        self.watchers[0].turn()

    @rule()
    def another_trainer_answers(self) -> None:
        """Start a new trainer while a command for the one before is on its way, and let its worker accept the next one."""
        self._ready()
        self._ask_another(0)
        self.start_anew_in_the_old_directory()
        self.watchers[0].turn()
        self._steps(3)
        self._ask_another(0)
        assert self.trainer is not None
        self.trainer.round()
        self.watchers[0].turn()
        self._steps(3)

    @rule()
    def a_daemon_stops_and_goes_on(self) -> None:
        """Stop a daemon with a command on its way, until another one has taken over and commanded; then let it go on."""
        self._ready()
        stopped, other = self.watchers
        self._ask_another(0)
        other.start()
        for _ in range(4):
            self._steps(1, deaf=True, seconds=30.0)
            other.turn()
        self._ask_another(1)
        stopped.turn()
        self._steps(2)
        stopped.turn()
        other.turn()

    @rule(chunks=st.sampled_from([1, 15]))
    def hold_for_a_while(self, chunks: int) -> None:
        """Hold the run, ask for a scale all the same, and train."""
        self._ready()
        self.ask(0, "hold", 1.0, 0)
        self.watchers[0].turn()
        self._ask_another(0)
        for _ in range(chunks):
            self._steps(50)
            self.watchers[0].turn()
        self.ask(0, "resume", 1.0, 0)
        self.watchers[0].turn()

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
            if name == "observed.json":
                self._unreadable_is_not_absent()

    def _unreadable_is_not_absent(self) -> None:
        for watcher in self.watchers:
            run, trainer = watcher.run, self.trainer
            reconciler = None if run is None else run.commands.reconciler
            if reconciler is None or reconciler.observed is None or trainer is None or self.rival is not None:
                continue
            hears = reconciler.attached and reconciler.observed.incarnation == trainer.client._incarnation
            watcher.turn()
            assert reconciler.attached >= hears, "I7: a torn file ends the hearing of a trainer that is there"

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
        incarnation = self.trainer.client._incarnation if addressed else "0" * 32
        self._forge(scale, generation, token, incarnation=incarnation, ramp_steps=ramp)

    @rule(wrong=st.permutations(WRONG))
    def forge_commands_that_are_wrong_in_one_respect(self, wrong: list[str]) -> None:
        """Write commands that the trainer would take, but for one thing each."""
        self._ready()
        for one in wrong if not self.limits.min_steps_between else wrong[:1]:  # where each change costs many steps
            self._forge_a_command_that_is_wrong(one)

    def _forge_a_command_that_is_wrong(self, wrong: str) -> None:
        assert self.trainer is not None
        limits, client = self.limits, self.trainer.client
        at = {"above": limits.max_scale, "below": limits.min_scale, "down": limits.max_scale, "up": limits.min_scale}
        wanted = at.get(wrong, 0.5)
        for _ in range(7):  # until the wrong one is in reach; a change up is twice at the most
            if client.scale == wanted:
                break
            self._forge(min(max(wanted, client.scale / 10), 2 * client.scale))
        before = client.scale
        match wrong:
            case "above":
                self._forge(1.01 * limits.max_scale)
            case "below":
                self._forge(0.99 * limits.min_scale)
            case "down":
                self._forge(0.9 * limits.max_factor_down * before)
            case "up":
                self._forge(1.1 * limits.max_factor_up * before)
            case "generation":
                self._forge(0.9 * before, 0)
            case "token":
                self._forge(0.9 * before, 1, 1)  # of a daemon that came later
                self._forge(0.8 * before, 1, -1)
            case "incarnation":
                self._forge(0.9 * before, incarnation="0" * 32)
            case _:
                self._forge(0.9 * before, not_after_step=self.trainer.training.done)

    def _forge(self, scale: float, generation: int = 1, token: int = 0, **changes: Any) -> None:
        """Write a command with a number and a token so far above those that the trainer has seen, and let it go on."""
        assert self.trainer is not None
        client = self.trainer.client
        known = {"run": RUN, "incarnation": client._incarnation, "reason": "", "actor": "nobody", "prev": ""}
        number = max(1, client._worker.state.generation + generation)
        forged = Desired(
            **{**known, "generation": number, "token": max(1, client._max_token + token), "scale": scale, **changes}
        )
        self.forged.add(client._incarnation)
        ControlDirectory(self.control).publish(forged)
        self._steps(2 + self.limits.min_steps_between)

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
                    assert (said.incarnation, said.observed_generation) in self.in_force, (
                        f"I6: generation {said.observed_generation} is said to be applied, and no step has used it"
                    )
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
        self._steps(self.limits.min_steps_between)
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
            self.watchers[0].check()
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
