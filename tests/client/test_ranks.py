"""Several ranks, each a process of its own with torch.distributed over gloo: the same learning rate at the same step.

The processes are forked with torch imported. Longer trainings are behind the environment variable LONG_TESTS (`make test-ranks`).

One file because all of it drives the same processes.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.forked import TORCH, Forked
from support.rank_process import Options, rate
from support.waiting import eventually

import lrwatch
from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired, Observed, encode

# Seconds until a training of several processes is given up; they share few cores with others.
LONG = bool(os.environ.get("LONG_TESTS"))
PATIENCE = 1200.0 if LONG else 170.0
EVIL = 2**19
SCALES = (0.5, 0.25, 0.5, 1.0, 0.3, 0.6)


def on_loopback() -> dict[str, str]:
    """The environment of a rank: all ranks are on this machine."""
    return {**os.environ, "GLOO_SOCKET_IFNAME": "lo"}


class Job:
    """A training on several ranks, and the daemon's end of it."""

    def __init__(self, home: Path, size: int, **options: Any) -> None:
        self.home, self.size, self.options = home, size, options
        self.control = ControlDirectory(home / "control")
        self.processes: list[Forked] = []
        self.life = 0
        self.generation = 0

    def start(self, **more: Any) -> None:
        """Start all ranks."""
        self.life += 1
        for rank in range(self.size):
            options: Options = {"rank": rank, "size": self.size, "home": str(self.home), "life": self.life}
            text = json.dumps({**options, **self.options, **more})
            command = [Path(__file__).parents[1] / "support" / "rank_process.py", text]
            with self._errors(rank).open("wb") as errors:
                self.processes.append(Forked(command, TORCH, env=on_loopback(), stderr=errors))

    def _errors(self, rank: int) -> Path:
        return self.home / f"stderr-{self.life}-{rank}"

    @property
    def lives(self) -> bool:
        """Whether all ranks still run."""
        return all(process.poll() is None for process in self.processes)

    def hello(self) -> Observed:
        """Wait until the trainer of this life says hello."""

        def hello() -> Observed | None:
            observed = self.control.read_observed()
            assert self.lives, [self._errors(rank).read_text() for rank in range(self.size)]
            return observed if observed is not None and observed.incarnation != getattr(self, "_before", None) else None

        observed = eventually(hello, timeout=PATIENCE, what="a hello")
        self._before = observed.incarnation
        return observed

    def command(self, scale: float, incarnation: str, **changes: Any) -> Desired:
        """The next command."""
        self.generation += 1
        values: dict[str, Any] = {
            "run": "", "incarnation": incarnation, "generation": self.generation, "token": 1, "scale": scale,
        }  # fmt: skip
        return Desired(**(values | changes))

    def end(self) -> list[str]:
        """Wait for all ranks. Return their standard errors."""
        errors = []
        for rank, process in enumerate(self.processes):
            code = process.wait(PATIENCE)
            errors.append(self._errors(rank).read_text())
            assert code == 0, errors[-1]
        self.processes.clear()
        return errors

    def kill(self) -> None:
        """End all ranks by force."""
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.processes.clear()

    def log(self, rank: int, life: int = 0) -> list[float]:
        """The learning rates that the optimizer of this rank used, from the first step of that life."""
        data = (self.home / f"log-{life or self.life}-{rank}").read_bytes()
        return list(struct.unpack(f"{len(data) // 8}d", data[: len(data) // 8 * 8]))

    def state(self, rank: int) -> dict[str, Any]:
        """What this rank left at its end."""
        found: dict[str, Any] = json.loads((self.home / f"state-{self.life}-{rank}.json").read_text())
        return found

    def scales(self, rank: int, life: int = 0, first: int = 1) -> list[float]:
        """Effective learning rate over the schedule's, step by step."""
        found = []
        for step, used in enumerate(self.log(rank, life), start=first):
            scale = next((scale for scale in {1.0, *SCALES, 0.125} if scale * rate(step) == used), None)
            assert scale is not None, (step, used, rate(step))
            found.append(scale)
        return found


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    made: list[Job] = []

    def make(size: int, **options: Any) -> Job:
        home = tmp_path / f"job{len(made)}"
        home.mkdir()
        made.append(Job(home, size, **options))
        return made[-1]

    yield make
    for one in made:
        one.kill()


class Hostile:
    """A daemon that is heard now and then, amid a neighbour's garbage and a rank 0 that is stopped at any time."""

    def __init__(self, job: Job, chance: random.Random) -> None:
        self.job, self.chance = job, chance
        self.applied: dict[int, tuple[int, float]] = {}
        self.stops = self.torn = 0
        self._sent: Desired | None = None

    def turn(self) -> None:
        """Read the answer, and do something."""
        job, chance = self.job, self.chance
        observed = job.control.read_observed()
        if observed is None:
            return
        if (
            observed.status == "applied"
            and self._sent is not None
            and observed.observed_generation == self._sent.generation
        ):
            assert observed.applied_step is not None
            assert observed.applied_step <= observed.step
            self.applied[observed.observed_generation] = observed.applied_step, observed.scale
            self._sent = None
        elif observed.observed_generation == EVIL:  # the answer to ours is hidden by the answer to a forged one
            self._sent = None
        match chance.randrange(4):
            case 0 if self._sent is None:
                self._sent = job.command(SCALES[job.generation % len(SCALES)], observed.incarnation)
                job.control.publish(self._sent)
            case 0 if self._sent is not None:  # once more, in case it was torn over before it was read
                job.control.publish(self._sent)
            case 1:
                self._tear(observed)
            case 2:
                self._stop(job.processes[0].pid)

    def _tear(self, observed: Observed) -> None:
        """Something in the place of the command, written without any care."""
        chance = self.chance
        evil = encode(Desired(run="", incarnation=observed.incarnation, generation=EVIL, token=1, scale=1e-300))
        whole = encode(Desired(run="", incarnation="other", generation=2**50, token=2**50, scale=0.125))
        content = chance.choice([evil[: chance.randrange(len(evil))], evil, whole, b"", chance.randbytes(5000)])
        path = self.job.control.path / "desired.json"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(handle, content)
        os.close(handle)
        self.torn += 1

    def _stop(self, pid: int) -> None:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.chance.uniform(0.0, 0.05))
        os.kill(pid, signal.SIGCONT)
        self.stops += 1


def same(logs: Sequence[list[float]]) -> bool:
    """Whether all ranks used the same learning rates, as far as the shortest log goes."""
    shortest = min(map(len, logs))
    return all(log[:shortest] == logs[0][:shortest] for log in logs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "steps"),
    [
        (2, 4_000),
        (4, 2_000),
        pytest.param(2, 10_000, marks=pytest.mark.skipif(not LONG, reason="long")),
        pytest.param(2, 100_000, marks=pytest.mark.skipif(not LONG, reason="long")),
        pytest.param(4, 10_000, marks=pytest.mark.skipif(not LONG, reason="long")),
    ],
)
def test_all_ranks_use_the_same_learning_rates_whatever_happens_to_rank_0(
    job: Callable[..., Job], size: int, steps: int
) -> None:
    training = job(size, steps=steps, pace=3e-4 if steps < 5_000 else 1e-4)
    training.start()
    training.hello()
    daemon = Hostile(training, random.Random(size))
    deadline = time.monotonic() + PATIENCE
    while training.lives and time.monotonic() < deadline:
        daemon.turn()
        time.sleep(0.002)
    training.end()
    logs = [training.log(rank) for rank in range(size)]
    assert [len(log) for log in logs] == [steps] * size
    assert all(log == logs[0] for log in logs)
    scales = training.scales(0)
    assert len(daemon.applied) >= 3, (daemon.applied, training.state(0))
    assert daemon.stops > 3
    assert daemon.torn > 3
    for first, scale in daemon.applied.values():
        assert scales[first - 1] == scale, (first, scale)
    states = [training.state(rank)["state"] for rank in range(size)]
    assert all(state == states[0] for state in states)
    assert all(not training.state(rank)["errors"] for rank in range(1, size))
    assert not list(training.home.glob("not-for-rank-*")), "a rank other than 0 touched the disk"


@pytest.mark.slow
def test_a_command_counts_from_a_step_that_was_agreed_ahead_and_is_answered_when_it_has_come(
    job: Callable[..., Job],
) -> None:
    training = job(2, steps=3_000, sync_every=50)
    training.start()
    observed = training.hello()
    training.control.publish(training.command(0.5, observed.incarnation, apply_at_step=2_000, ramp_steps=3))
    pending = False

    def applied() -> Observed | None:
        nonlocal pending
        observed = training.control.read_observed()
        assert observed is not None
        pending = pending or observed.status == "pending"
        return observed if observed.status == "applied" else None

    answer = eventually(applied, timeout=PATIENCE, what="applied")
    training.end()
    assert pending
    assert answer.applied_step == 2_000
    logs = [training.log(rank) for rank in range(2)]
    assert logs[0] == logs[1]
    ratios = [round(used / rate(step), 9) for step, used in enumerate(logs[0], start=1)]
    assert ratios[1_998:2_003] == [1.0, round(5 / 6, 9), round(2 / 3, 9), 0.5, 0.5]
    assert set(ratios[2_002:]) == {0.5}


@pytest.mark.slow
def test_a_job_that_is_killed_and_started_again_goes_on_alike_on_every_rank(job: Callable[..., Job]) -> None:
    chance = random.Random(7)
    training = job(2, steps=200_000, checkpoint_every=200)
    resume, before = 0, 1.0
    for scale in (0.5, 0.25, 0.5):
        training.start(resume=resume)
        training.hello()  # of the attach; the checkpoint that is loaded then brings another

        def resumed(resume: int = resume) -> Observed | None:
            observed = training.control.read_observed()
            return observed if observed is not None and (observed.resumed_from_step or 0) == resume else None

        observed = eventually(resumed, timeout=PATIENCE, what="a hello from the checkpoint")
        training._before = observed.incarnation
        assert observed.scale == before
        training.control.publish(training.command(scale, observed.incarnation))

        def applied(scale: float = scale) -> bool:
            observed = training.control.read_observed()
            return observed is not None and observed.status == "applied" and observed.scale == scale

        eventually(applied, timeout=PATIENCE, what="applied")
        answer = training.control.read_observed()
        assert answer is not None

        def checkpointed(step: int = answer.step) -> bool:
            return max(_checkpoints(training.home), default=0) > step

        eventually(checkpointed, timeout=PATIENCE, what="a checkpoint")
        training.processes[chance.randrange(2)].kill()  # the other one is left to notice
        time.sleep(chance.uniform(0.0, 0.02))
        training.kill()
        logs = [training.log(rank) for rank in range(2)]
        assert same(logs)
        scales = training.scales(0, first=resume + 1)
        assert scales[0] == before
        changes = [step for step in range(1, len(scales)) if scales[step] != scales[step - 1]]
        assert len(changes) == 1, "never twice, never lost"
        resume, before = max(_checkpoints(training.home)), scale
        states = [json.loads((training.home / f"checkpoint-{resume}-{rank}.json").read_text()) for rank in range(2)]
        assert states[0] == states[1]
        assert states[0]["scale"] == scale


def _checkpoints(home: Path) -> list[int]:
    """Steps of which both ranks have a checkpoint."""
    of_rank = [{int(path.name.split("-")[1]) for path in home.glob(f"checkpoint-*-{rank}.json")} for rank in range(2)]
    return sorted(of_rank[0] & of_rank[1])


@pytest.mark.slow
def test_ranks_that_differ_take_no_command_and_say_so_once(job: Callable[..., Job]) -> None:
    training = job(2, steps=1_000, stray=5)
    training.start()
    observed = training.hello()
    training.control.publish(training.command(0.5, observed.incarnation))
    errors = training.end()
    for rank in range(2):
        assert set(training.scales(rank)) == {1.0}
        assert training.state(rank)["errors"]["ranks_differ"] > 10
        assert errors[rank].count("the ranks differ") == 1
    last = training.control.read_observed()
    assert last is not None
    assert last.status == "pending"


@pytest.mark.slow
def test_bounds_that_differ_between_the_ranks_are_told_at_once_and_to_all(tmp_path: Path) -> None:
    script = """
import sys, torch.distributed as dist, lrwatch
rank, home = int(sys.argv[1]), sys.argv[2]
dist.init_process_group("gloo", init_method=f"file://{home}/rendezvous", rank=rank, world_size=2)
try:
    lrwatch.attach(None, home + "/control", ranks=dist.group.WORLD, min_scale=0.1 * (1 + rank))
except ValueError as error:
    print(error)
"""
    ranks = []
    for rank in range(2):
        with (tmp_path / f"stdout-{rank}").open("wb") as out:
            ranks.append(Forked(["-c", script, str(rank), str(tmp_path)], TORCH, env=on_loopback(), stdout=out))
    for rank, process in enumerate(ranks):
        process.wait(PATIENCE)
        assert "other bounds" in (tmp_path / f"stdout-{rank}").read_text()
    assert not (tmp_path / "control").exists()


class Alone:
    """Ranks of one's own, as for a framework without torch."""

    def __init__(self) -> None:
        self.rank = 0
        self.rounds = 0
        self.broken = False

    def largest(self, numbers: Sequence[int]) -> Callable[[], Sequence[int]]:
        self.rounds += 1
        if self.broken:
            raise ConnectionError("the network is gone")
        return lambda: numbers


def test_when_the_ranks_cannot_be_reached_any_more_the_training_goes_on_and_commands_are_refused(
    pair: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ranks = Alone()
    ends = pair(ranks=ranks, sync_every=2)
    assert ends.send(0.5).status == "pending"
    scales = []
    for _ in range(8):
        ends.client.step()
        scales.append(ends.client.scale)
    assert scales == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert (ends.observed.status, ends.observed.applied_step, ranks.rounds) == ("applied", 5, 4)
    ranks.broken = True
    ends.send(0.25)
    for _ in range(10):
        ends.client.step()
    assert (ends.observed.status, ends.observed.code, ends.client.scale) == ("rejected", "apply_failed", 0.5)
    assert ends.client.errors == {"ranks_failed": 1}
    assert caplog.text.count("cannot agree any more") == 1
    assert ranks.rounds == 5


def test_a_resume_drops_what_was_being_agreed_and_keeps_the_cadence(pair: Callable[..., Any]) -> None:
    ranks = Alone()
    ends = pair(ranks=ranks, sync_every=2)
    ends.client.step()
    ends.send(0.5)
    ends.client.step()  # proposed here
    ends.client.load_state_dict(ends.client.state_dict())
    for _ in range(8):
        ends.client.step()
    assert (ends.client.scale, ends.observed.status, ranks.rounds) == (1.0, "hello", 5)
    ends.send(0.5, token=3)
    for _ in range(6):
        ends.client.step()
    assert (ends.client.scale, ends.observed.status) == (0.5, "applied")
    assert ends.client.state_dict()["max_token"] == 3


def test_a_token_that_went_stale_before_the_round_is_answered(pair: Callable[..., Any]) -> None:
    ends = pair(ranks=Alone(), sync_every=2)
    ends.send(0.5, token=3)
    ends.send(5.0, token=7)
    for _ in range(6):
        ends.client.step()
    assert ends.client.scale == 1.0
    assert ends.send(0.5, token=7).status == "pending"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"ranks": 3}, TypeError, "ranks is a torch.distributed process group"),
        ({"sync_every": 0}, ValueError, "sync_every is 1 or more"),
        ({"sync_every": 2.0}, TypeError, "sync_every is a whole number"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        lrwatch.attach(None, tmp_path / "control", **arguments)
    assert not (tmp_path / "control").exists()
