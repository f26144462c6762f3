"""All eight ways to read a log give the same metrics, steps and values: they are loops over one reader."""

from __future__ import annotations

import gzip
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeAlias

import pytest
from click.testing import CliRunner
from support.event_files import TFEVENTS
from support.format_samples import LOGS, OUTPUT
from support.waiting import eventually

from lrwatch.cli.program import cli
from lrwatch.config import Config, load
from lrwatch.core.events import Event
from lrwatch.core.names import role
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Batch
from lrwatch.daemon.loop import Daemon
from lrwatch.errors import InputError
from lrwatch.explain import explain
from lrwatch.explain.scan import scan
from lrwatch.offline.backtest import replay_one
from lrwatch.offline.replay import replay_file
from lrwatch.offline.report_data import curves
from lrwatch.sources import table
from lrwatch.sources.stdin import Stdin
from lrwatch.store import Store

DATA = Path(__file__).parent / "data" / "logs"
CASES = Path(__file__).parents[2] / "shared" / "cases"
FIXTURES = sorted(path for path in DATA.iterdir() if path.name != "INDEX.json")
SHARED = sorted(
    path for folder in ("read", "judge") for path in CASES.glob(f"{folder}/*") if not path.name.endswith(".json")
)

Samples: TypeAlias = dict[str, list[tuple[int, str]]]
"""Metric to its steps and values, the values as text so that NaN equals NaN."""

HISTORY = [{"step": 10 * i, "loss": 9 / (i + 1), "epoch": i} for i in range(30)]
MLFLOW_LINES = "".join(f"{1700000000000 + i} {2 - i / 100} {i}\n" for i in range(100))
RUN_ID = "ea71e54bc850434eaa5170c17d564de6"
# Self-made logs of each kind: path to content.
MADE: dict[str, bytes] = {
    **{f"format_{name}": content for name, content in LOGS.items()},
    "events.out.tfevents.1": TFEVENTS,
    "bars.log": OUTPUT,
    "trainer_state.json": json.dumps({"log_history": HISTORY, "global_step": 300}, indent=2).encode(),
    "half.json": json.dumps({"log_history": HISTORY}, indent=2).encode()[:-200],
    "columns.csv": b"step;train_loss;val_loss\n" + b"".join(b"%d;%d.5;\n" % (i, i) for i in range(50)),
    "losses.txt": b"".join(b"%d.5\n" % i for i in range(20)),
    "two_losses.txt": b"0.5\n0.25",
    "steps_and_values": b"".join(b"%d %d.5 %d.25\n" % (i, i, i) for i in range(20)),
    "train.jsonl.gz": gzip.compress(LOGS["jsonl"]),
    "state.json.gz": gzip.compress(json.dumps({"log_history": HISTORY}).encode()),
    "broken_off.gz": gzip.compress(b"".join(b"step %d loss %d.5\n" % (i, i) for i in range(1000)))[:-500],
    f"mlruns/0/{RUN_ID}/metrics/loss": MLFLOW_LINES.encode(),
    f"mlruns/0/{RUN_ID}/metrics/train/loss": MLFLOW_LINES.encode(),
    f"mlruns/0/{RUN_ID}/metrics/packed.gz": gzip.compress(MLFLOW_LINES.encode()),
    "metrics/value": MLFLOW_LINES.encode(),
    "block.txt": b"loss 2.5\n\nstep 1\nloss 2.25\n\nstep 2\n\n",
    "nothing.txt": b"hello\nworld 3\n",
    "empty.log": b"",
    "foreign.bin": bytes(range(256)) * 40,
}
DATABASES = ("mlflow.db", "trackio.db", "other.db")


def write_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as opened, opened:
        if path.stem == "mlflow":
            opened.execute("CREATE TABLE metrics (key, value, timestamp, run_uuid, step, is_nan)")
            opened.execute("CREATE TABLE runs (run_uuid, name)")
            rows = [(key, 2 - i / 100, i, "a", i, False) for i in range(50) for key in ("loss", "lr")]
            opened.executemany("INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)", rows)
        elif path.stem == "trackio":
            opened.execute("CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id, run_name, step, metrics)")
            opened.executemany(
                "INSERT INTO metrics VALUES (?, ?, ?, ?, ?)",
                [(i + 1, str(i // 40), "fox", i % 40, json.dumps({"loss": i / 7})) for i in range(80)],
            )
        else:
            opened.execute("CREATE TABLE other (a)")


# ---- the ways -------------------------------------------------------------------------------------------------------


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What the pipelines are fed. What they decide on it is no matter here."""
    batches: list[Batch] = []

    def feed(_: Pipeline, batch: Batch) -> list[Event]:
        batches.append(batch)
        return []

    monkeypatch.setattr(Pipeline, "feed", feed)
    return batches


def samples(batches: list[Batch]) -> Samples:
    found: Samples = {}
    for batch in batches:
        for name, column in batch.columns.items():
            steps, values = batch.steps[column.rows].tolist(), column.values.tolist()
            found.setdefault(name, []).extend((step, repr(value)) for step, value in zip(steps, values, strict=True))
    return found


def by_run_once(log: Path) -> None:
    daemon = Daemon(load(flags={"watch.paths": [str(log)]}), Store(None), lambda _: None)
    daemon.discover()
    daemon.read_all(final=True)
    daemon.close()


def by_replay(log: Path) -> None:
    with suppress(InputError):
        replay_file(log, Config(), lambda _: None)


def by_backtest(log: Path) -> None:
    replay_one(str(log), "", Config())


def by_report(log: Path) -> Samples:
    found, _ = curves([log], Config())
    return {
        curve.name: [
            (step, repr(value)) for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True)
        ]
        for curve in found
    }


def by_read_command(log: Path) -> Samples:
    ended = CliRunner().invoke(cli, ["read", str(log), "--format", "json"])
    found: Samples = {}
    for line in ended.stdout.splitlines() if not ended.exception else ():
        row = json.loads(line)
        for name in row.keys() - {"step"}:
            found.setdefault(name, []).append((row["step"], repr(float(row[name]))))
    return found


def by_read_log(log: Path) -> Samples:
    try:
        frame = table.read_log(log)
    except InputError:
        return {}
    columns = {name: frame[["step", name]].dropna() for name in frame.columns[1:]}
    return {
        name: [(step, repr(value)) for step, value in zip(both["step"].tolist(), both[name].tolist(), strict=True)]
        for name, both in columns.items()
        if len(both)
    }


def check(log: Path, fed: list[Batch]) -> Samples:
    """Read `log` in all eight ways, and return what they agree on."""
    reading = table.read(log)
    expected = samples(reading.batches)
    for way in (by_run_once, by_replay, by_backtest):
        fed.clear()
        way(log)
        assert samples(fed) == expected, way.__name__
    assert by_report(log) == expected
    assert by_read_log(log) == expected
    assert by_read_command(log) == expected

    explanation = explain(log)
    counts = {name: len(column) for name, column in expected.items()}
    assert explanation.complete
    assert {metric.name: metric.samples for metric in explanation.metrics} == counts
    assert (explanation.format, explanation.axis) == (reading.format, reading.axis)
    scanned = scan(log)
    assert scanned.metrics == {name: count for name, count in counts.items() if role(name) != "epoch"}
    if scanned.metrics:
        assert (scanned.format, scanned.axis, scanned.rows) == (reading.format, reading.axis, reading.rows)
    return expected


# ---- the logs -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("log", FIXTURES, ids=lambda path: path.name)
def test_all_ways_agree_on_a_log_of_a_real_trainer(
    log: Path, fed: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    assert check(Path(log.name), fed)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MADE, *DATABASES])
def test_all_ways_agree_on_each_kind_of_log(
    name: str, fed: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "run" / name
    log.parent.mkdir(parents=True)
    if name in DATABASES:
        write_database(log)
    else:
        log.write_bytes(MADE[name])
    monkeypatch.chdir(log.parent)
    found = check(Path(log.name), fed)
    assert bool(found) == (name not in ("nothing.txt", "empty.log", "foreign.bin", "other.db"))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED, reason=f"the collection of cases is not at {CASES}")
@pytest.mark.parametrize("log", SHARED, ids=lambda path: path.name)
def test_all_ways_agree_on_a_case_that_is_hard_to_read(
    log: Path, fed: list[Batch], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(log.parent)
    check(Path(log.name), fed)


def test_a_metric_file_of_mlflow_has_its_name_by_a_relative_path_too(
    fed: list[Batch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "mlruns" / "0" / RUN_ID / "metrics" / "train" / "loss"
    log.parent.mkdir(parents=True)
    log.write_text(MLFLOW_LINES)
    for directory in (log.parent, log.parent.parent, tmp_path, Path("/")):
        monkeypatch.chdir(directory)
        assert check(log.relative_to(directory), fed).keys() == {"train/loss"}


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A pipe in the place of standard input: where to write."""
    out, into = os.pipe()
    saved = os.dup(0)
    os.dup2(out, 0)
    yield into
    os.dup2(saved, 0)
    os.close(saved)
    os.close(out)


@pytest.mark.parametrize("name", ["format_jsonl", "format_text", "bars.log", "block.txt", "columns.csv", "timm.log"])
def test_standard_input_gives_what_a_file_gives(name: str, stdin: int, fed: list[Batch], tmp_path: Path) -> None:
    log = tmp_path / "log"
    content = (MADE[name] if name in MADE else (DATA / name).read_bytes()) + b"\n"
    log.write_bytes(content)
    by_run_once(log)
    expected = samples(fed)
    assert expected
    fed.clear()
    daemon = Daemon(load(flags={"watch.paths": ["-"]}), Store(None), lambda _: None)
    daemon.discover()
    os.write(stdin, content)
    (reader,) = next(iter(daemon.runs.values())).logs.readers

    def consumed() -> bool:
        daemon.turn()
        return isinstance(reader.tail, Stdin) and reader.tail.offset == len(content)

    eventually(consumed)  # the end comes alone, without a byte; timm's last record waits for it
    os.close(stdin)

    def ended() -> bool:
        daemon.turn()
        return not daemon.wait_for_input()

    eventually(ended)
    daemon.read_all(final=True)
    daemon.close()
    assert samples(fed) == expected
