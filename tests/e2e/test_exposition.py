"""What a scrape and a textfile hold of real runs: their names, their labels, and none of the client's own columns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

pytestmark = pytest.mark.slow

TRAINER = """
import sys
import lrwatch

with lrwatch.attach(None, sys.argv[1]) as watch:
    for _ in range(50):
        watch.step(loss=1.0, grad_norm=2.0)
"""


def info(text: str) -> list[dict[str, str]]:
    """The labels of lrwatch_run_info of each run."""
    families = text_string_to_metric_families(text)
    return [s.labels for family in families for s in family.samples if s.name == "lrwatch_run_info"]


def test_a_run_has_the_name_and_labels_of_its_job_in_a_scrape_and_in_a_textfile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = tmp_path / "logs"  # what the mount of a Pod is called
    subprocess.run([sys.executable, "-c", TRAINER, str(logs / "lrwatch")], check=True)
    (logs / "eval").mkdir()
    (logs / "eval" / "log.jsonl").write_text('{"step": 1, "eval_loss": 2.0}\n')
    monkeypatch.setenv("LRWATCH_RUN_NAME", "gpt2-7b")
    monkeypatch.setenv("LRWATCH_RUN_LABELS", "owner=anna")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    daemon = DaemonProcess(tmp_path / "home", logs, logs / "eval", "--textfile", tmp_path / "collector")
    try:
        found = eventually(lambda: len(labels := info(daemon.get("/metrics")[1])) == 2 and labels, what="two runs")
        assert sorted(one["run"] for one in found) == ["gpt2-7b", "gpt2-7b/eval"]
        assert {(one["owner"], one["slurm_job_id"]) for one in found} == {("anna", "4711")}
        metrics = {
            sample.labels["metric"]
            for family in text_string_to_metric_families(daemon.get("/metrics")[1])
            for sample in family.samples
            if sample.name == "lrwatch_run_metric_value" and sample.labels["run"] == "gpt2-7b"
        }
        assert metrics == {"loss", "grad_norm"}
        file = tmp_path / "collector" / "lrwatch.prom"
        eventually(file.exists, what="the textfile")
        assert 'owner="anna"' in file.read_text()
    finally:
        assert daemon.end() == 0
    assert not file.exists()  # its series leave with it
    monkeypatch.delenv("LRWATCH_RUN_NAME")
    again = lrwatch("run", logs, "--once", "--state", daemon.state, "--textfile", file)
    assert again.returncode == 0, again.stderr
    assert 'lrwatch_run_up{run="gpt2-7b"} 1.0' in file.read_text()  # its journal goes on under its name


def test_a_textfile_that_cannot_be_written_is_told_and_the_runs_are_watched(tmp_path: Path) -> None:
    (log := tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (tmp_path / "blocked").write_text("")
    done = lrwatch("run", log, "--once", "--state", tmp_path / "state", "--textfile", tmp_path / "blocked" / "x.prom")
    assert done.returncode == 0
    assert f"lrwatch: textfile: {tmp_path}/blocked/x.prom cannot be written: " in done.stderr
