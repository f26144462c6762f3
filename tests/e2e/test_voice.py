"""Journeys of somebody who asks "what is it doing, and what does it want of me?", with real processes and logs."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

pytestmark = pytest.mark.slow

STATES = "improving|plateau|cannot_tell_yet|rising|not_judged"

# A loss that is held up by its rate, and a validation loss that gets worse once the rate is smaller, as where a model overfits. It is
# fast until somebody has to answer.
TRAINER = """
import sys, time
import numpy as np
import lrwatch

rng = np.random.default_rng(0)
scale = [1.0]
watch = lrwatch.attach(lambda wanted: scale.__setitem__(0, wanted), sys.argv[1] + "/lrwatch", poll_seconds=0.02)
level, val = 10.0, 1.96
for step in range(40_000):
    level += (1.0 + scale[0] - level) / 35
    val += (2.99 - val) / 60 if scale[0] < 1 else 0.0
    validation = {"val_loss": val + 0.005 * rng.standard_normal()} if step % 10 == 0 else {}
    watch.step(loss=level + 0.01 * rng.standard_normal(), **validation)
    if step > 2900:
        time.sleep(0.008)
watch.close()
"""


def noisy(path: Path, steps: int = 16_000, sd: float = 0.2) -> Path:
    """A long flat run of minibatch losses, with noise of a fifth of the level."""
    rng = np.random.default_rng(0)
    loss = 2 * (1 + sd * rng.standard_normal(steps)) + 3 * np.exp(-np.arange(steps) / 50)
    path.write_text("".join(f'{{"step": {i}, "loss": {value:.5f}}}\n' for i, value in enumerate(loss)))
    return path


def test_a_long_noisy_flat_run_says_until_when_it_cannot_tell_and_gets_its_plateau(tmp_path: Path) -> None:
    log = noisy(tmp_path / "train.jsonl")
    young = tmp_path / "young.jsonl"
    young.write_text("".join(log.read_text().splitlines(keepends=True)[:1500]))
    early = json.loads(lrwatch("replay", young, "--format", "json", "--states").stdout.splitlines()[-1])
    assert (early["event"], early["state"]) == ("state", "cannot_tell_yet")
    assert re.search(r"the noise hides the required 0\.5 % .*; it can tell by about step [\d,]+", early["message"])
    assert early["tells_at"] > 1500
    late = json.loads(lrwatch("replay", log, "--format", "json", "--states").stdout.splitlines()[-1])
    assert (late["state"], late["decides"]) == ("plateau", True)
    assert late["since"] < 16_000
    assert f"loss (decides): plateau since step {late['since']:,}: " in lrwatch("replay", log).stdout


def test_status_page_metrics_report_and_replay_say_the_same_sentence(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    log = noisy(tmp_path / "r" / "train.jsonl", 4000)
    daemon = DaemonProcess(tmp_path / "d", log, "--mode", "suggest", "--poll-seconds", "0.05")
    try:
        eventually(lambda: daemon.value("lrwatch_run_step", run="train") == 3999, what="the end of the log")
        said = json.loads(lrwatch("replay", log, "--format", "json", "--states").stdout.splitlines()[-1])
        status = json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout)
        (loss,) = (metric for metric in status["metrics"] if metric["watched"])
        assert re.fullmatch(STATES, loss["state"])
        assert (loss["state"], loss["words"]) == (said["state"], said["message"])
        assert loss["words"] in lrwatch("status", "--state", daemon.state).stdout
        assert loss["words"] in daemon.get("/")[1]
        assert daemon.value("lrwatch_run_trend", run="train", state=loss["state"]) == 1.0
        assert daemon.value("lrwatch_run_tells_at_step", run="train") == loss["tells_at"]
        page = tmp_path / "page.html"
        assert lrwatch("report", "train", "-o", page, "--state", daemon.state).returncode == 0
        assert loss["words"] in page.read_text()
    finally:
        assert daemon.end() == 0


def test_somebody_approves_what_lrwatch_suggests_and_hears_what_validation_did(tmp_path: Path) -> None:
    runs = tmp_path / "b"
    runs.mkdir()
    trainer = subprocess.Popen([sys.executable, "-c", TRAINER, str(runs)])
    settings = tmp_path / "lrwatch.toml"
    settings.write_text('[policy]\nmode = "suggest"\nwarmup_steps = 3000\n[run]\nmetric = "loss"\n')
    daemon = DaemonProcess(tmp_path / "d", runs, "--config", settings, "--poll-seconds", "0.05")
    state = ("--state", daemon.state)
    try:
        eventually(lambda: daemon.value("lrwatch_proposals_pending", run="b") == 1.0, timeout=60, what="a suggestion")
        shown = lrwatch("status", *state).stdout
        typed = re.search(r"lrwatch (approve b (\d+)), before step \d+", shown)
        assert typed, shown
        assert f"approve with: lrwatch {typed[1]} " in lrwatch("journal", "b", *state).stdout
        assert daemon.value("lrwatch_commands_total", run="b", state="asked") == 1.0
        assert daemon.value("lrwatch_commands_total", run="b", state="sent") == 0.0
        answer = lrwatch(*typed[1].split(), *state)
        assert answer.returncode == 0, answer.stderr
        applied = partial(daemon.value, "lrwatch_commands_total", run="b", reason="plateau", state="applied")
        eventually(lambda: applied() == 1.0, timeout=30, what="the approved command")
        journal = partial(lrwatch, "journal", "b", *state, "--format", "json")
        eventually(lambda: '"event": "effect"' in journal().stdout, timeout=60, what="an effect")
        events = [json.loads(line) for line in journal().stdout.splitlines()]
        effect = next(event for event in events if event["event"] == "effect")
        assert "; meanwhile val_loss rose " in effect["message"]
        assert "val_loss rose " in lrwatch("status", *state).stdout
        undo = next(e for e in events if e["event"] == "command" and e.get("cause") == "validation")
        assert (undo["scale"], undo["state"]) == (1.0, "suggested")
        assert lrwatch("approve", "b", undo["id"], *state).returncode == 0
        eventually(lambda: daemon.value("lrwatch_lr_scale", run="b") == 1.0, timeout=30, what="the scale before")
        assert daemon.value("lrwatch_commands_total", run="b", reason="plateau", state="taken_back") == 1.0
    finally:
        trainer.send_signal(signal.SIGKILL)
        trainer.wait()
        assert daemon.end() == 0
