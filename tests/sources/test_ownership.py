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
from lrwatch.sources.ownership import PATIENCE, Rank, attempt, rank_of
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
    for each, content in reversed(begin) if is_first and better not in (text, csv) else begin:
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
    for each in (alone, both):
        each.close()
