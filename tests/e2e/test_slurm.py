"""A training in a job of Slurm with lrwatch beside it: the files of deploy/slurm on a real node, started for this test."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.daemon_process import lrwatch
from support.quadratic import Training
from support.slurm_node import Slurm, needs_slurm, slurm
from support.waiting import eventually

pytestmark = [pytest.mark.slow, needs_slurm]

FOLDER = Path(__file__).parents[2] / "deploy/slurm"

# A training that goes on from a log, and ends or waits when lrwatch has written the series of its run.
TRAINER = """
import os, shutil, sys, time
from pathlib import Path
import lrwatch

run, textfile = Path(os.environ["RUN_DIR"]), Path(os.environ["LRWATCH_EXPORT_TEXTFILE"])
deadline = time.monotonic() + 60
with lrwatch.attach(None, run / "lrwatch", poll_seconds=0.01) as watch:
    for step in range(101, 151):
        watch.step(loss=2.0 - step / 1000)
    while time.monotonic() < deadline and not (textfile.exists() and "lrwatch_run_info{" in textfile.read_text()):
        time.sleep(0.05)
    shutil.copy(textfile, run / "series")
    while len(sys.argv) > 1:
        time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def textfiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory that node_exporter reads."""
    return tmp_path_factory.mktemp("textfiles")


@pytest.fixture(scope="module")
def node(textfiles: Path) -> Iterator[Slurm]:
    """A node with the prolog and the epilog of deploy/slurm."""
    with tempfile.TemporaryDirectory(prefix="slurm") as short:
        home = Path(short)
        settings = []
        for key, name in (("TaskProlog", "task_prolog.sh"), ("Epilog", "epilog.sh")):
            script = home / name  # Slurm gives them an environment of its own, so the directory is written into them
            script.write_text((FOLDER / name).read_text().replace("/var/lib/lrwatch-textfile", str(textfiles)))
            script.chmod(0o755)
            settings.append(f"{key}={script}")
        with slurm(home, settings) as started:
            yield started


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """The directory of a run that goes on from a log."""
    directory = tmp_path / "runs/gpt"
    directory.mkdir(parents=True)
    (directory / "train.jsonl").write_text(Training().lines(100))
    (tmp_path / "train.py").write_text(TRAINER)
    return directory


def submit(node: Slurm, run_dir: Path, *arguments: str) -> str:
    """Submit the training as its documentation says, and return the number of the job."""
    bin_directory = Path(sys.executable).parent
    environ = {"RUN_DIR": str(run_dir), "PATH": f"{bin_directory}:{os.environ['PATH']}"}
    command = ["sbatch", "--parsable", "--job-name=gpt", str(FOLDER / "train.sbatch"), "python", "train.py", *arguments]
    return node.run(*command, cwd=run_dir.parents[1], env=environ).strip()


def state(node: Slurm, job: str) -> str:
    (found,) = re.findall(r"JobState=(\w+)", node.run("scontrol", "show", "job", job))
    return str(found)


def events(run_dir: Path, run: str) -> list[dict[str, Any]]:
    ended = lrwatch("journal", run, "--state", run_dir / ".lrwatch", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


def processes_of(run_dir: Path) -> list[str]:
    """The command lines that name the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has ended since it was listed
            continue
        if os.fsencode(str(run_dir)) in line:
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_a_job_is_watched_under_its_name_until_it_ends(node: Slurm, run_dir: Path, textfiles: Path) -> None:
    job = submit(node, run_dir)
    eventually(lambda: state(node, job) not in ("PENDING", "RUNNING", "COMPLETING"), timeout=90, what=f"job {job}")
    output = (run_dir.parents[1] / f"gpt-{job}.out").read_text()
    assert (state(node, job), output) == ("COMPLETED", ""), node.logs()
    name = f"gpt-{job}"
    (info,) = (
        sample.labels
        for family in text_string_to_metric_families((run_dir / "series").read_text())
        for sample in family.samples
        if sample.name == "lrwatch_run_info"
    )
    assert info["run"] == name
    assert info["slurm_job_id"] == job
    assert (info["slurm_job_user"], info["slurm_job_partition"]) == ("root", "debug")
    life = [event["life"] for event in events(run_dir, name) if event["event"] == "life"]
    assert life[-1] == "ended"
    eventually(lambda: not any(textfiles.iterdir()), what="the epilog")
    assert processes_of(run_dir) == []


def test_a_job_that_is_cancelled_leaves_no_process_and_a_journal(node: Slurm, run_dir: Path) -> None:
    job = submit(node, run_dir, "for ever")
    eventually((run_dir / "series").exists, timeout=90, what=f"the run of job {job}")
    node.run("scancel", job)
    eventually(lambda: state(node, job) == "CANCELLED", timeout=60, what=f"job {job}")
    eventually(lambda: not processes_of(run_dir), timeout=60, what="no process")
    life = [event["life"] for event in events(run_dir, f"gpt-{job}") if event["event"] == "life"]
    assert life == ["lost"]  # what is left of the job says so when it ends
