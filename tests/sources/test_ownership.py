"""Several logs of one training: each value counts once, whichever log is read first."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lrwatch.core.sample import Sample
from lrwatch.daemon.logs import RunLogs
from lrwatch.sources.attempts import attempt
from lrwatch.sources.source import PATIENCE
from lrwatch.store import Store

Row = tuple[int, float]
Writer = Callable[[Sequence[Row]], list[bytes]]


def curve(first: int, last: int, every: int = 1, seed: int = 0) -> list[Row]:
    """Rows of a loss that falls."""
    random = np.random.default_rng(seed)
    return [(step, 1.0 + 9.0 / step + 0.01 * random.standard_normal()) for step in range(first, last + 1, every)]


def client(rows: Sequence[Row]) -> list[bytes]:
    """As lrwatch's client writes it."""
    return [json.dumps({"lr": 0.1, "scale": 1.0, "loss": loss, "step": step}).encode() + b"\n" for step, loss in rows]


def lines(rows: Sequence[Row]) -> list[bytes]:
    """JSON lines."""
    return [json.dumps({"step": step, "train_loss": loss, "lr": 0.1}).encode() + b"\n" for step, loss in rows]


def csv(rows: Sequence[Row]) -> list[bytes]:
    """A table."""
    return [b"step,loss,lr\n", *(f"{step},{loss},0.1\n".encode() for step, loss in rows)]


def text(rows: Sequence[Row]) -> list[bytes]:
    """Text for people, with few digits."""
    return [f"step {step} | loss {loss:.4f} | lr 1e-01\n".encode() for step, loss in rows]


def stepless(rows: Sequence[Row]) -> list[bytes]:
    """What Hugging Face's Trainer prints."""
    return [f"{{'loss': {loss:.4f}, 'grad_norm': 1.5, 'learning_rate': 0.1}}\n".encode() for _, loss in rows]


class Logs:
    """The logs of one run in a directory, as they grow; what counts of them is collected.

    Attributes:
        samples: All samples that counted.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.store = Store(None)
        self.names: list[str] = []
        self.samples: list[Sample] = []
        self.now = 1_000_000.0
        self.logs = RunLogs("a", "auto", self.store)

    def add(self, name: str, content: bytes = b"", *, age: float = 0.0) -> None:
        """Let a log appear, written `age` seconds ago."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (self.now - age, self.now - age))
        self.names.append(name)
        self.logs.add(path)

    def write(self, name: str, content: bytes) -> None:
        """Append to a log."""
        with (self.home / name).open("ab") as file:
            file.write(content)
        os.utime(self.home / name, (self.now, self.now))

    def read(self, *, seconds: float = 1.0, final: bool = False) -> list[Sample]:
        """Read all that is there. -> what counts of it."""
        self.now += seconds
        found: list[Sample] = []
        for batch in itertools.chain(*(self.logs.read(final=final, now=self.now) for _ in range(3))):
            if self.logs.anew:
                self.samples, found = [], []
            found += batch.samples()
        self.samples += found
        return found

    def restart(self) -> None:
        """End the process behind a save, and start another."""
        with self.store.transaction():
            self.logs.save()
        state = json.loads(json.dumps(self.logs.state()))
        self.logs.close()
        self.logs = RunLogs("a", "auto", self.store)
        for name in self.names:
            self.logs.add(self.home / name)
        self.logs.restore(state)

    def losses(self) -> list[tuple[int, float]]:
        """Step and value of the training losses that counted."""
        return [(s.step, s.value) for s in self.samples if s.metric in ("loss", "train_loss")]

    def close(self) -> None:
        """Close all."""
        self.logs.close()
        self.store.close()


@pytest.fixture
def logs(tmp_path: Path) -> Logs:
    return Logs(tmp_path)


# ---- copies -----------------------------------------------------------------------------------------------------

# A log, its name, and a worse one of the same training with its name and every how many steps it writes.
PAIRS: list[tuple[Writer, str, Writer, str]] = [
    (client, "lrwatch/metrics.jsonl", text, "train.log"),
    (client, "lrwatch/metrics.jsonl", stepless, "train.log"),
    (client, "lrwatch/metrics.jsonl", csv, "metrics.csv"),
    (lines, "metrics.jsonl", text, "train.log"),
    (csv, "metrics.csv", text, "a.log"),
    (csv, "metrics.csv", stepless, "a.log"),
    (csv, "a.csv", lines, "b.jsonl"),
    (text, "a.log", text, "b.log"),
]
# Pairs of equal rank: the first that is there is the better one.
EQUALS = ((csv, lines), (text, text))


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize(("better", "name", "worse", "other"), PAIRS, ids=lambda part: getattr(part, "__name__", part))
@given(
    turns=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.booleans()), max_size=12),
    every=st.sampled_from([1, 3, 10]),
    back=st.integers(0, 60),
    is_first=st.booleans(),
)
def test_what_counts_is_the_same_with_and_without_a_copy_for_any_interleaving(
    tmp_path_factory: pytest.TempPathFactory,
    better: Writer,
    name: str,
    worse: Writer,
    other: str,
    turns: list[tuple[int, int, bool]],
    every: int,
    back: int,
    is_first: bool,
) -> None:
    """`turns`: how many lines each log has grown by, and whether the daemon starts again; `back`: steps of a resume."""
    rows = curve(1, 120)
    rows += curve(max(1, 121 - back), 200, seed=1) if back else []
    ours, copied = better(rows), worse([row for row in rows if row[0] % every == 0])
    home = tmp_path_factory.mktemp("pair")
    alone = Logs(home / "alone")
    alone.add(name, b"".join(ours))
    alone.read(final=True)
    both = Logs(home / "both")
    # What the client writes is waited for before it is there; another log is known by its first row.
    begin = [(name, b"" if better is client else b"".join(ours[:2])), (other, b"")]
    for each, content in reversed(begin) if is_first and (better, worse) not in EQUALS else begin:
        both.add(each, content)
    done = [0 if better is client else 2, 0]
    for mine, theirs, restarts in turns:
        for i, (log, grown) in enumerate(((ours, mine), (copied, theirs))):
            both.write((name, other)[i], b"".join(log[done[i] : done[i] + grown]))
            done[i] += grown
        both.read()
        if restarts:
            both.restart()
    both.write(name, b"".join(ours[done[0] :]))
    both.write(other, b"".join(copied[done[1] :]))
    for _ in range(3):
        both.read()
    losses = {"loss", "train_loss", "lr"}
    assert [s for s in both.samples if s.metric in losses] == [s for s in alone.samples if s.metric in losses]
    both.read(final=True)
    assert [s for s in both.samples if s.metric in losses] == [s for s in alone.samples if s.metric in losses]
    alone.close()
    both.close()


def test_a_log_that_only_copies_is_no_sign_of_life_and_says_what_it_is(logs: Logs) -> None:
    logs.add("lrwatch/metrics.jsonl", b"".join(client(curve(1, 100))))
    logs.add("train.log", b"".join(text(curve(1, 90))))
    logs.read()
    assert len(logs.losses()) == 100
    logs.write("train.log", b"".join(text(curve(91, 100))))
    next(logs.logs.read(final=False, now=logs.now))
    assert not logs.logs.alive
    assert logs.logs.ingest["in_another_log"] > 180
    assert list(logs.logs.roles().values()) == ["gives learning rate, scale, training loss", "a copy"]


def test_what_only_the_worse_log_has_comes_where_the_better_one_has_passed_its_step(logs: Logs) -> None:
    logs.add("lrwatch/metrics.jsonl", b"".join(client(curve(1, 60))))
    logs.add("train.log", b"".join(b"step %d | loss 1.0 | val_loss 2.5\n" % step for step in (20, 40, 70)))
    logs.read()
    found = [(s.metric, s.step) for s in logs.samples if s.metric in ("loss", "val_loss")]
    assert [step for metric, step in found if metric == "val_loss"] == [20, 40]
    assert found[found.index(("val_loss", 20)) - 1 : found.index(("val_loss", 20)) + 2] == [
        ("loss", 20), ("val_loss", 20), ("loss", 21)
    ]  # fmt: skip
    logs.write("lrwatch/metrics.jsonl", b"".join(client(curve(61, 80))))
    assert ("val_loss", 70) in [(s.metric, s.step) for s in logs.read()]


# ---- the owner moves on -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_old", [False, True])
def test_a_second_slurm_file_is_the_same_run_going_on(logs: Logs, is_old: bool) -> None:
    logs.add("slurm-9.out", b"".join(text(curve(1, 490))), age=7200 if is_old else 0)
    if not is_old:
        logs.read()
    logs.add("slurm-10.out", b"".join(text(curve(491, 600))))
    logs.read()
    assert len(logs.losses()) == (600 if is_old else 490)
    logs.restart()
    logs.read()
    logs.read(seconds=PATIENCE)
    assert [step for step, _ in logs.losses()] == list(range(1, 601))
    logs.write("slurm-10.out", b"".join(text(curve(601, 610))))
    assert [s.step for s in logs.read() if s.metric == "loss"] == list(range(601, 611))
    assert list(logs.logs.roles().values()) == ["a copy", "gives learning rate, training loss"]


@pytest.mark.parametrize("first", [400, 1], ids=["from a checkpoint", "from its beginning"])
def test_an_attempt_that_goes_back_counts_from_its_first_row(logs: Logs, first: int) -> None:
    logs.add("slurm-9.out", b"".join(text(curve(1, 490))))
    logs.read()
    logs.add("slurm-10.out", b"".join(text(curve(first, 600, seed=1))))
    logs.read()
    logs.read()
    assert len(logs.losses()) == 490, "the first may live"
    logs.read(seconds=PATIENCE)
    assert [step for step, _ in logs.losses()] == [*range(1, 491), *range(first, 601)]


def test_attempts_and_ranks_of_torchrun_are_one_run(logs: Logs) -> None:
    for rank in range(3):
        logs.add(f"attempt_0/{rank}/stdout.log", b"".join(text(curve(1, 300, seed=rank))))
    for rank in range(3):
        logs.add(f"attempt_1/{rank}/stdout.log", b"".join(text(curve(250, 500, seed=10 + rank))))
    logs.read(final=True)
    assert [step for step, _ in logs.losses()] == [*range(1, 301), *range(250, 501)]
    assert logs.losses()[-1][1] == pytest.approx(curve(250, 500, seed=10)[-1][1], abs=1e-4)


def trainer_state(last: int) -> bytes:
    """The state that Hugging Face's Trainer puts into a checkpoint."""
    history = [{"step": step, "loss": loss} for step, loss in curve(10, last, 10)]
    return json.dumps({"global_step": last, "max_steps": 1000, "log_history": history}).encode()


def test_the_states_of_checkpoints_are_one_log(logs: Logs) -> None:
    logs.add("checkpoint-900/trainer_state.json", trainer_state(900))
    logs.add("checkpoint-1000/trainer_state.json", trainer_state(1000))
    logs.read(final=True)
    assert [step for step, _ in logs.losses()] == list(range(10, 1001, 10))


def test_a_text_goes_on_where_the_client_fell_silent_until_it_comes_back(logs: Logs) -> None:
    logs.add("lrwatch/metrics.jsonl", b"".join(client(curve(1, 100))))
    logs.add("train.log", b"".join(text(curve(1, 150))))
    logs.read()
    logs.read(seconds=PATIENCE - 10)
    assert len(logs.losses()) == 100
    logs.read(seconds=PATIENCE)
    assert [step for step, _ in logs.losses()] == list(range(1, 151))
    logs.write("lrwatch/metrics.jsonl", b"".join(client(curve(101, 200))))
    logs.write("train.log", b"".join(text(curve(151, 250))))
    logs.read()
    assert logs.losses()[150:] == curve(101, 200)[50:]


# ---- axes ---------------------------------------------------------------------------------------------------------


def test_a_log_without_steps_is_placed_by_the_steps_of_the_client(logs: Logs) -> None:
    silent = [json.dumps({"lr": 0.1, "scale": 1.0, "step": step}).encode() + b"\n" for step in range(1, 2001)]
    logs.add("lrwatch/metrics.jsonl", b"".join(silent[:500]))
    printed = stepless(curve(100, 2000, 100))
    logs.add("train.log", b"".join(printed[:5]))
    for done in range(500, 2000, 100):
        logs.read()
        logs.write("lrwatch/metrics.jsonl", b"".join(silent[done : done + 100]))
        logs.write("train.log", printed[done // 100])
    logs.read()
    logs.read(final=True)
    steps = [step for step, _ in logs.losses()]
    assert logs.logs.axis == "step"
    assert steps[:5] == [100, 200, 300, 400, 500]
    assert len(steps) == 20
    assert all(abs(step - 100 * i) <= 300 for i, step in enumerate(steps, 1))
    assert steps == sorted(steps)


def test_a_run_begins_anew_on_the_steps_of_a_better_log_that_comes_late(logs: Logs) -> None:
    logs.add("train.log", b"".join(stepless(curve(10, 300, 10))))
    logs.read()
    assert logs.logs.axis == "record"
    assert [step for step, _ in logs.losses()] == list(range(30))
    logs.add("metrics.csv", b"".join(csv(curve(1, 400))))
    logs.write("train.log", b"".join(stepless(curve(310, 400, 10))))
    logs.read()
    logs.read(final=True)
    assert logs.losses() == curve(1, 400)


def test_the_length_is_that_of_the_log_whose_losses_count(logs: Logs) -> None:
    logs.add("lrwatch/metrics.jsonl", b"".join(client(curve(1, 50))))
    logs.add("train.log", b"".join(b"step %d/9000 | loss 1.0\n" % step for step in range(1, 50)))
    logs.read(final=True)
    assert logs.logs.total_steps == 0


# ---- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("later", "earlier", "follows"),
    [
        ("slurm-10.out", "slurm-9.out", True),
        ("slurm-9.out", "slurm-10.out", False),
        ("run/attempt_1/0/stderr.log", "run/attempt_0/3/stderr.log", True),
        ("run/attempt_0/1/stderr.log", "run/attempt_0/0/stderr.log", False),
        ("log_rank1.txt", "log_rank0.txt", False),
        ("train.log", "slurm-1.out", False),
        ("out/checkpoint-1000/trainer_state.json", "out/checkpoint-900/trainer_state.json", True),
    ],
)
def test_which_log_is_a_later_attempt_is_in_its_name(later: str, earlier: str, follows: bool) -> None:
    assert attempt(later).follows(attempt(earlier)) is follows
