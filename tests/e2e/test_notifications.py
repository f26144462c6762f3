"""Notifications of a real daemon about real trainings, over a webhook: what is told, in which words, and what is told to nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.message_sinks import Webhook, webhook
from support.waiting import eventually as soon

pytestmark = pytest.mark.slow

# For a machine that does a lot else.
eventually = partial(soon, timeout=60.0)

SECRETS = ("pa55word", "T0KENofHook", "S3CRETofDead")
EVIL = "<!channel> @everyone [x](http:"

# Trains as it is told, "steps level noise": its loss is the level with noise, or NaN.
TRAINER = """
import random, sys
import lrwatch

random.seed(1)
watch = lrwatch.attach(None, sys.argv[1], poll_seconds=0.01)
for line in sys.stdin:
    steps, level, fall = line.split()
    for i in range(int(steps)):
        watch.step(loss=float(level) - float(fall) * i + 0.01 * random.gauss(0, 1))
    print("done", flush=True)
"""


class Trainer:
    """A training in a process of its own."""

    def __init__(self, run: Path) -> None:
        run.mkdir(parents=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TRAINER, str(run / "lrwatch")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def train(self, steps: int, level: float, fall: float = 0.0) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{steps} {level} {fall}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as started:
        yield started


def test_a_plateau_waits_for_approval_a_nan_is_critical_and_a_killed_trainer_is_lost(
    tmp_path: Path, hook: Webhook
) -> None:
    runs = tmp_path / "runs"
    old = runs / "old" / "train.log"
    old.parent.mkdir(parents=True)
    old.write_text("".join(f"step {i} loss {1.0 if i < 900 else float('nan')}\n" for i in range(1000)))
    os.utime(old, (time.time() - 7200,) * 2)
    trainer = Trainer(runs / "gpt2")
    trainer.train(400, 5.0, 0.005)
    channels = tmp_path / "channels"
    channels.write_text(f"{hook.url()}\ncritical=json://127.0.0.1:1/S3CRETofDead\n")
    settings = tmp_path / "lrwatch.toml"
    settings.write_text(
        f'[notify]\nurls_file = "channels"\ncommand = ["tee", "-a", "{tmp_path}/command.jsonl"]\n[policy]\nmode = "approve"\n'
    )
    daemon = DaemonProcess(tmp_path / "home", runs, "--config", settings, "--poll-seconds", "0.1")
    try:
        eventually(lambda: daemon.value("lrwatch_findings_total", run="gpt2") is not None)
        trainer.train(3000, 3.0)
        waits = eventually(lambda: [title for title in hook.titles() if "scale 0.5 waits for approval" in hook.text()])
        assert waits
        assert "gpt2: plateau of loss at step" in hook.text()
        assert any(message["pictures"] for message in hook.messages)
        entry = json.loads(lrwatch("status", "gpt2", "--format", "json", "--state", daemon.state).stdout)["proposals"][
            0
        ]
        assert f"approve with: lrwatch approve gpt2 {entry['id']} before step {entry['expires_at']:,}" in hook.text()

        trainer.train(5, float("nan"))
        eventually(lambda: "gpt2: run of non-finite values of loss" in hook.text())
        assert hook.messages[-1]["type"] == "failure"
        trainer.kill()
        eventually(lambda: "gpt2: lost" in hook.text())
        assert "is gone without a goodbye at step" in hook.text()

        assert "old" not in hook.text()
        eventually(lambda: daemon.value("lrwatch_notifications_failed_total"))
        delivered = len(hook.messages) + len((tmp_path / "command.jsonl").read_text().splitlines())
        total, failed = (daemon.value(f"lrwatch_notifications{name}_total") or 0 for name in ("", "_failed"))
        assert 0 < failed < total
        assert total - failed <= delivered
        assert "channel 2 (json): A Connection error" in daemon.stderr
        told = [json.loads(line) for line in (tmp_path / "command.jsonl").read_text().splitlines()]
        assert {"plateau", "awaiting_approval", "nonfinite", "lost"} <= {one["kind"] for one in told}
        pages = "".join(daemon.get(path)[1] for path in ("/", "/metrics"))
        assert daemon.end() == 0
        kept = b"".join(path.read_bytes() for path in daemon.state.rglob("*") if path.is_file())
        shown = f"{daemon.stdout}{daemon.stderr}{pages}{kept!r}"
        assert not [secret for secret in SECRETS if secret in shown]
    finally:
        daemon.end(signal.SIGKILL)
        trainer.kill()


def test_what_a_log_says_is_quoted_and_what_happened_meanwhile_is_told_after_a_restart(
    tmp_path: Path, hook: Webhook
) -> None:
    run = tmp_path / "runs" / EVIL
    run.mkdir(parents=True)
    log = run / "train.log"
    log.write_text("".join(f"step {i} loss {5 - 0.01 * i}\n" for i in range(200)))
    (tmp_path / "runs" / "other").mkdir()
    (tmp_path / "runs" / "other" / "train.log").write_text("step 1 loss 2.0\n")
    settings = tmp_path / "lrwatch.toml"
    settings.write_text(f'[notify]\nurls = ["{hook.url()}"]\n')
    arguments = (tmp_path / "runs", "--config", settings, "--poll-seconds", "0.1")
    daemon = DaemonProcess(tmp_path / "home", *arguments)
    try:
        eventually(lambda: daemon.value("lrwatch_run_step") == 199)
        assert daemon.end() == 0
        assert hook.messages == []
        with log.open("a") as file:
            file.write("".join(f"step {i} loss nan\n" for i in range(200, 210)))
        daemon = DaemonProcess(tmp_path / "home", *arguments)
        eventually(lambda: hook.messages)
        assert "non-finite values of loss at step 200" in hook.text()
        for active in ("<!", "@everyone", "](", "http:/"):
            assert active not in hook.text()
        assert "\u2039!channel\u203a" in hook.text()
    finally:
        daemon.end(signal.SIGKILL)
