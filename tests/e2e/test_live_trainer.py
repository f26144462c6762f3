"""Real logs of other people's trainings, written piece by piece while the daemon follows."""

from __future__ import annotations

import csv
import json
import re
from functools import partial
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

REAL = Path(__file__).parents[3] / "shared" / "data" / "real"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL.is_dir(), reason=f"the real logs are not there: {REAL}"),
]

# The metric that INDEX.csv calls train, by file, and how many pieces the log is written in.
LOGS = {
    "text_llmc/KellerJordan__modded-nanogpt__llmc_main.log": ("trl", 37),
    "jsonl_llamafactory/syGOAT__Mistral-v0.2-Translator-bf16__trainer_log.jsonl": ("loss", 61),
    "csv_algoperf/mlcommons__submissions_algorithms__self_baseline_s2_imagenet_vit_jax.csv": ("loss", 43),
}


def truth(name: str) -> tuple[int, int, float]:
    """Number of training losses in a log, step and value of the last, as counted by hand in INDEX.csv."""
    with (REAL / "INDEX.csv").open(newline="") as index:
        (row,) = [row for row in csv.DictReader(index) if row["file"] == name]
    found = re.search(r"train: n=(\d+);first=[^;]*;last=(\d+):([\d.]+)", row["truth"])
    assert found, row["truth"]
    return int(found[1]), int(found[2]), float(found[3])


@pytest.mark.parametrize("name", LOGS)
def test_a_real_log_gives_the_same_while_it_is_written_as_when_it_is_finished(tmp_path: Path, name: str) -> None:
    metric, pieces = LOGS[name]
    count, last_step, last_value = truth(name)
    content = (REAL / name).read_bytes()
    log = tmp_path / Path(name).name
    run = log.stem
    log.write_bytes(b"")
    daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.02", "--mode", "suggest", "--format", "json", log)
    try:
        size = len(content) // pieces + 1
        for start in range(0, len(content), size):
            with log.open("ab") as file:
                file.write(content[start : start + size])
            before_last_line_end = content.rfind(b"\n", 0, start + size) + 1
            eventually(partial(_has_read, daemon, run, before_last_line_end), what=f"{before_last_line_end} bytes read")
        assert daemon.value("lrwatch_run_metric_value", run=run, metric=metric) == last_value
        assert daemon.value("lrwatch_run_up", run=run) == 1
        assert daemon.end() == 0
    finally:
        daemon.process.kill()
        daemon.process.wait()
    status = json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout)
    rows = [json.loads(line) for line in lrwatch("read", log, "--format", "json").stdout.splitlines()]
    losses = [row for row in rows if metric in row]
    assert len(losses) == count
    assert (losses[-1]["step"], losses[-1][metric]) == (last_step, last_value)
    assert status["samples"] == sum(len(row) - 1 for row in rows), "every value of the log, once"
    (shown,) = [m for m in status["metrics"] if m["name"] == metric]
    assert (shown["step"], shown["value"]) == (last_step, last_value)
    assert status["errors"] == {}
    replayed = [json.loads(line) for line in lrwatch("replay", log, "--format", "json").stdout.splitlines()]
    followed = [json.loads(line) for line in daemon.stdout.splitlines()]
    extra = {"time", "id", "hash", "mode", "state"}
    assert [{key: value for key, value in event.items() if key not in extra} for event in followed] == replayed


def _has_read(daemon: DaemonProcess, run: str, size: int) -> bool:
    return (daemon.value("lrwatch_ingest_bytes_total", run=run) or 0) >= size
