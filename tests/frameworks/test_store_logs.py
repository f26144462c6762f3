"""The stores that MLflow and Trackio write themselves, against what was logged."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.format_samples import feed

from lrwatch.formats.numbers import Numbers
from lrwatch.sources.database import Database
from lrwatch.sources.reader import metric_name

pytestmark = pytest.mark.frameworks

_MLFLOW = """
import math, sys, mlflow
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("e")
for name in ("fox", "owl"):
    with mlflow.start_run(run_name=name):
        for i in range(5):
            mlflow.log_metrics({"train/loss": math.nan if i == 2 else 2 / (i + 1), "x": -math.inf}, step=10 * i)
        mlflow.log_metric("stepless", 0.5)
"""
_TRACKIO = """
import math, sys, time, trackio
trackio.init(project="p", name="fox", embed=False, auto_log_gpu=False)
for i in range(5):
    trackio.log({"train/loss": math.nan if i == 2 else 2 / (i + 1), "x": -math.inf, "note": "text"}, step=10 * i)
trackio.finish()
print("finished", flush=True)
sys.stdin.readline()  # still alive, and its database open
"""
LOSSES = [(0, "2.0"), (10, "1.0"), (20, "nan"), (30, "0.5"), (40, "0.4")]


def environment(where: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(where), "TRACKIO_DIR": str(where / "trackio"), "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}  # fmt: skip


def run_mlflow(where: Path, uri: str) -> None:
    if importlib.util.find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed")
    subprocess.run([sys.executable, "-c", _MLFLOW, uri], cwd=where, env=environment(where), check=True, timeout=150)


def of(database: Database, metric: str) -> list[tuple[int, str]]:
    return [(s.step, repr(s.value)) for s in database.read().samples() if s.metric == metric]


def test_the_sqlite_store_of_mlflow_is_read(tmp_path: Path) -> None:
    run_mlflow(tmp_path, f"sqlite:///{tmp_path}/mlflow.db")
    path = tmp_path / "mlflow.db"
    assert of(Database(path), "train/loss") == LOSSES
    assert of(Database(path), "owl/train/loss") == LOSSES
    assert of(Database(path), "x") == [(step, "-inf") for step, _ in LOSSES]
    assert of(Database(path), "stepless") == [(0, "0.5")]
    database = Database(path)
    assert (len(database.read()), database.problem, dict(database.errors)) == (22, "", {})
    assert len(database.read()) == 0


def test_the_file_store_of_mlflow_is_read(tmp_path: Path) -> None:
    run_mlflow(tmp_path, f"file://{tmp_path}/mlruns")
    files = sorted(tmp_path.glob("mlruns/*/*/metrics/train/loss"))
    assert len(files) == 2
    for file in files:
        assert metric_name(file) == "train/loss"
        assert Numbers.claims(file.read_bytes())
        batches = feed(Numbers(), [file.read_bytes()])
        assert [(s.step, repr(s.value)) for b in batches for s in b.samples()] == LOSSES


def test_the_database_of_trackio_is_read_while_trackio_lives(tmp_path: Path) -> None:
    if importlib.util.find_spec("trackio") is None:
        pytest.skip("trackio is not installed")
    with subprocess.Popen(
        [sys.executable, "-c", _TRACKIO],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert any(line == "finished\n" for line in process.stdout)
        path = tmp_path / "trackio" / "p.db"
        before = sorted(path.parent.iterdir())
        database = Database(path)
        assert of(database, "train/loss") == LOSSES
        assert sorted(path.parent.iterdir()) == before
        process.stdin.close()
        assert process.wait(60) == 0
    assert of(Database(path), "x") == [(step, "-inf") for step, _ in LOSSES]
    assert (database.problem, dict(database.errors)) == ("", {})
