"""The Hugging Face Trainer with the README's lines, its output in a file beside the client's metrics, and a daemon."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.waiting import eventually

pytest.importorskip("transformers")
pytest.importorskip("accelerate")
pytestmark = pytest.mark.frameworks

STEPS = 1500
# The loss is noise around a level, so that there is something to decide.
TRAINER = f"""
import sys
import torch, transformers
import lrwatch

class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, x, labels):
        return {{"loss": (self.layer(x) - labels).square().mean()}}

class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 512

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return {{"x": torch.randn(3, generator=generator), "labels": 3 + torch.randn(1, generator=generator)}}

arguments = transformers.TrainingArguments(
    output_dir=sys.argv[1], max_steps={STEPS}, logging_steps=2, learning_rate=0.05, lr_scheduler_type="constant",
    per_device_train_batch_size=4, report_to=[], disable_tqdm=True, save_strategy="steps", save_steps=500, use_cpu=True,
)
callback = lrwatch.transformers.LrwatchCallback(sys.argv[1] + "/lrwatch", poll_seconds=0.05)
transformers.Trainer(model=Model(), args=arguments, train_dataset=Data(), callbacks=[callback]).train()
"""


def decisions(printed: str) -> list[tuple[Any, ...]]:
    """Kind, metric, step and scale of the findings and commands among printed JSON lines."""
    events = [json.loads(line) for line in printed.splitlines()]
    return [
        (event["event"], event.get("kind"), event.get("metric"), event["step"], event.get("scale"))
        for event in events
        if event["event"] in ("finding", "command") and event.get("kind") != "stalled"
    ]


@pytest.mark.parametrize("mode", ["suggest", "auto"])
def test_the_trainers_output_beside_the_client_changes_no_decision_and_all_are_in_optimizer_steps(
    tmp_path: Path, mode: str
) -> None:
    home = tmp_path / "a"
    home.mkdir()
    (home / "train.log").touch()
    daemon = DaemonProcess(
        tmp_path / "daemon", "--poll-seconds", "0.05", "--mode", mode, "--format", "json", str(home)
    )  # fmt: skip
    try:
        assert daemon.address
        with (home / "train.log").open("wb") as out:
            trained = subprocess.run([sys.executable, "-c", TRAINER, str(home)], stdout=out, timeout=300, check=False)
        assert trained.returncode == 0
        assert b"'loss': " in (home / "train.log").read_bytes()
        eventually(lambda: daemon.value("lrwatch_run_step", run="a") == STEPS, what="the last step")
        assert daemon.end() == 0
    finally:
        daemon.process.kill()
        daemon.process.wait()
    made = decisions(daemon.stdout)
    assert any(event == "command" for event, *_ in made), "the training is worth it"
    assert all(step % 2 == 0 for _, _, metric, step, _ in made if metric == "loss"), "steps at which the Trainer logs"
    (status,) = map(json.loads, lrwatch("status", "--state", daemon.state, "--format", "json").stdout.splitlines())
    assert (status["step"], status["metric"]) == (STEPS, "loss")
    journal = lrwatch("journal", "--state", daemon.state, "--format", "json").stdout.splitlines()
    events = [json.loads(line) for line in journal]
    if mode == "suggest":
        alone = lrwatch("replay", "--format", "json", home / "lrwatch" / "metrics.jsonl")
        both = lrwatch("replay", "--format", "json", home)
        assert decisions(both.stdout) == decisions(alone.stdout)
    else:
        applied = [event["step"] for event in events if event["event"] == "acknowledged"]
        asked = [event["step"] for event in events if event["event"] == "command" and event.get("state") == "sent"]
        assert applied
        assert all(0 <= step - asked[0] < STEPS for step in applied)
        assert not [event for event in events if event["event"] == "phase" and event["cause"] == "resume"]
