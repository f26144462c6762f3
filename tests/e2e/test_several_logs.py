"""Runs as people have them: several logs of one training, and a training that goes on in another file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

pytestmark = pytest.mark.slow

# Prints as the second argument says, and attaches with the README's two lines. It takes its time, as a training does: a daemon
# that is a thousand steps behind calls a decision outdated.
TRAINER = """
import sys, time
from support.quadratic import Training
import lrwatch

control, style, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])
training = Training()

def use(scale):
    training.scale = scale

watch = lrwatch.attach(use, control, poll_seconds=0.02)
for step in range(1, steps + 1):
    record = training.record()
    watch.step(loss=record["loss"])
    if step % 10 == 0:
        if style == "steps":
            print(f"step {step} | loss {record['loss']:.4f} | lr {record['lr']:.3e}", flush=True)
        else:
            print({"loss": round(record["loss"], 4), "grad_norm": 1.0, "learning_rate": record["lr"]}, flush=True)
        time.sleep(float(sys.argv[4]))
watch.close()
"""

STEPS = 4000


def train(home: Path, style: str, *, seconds: float = 0.0) -> subprocess.Popen[bytes]:
    """Start a training in `home` with `train.log` beside the client's metrics; ten steps take `seconds`."""
    home.mkdir(exist_ok=True)
    with (home / "train.log").open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(home / "lrwatch"), style, str(STEPS), str(seconds)],
            stdout=out, cwd=Path(__file__).parents[1],
        )  # fmt: skip


def decisions(printed: str) -> list[dict[str, Any]]:
    """Findings and commands among printed JSON lines, without where and when they were made."""
    kept = ("event", "kind", "metric", "step", "scale", "reason", "evidence")
    events = [json.loads(line) for line in printed.splitlines()]
    return [
        {key: event[key] for key in kept if key in event}
        for event in events
        if event["event"] in ("finding", "command") and event.get("kind") != "stalled"
    ]


def statuses(state: Path) -> list[dict[str, Any]]:
    """What `status` says of each run."""
    return [json.loads(line) for line in lrwatch("status", "--state", state, "--format", "json").stdout.splitlines()]


def replayed(*paths: Path) -> list[dict[str, Any]]:
    """What `replay` decides."""
    ended = lrwatch("replay", "--format", "json", *paths)
    assert ended.returncode == 0, ended.stderr
    return decisions(ended.stdout)


@pytest.fixture
def daemons() -> Iterator[list[DaemonProcess]]:
    """Daemons that are ended with the test."""
    started: list[DaemonProcess] = []
    yield started
    for daemon in started:
        daemon.process.kill()
        daemon.process.wait()


@pytest.mark.parametrize("style", ["steps", "stepless"])
def test_decisions_beside_a_train_log_are_those_of_the_clients_metrics_alone(
    tmp_path: Path, daemons: list[DaemonProcess], style: str
) -> None:
    home = tmp_path / "a"
    home.mkdir()
    (home / "train.log").touch()  # what is found later is up to five seconds behind, and decisions are outdated by then
    daemon = DaemonProcess(
        tmp_path / "daemon", "--poll-seconds", "0.02", "--mode", "suggest", "--format", "json", str(home)
    )
    daemons.append(daemon)
    assert daemon.address
    assert train(home, style, seconds=0.02).wait(120) == 0
    eventually(lambda: daemon.value("lrwatch_run_step", run="a") == STEPS, what="the last step")
    assert daemon.end() == 0
    alone = replayed(home / "lrwatch" / "metrics.jsonl")
    assert [d["event"] for d in alone].count("command") >= 1, "the training is worth it"
    assert decisions(daemon.stdout) == alone
    assert replayed(home) == alone
    assert replayed(home / "lrwatch") == alone
    (status,) = statuses(daemon.state)
    assert status["step"] == STEPS
    assert {Path(path).name: what for path, what in status["logs"].items()} == {
        "metrics.jsonl": "gives scale, time, training loss",
        "train.log": "a copy" if style == "steps" else "gives grad_norm",
    }


def test_a_daemon_that_comes_after_the_training_decides_the_same_with_and_without_the_train_log(tmp_path: Path) -> None:
    made = {}
    assert train(tmp_path / "both", "steps").wait(120) == 0
    shutil.copytree(tmp_path / "both", tmp_path / "alone")
    (tmp_path / "alone" / "train.log").unlink()
    for name in ("both", "alone"):
        state = tmp_path / "state" / name
        assert lrwatch("run", "--once", "--mode", "auto", "--state", state, tmp_path / name).returncode == 0
        made[name] = decisions(lrwatch("journal", "--state", state, "--format", "json").stdout)
    assert made["both"]
    assert made["both"] == made["alone"]


def test_a_daemon_that_is_killed_again_and_again_decides_the_same_beside_a_train_log(
    tmp_path: Path, daemons: list[DaemonProcess]
) -> None:
    home = tmp_path / "a"
    trainer = train(home, "steps", seconds=0.02)
    kills = 0
    while trainer.poll() is None or kills < 5:
        daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.02", "--mode", "suggest", str(home))
        daemons.append(daemon)
        before = daemon.value("lrwatch_run_step", run="a") or 0.0
        eventually(
            lambda daemon=daemon, before=before: (  # type: ignore[misc]
                trainer.poll() is not None or (daemon.value("lrwatch_run_step", run="a") or 0.0) > before
            ),
            what="a step further",
        )
        daemon.process.kill()
        daemon.process.wait()
        kills += 1
    ended = lrwatch("run", "--once", "--mode", "suggest", "--state", tmp_path / "daemon" / "state", home)
    assert ended.returncode == 0, ended.stderr
    journal = lrwatch("journal", "--state", tmp_path / "daemon" / "state", "--format", "json", "a").stdout
    assert decisions(journal) == replayed(home / "lrwatch" / "metrics.jsonl")


def test_one_training_is_one_run_to_every_command(tmp_path: Path) -> None:
    home = tmp_path / "a"
    assert train(home, "stepless").wait(120) == 0
    for name in ("controller-3", "desired.stale_token.rejected"):
        (home / "lrwatch" / name).write_text('{"step": 3, "loss": 2.0}\n' * 9)
    found = [json.loads(line) for line in lrwatch("init", "--format", "json", home).stdout.splitlines()]
    assert [row["file"] for row in found] == ["train.log", "lrwatch/metrics.jsonl"]
    assert 'paths = ["."]' in (home / "lrwatch.toml").read_text()
    rows = [json.loads(line) for line in lrwatch("backtest", "--format", "json", f"{tmp_path}/**").stdout.splitlines()]
    tested = [row for row in rows if row["event"] == "backtest"]
    assert [(row["log"], row["step"]) for row in tested] == [(str(home), STEPS)]
    state = tmp_path / "state"
    assert lrwatch("run", "--once", "--state", state, "--config", home / "lrwatch.toml").returncode == 0
    assert lrwatch("run", "--once", "--state", state, home / "lrwatch").returncode == 0
    (status,) = statuses(state)
    assert (status["name"], status["step"], status["metric"]) == ("a", STEPS, "loss")


# ---- a training that goes on in another file ------------------------------------------------------------------------


def made_old(log: Path) -> None:
    """Let a log have been written two hours ago."""
    os.utime(log, (time.time() - 7200,) * 2)


def test_a_second_slurm_file_goes_on_and_what_it_says_is_found(tmp_path: Path, daemons: list[DaemonProcess]) -> None:
    home = tmp_path / "logs"
    home.mkdir()
    first = home / "slurm-1001.out"
    first.write_text("".join(f"step {i} | loss {3 - i / 500:.4f} | lr 3e-4\n" for i in range(0, 500, 10)))
    made_old(first)
    daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.05", str(home))
    daemons.append(daemon)
    eventually(lambda: daemon.value("lrwatch_run_step", run="logs") == 490, what="the first file read")
    last = daemon.value("lrwatch_run_last_sample_timestamp_seconds", run="logs")
    (home / "slurm-1002.out").write_text("".join(f"step {i} | loss nan | lr 3e-4\n" for i in range(500, 3500, 10)))
    eventually(lambda: daemon.value("lrwatch_run_step", run="logs") == 3490, what="the second file read")
    assert (daemon.value("lrwatch_findings_total", run="logs", kind="nonfinite") or 0) >= 1
    now = daemon.value("lrwatch_run_last_sample_timestamp_seconds", run="logs")
    assert last is not None
    assert now is not None
    assert now > last


def history(last: int) -> str:
    """A `trainer_state.json` of Hugging Face's Trainer, as each checkpoint has it."""
    entries = [
        {"epoch": i / 100, "learning_rate": 1e-4, "loss": 2 - i / 1000, "step": i} for i in range(10, last + 1, 10)
    ]
    return json.dumps({"global_step": last, "max_steps": 1000, "log_history": entries}, indent=2)


def test_an_output_directory_with_checkpoints_is_one_run_though_the_oldest_are_deleted(
    tmp_path: Path, daemons: list[DaemonProcess]
) -> None:
    out = tmp_path / "out"
    for last in (100, 200):
        (out / f"checkpoint-{last}").mkdir(parents=True)
        state = out / f"checkpoint-{last}" / "trainer_state.json"
        state.write_text(history(last))
        made_old(state)
    daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.05", str(out))
    daemons.append(daemon)
    eventually(lambda: daemon.value("lrwatch_run_step", run="out") == 200, what="two checkpoints")
    shutil.rmtree(out / "checkpoint-100")
    (out / "checkpoint-300").mkdir()
    (out / "checkpoint-300" / "trainer_state.json").write_text(history(300))
    eventually(lambda: daemon.value("lrwatch_run_step", run="out") == 300, what="the third checkpoint")
    assert daemon.value("lrwatch_run_up", run="out") == 1
    (status,) = statuses(daemon.state)
    assert len(status["logs"]) == 3
    rows = lrwatch("replay", "--format", "json", out)
    assert rows.returncode == 0, rows.stderr


def test_the_log_directory_of_torchrun_is_one_run(tmp_path: Path) -> None:
    job = tmp_path / "logs" / "none_abc"
    training = Training()
    for attempt, (first, last) in enumerate(((0, 400), (350, 900))):
        for rank in range(4):
            place = job / f"attempt_{attempt}" / str(rank)
            place.mkdir(parents=True)
            (place / "stderr.log").write_text("")
            training.done, training.scale = first, 1.0
            (place / "stdout.log").write_text(
                "".join(
                    f"step {r['step']} loss {r['loss']}\n" for r in (training.record() for _ in range(last - first))
                )
            )
    for log in job.rglob("*.log"):
        made_old(log)
    state = tmp_path / "state"
    assert lrwatch("run", "--once", "--state", state, tmp_path / "logs").returncode == 0
    (status,) = statuses(state)
    assert (status["name"], status["step"]) == ("none_abc", 900)
    phases = [
        event["step"]
        for event in map(json.loads, lrwatch("journal", "--state", state, "--format", "json").stdout.splitlines())
        if event["event"] == "phase" and event["cause"] == "resume"
    ]
    assert phases == [351]


def test_what_two_attempts_led_to_is_explained_and_reported_in_their_order(tmp_path: Path) -> None:
    """A name with a 9 sorts behind one with a 10."""
    home, training = tmp_path / "logs", Training()
    home.mkdir()
    for number, steps in ((9, 600), (10, 900)):
        log = home / f"slurm-{number}.out"
        rows = [training.record() for _ in range(steps)]
        log.write_text("".join(f"step {r['step']} loss {r['loss']}\n" for r in rows))
        made_old(log)
    state, page = tmp_path / "state", tmp_path / "page.html"
    assert lrwatch("run", "--once", "--state", state, home).returncode == 0
    journal = lrwatch("journal", "--state", state, "--format", "json").stdout
    made = [event for event in map(json.loads, journal.splitlines()) if event["event"] in ("finding", "command")]
    assert made
    for event in made:
        explained = lrwatch("explain", "--state", state, "logs", str(event["id"]))
        assert "the same numbers" in explained.stdout, explained.stdout
    assert lrwatch("report", "--state", state, "logs", "-o", page).returncode == 0
    assert "1,500" in page.read_text()
