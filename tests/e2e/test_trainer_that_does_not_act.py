"""A real training whose optimizer is made anew, and a second one in its directory, as people see them beside a real daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.forked import TORCH, Forked
from support.waiting import eventually

pytestmark = pytest.mark.slow

# Trains as many steps as it is told; "anew" makes the optimizer anew, as when a frozen part is unfrozen; "own" makes one that has its rate
# in an attribute and never looks at its groups.
TRAINER = """
import sys
import torch
import lrwatch

class Own(torch.optim.Optimizer):
    def __init__(self, weights):
        super().__init__(weights, {"lr": 0.1})
        self.rate = 0.1

    def step(self, closure=None):
        for group in self.param_groups:
            for each in group["params"]:
                each.data.sub_(self.rate * each.grad)

weight = torch.nn.Parameter(torch.zeros(1))
optimizer = torch.optim.SGD([weight], lr=0.1)
watch = lrwatch.attach(optimizer, sys.argv[1], poll_seconds=0.02)
print("ready", flush=True)
for line in sys.stdin:
    word = line.strip()
    if word == "anew":
        optimizer = torch.optim.SGD([weight], lr=0.1)
    elif word == "own":
        optimizer = Own([weight])
    elif word == "attach":
        watch = lrwatch.attach(optimizer, sys.argv[1], poll_seconds=0.02)
    else:
        for _ in range(int(word)):
            weight.grad = torch.ones(1)
            optimizer.step()
            watch.step(loss=1.0)
    print(word, flush=True)
"""


class Trainer:
    """A training in a process of its own."""

    def __init__(self, control: Path) -> None:
        told, tell = os.pipe()
        heard, say = os.pipe()
        with Path(os.devnull).open("wb") as stderr:
            self.process = Forked(["-c", TRAINER, control], TORCH, stdin=told, stdout=say, stderr=stderr)
        os.close(told)
        os.close(say)
        self._to, self._from = os.fdopen(tell, "w"), os.fdopen(heard)
        self._says("ready")

    def tell(self, word: str) -> None:
        print(word, file=self._to, flush=True)
        self._says(word)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._to.close()
        self._from.close()

    def _says(self, word: str) -> None:
        assert self._from.readline().strip() == word


def status(daemon: DaemonProcess) -> dict[str, Any]:
    return dict(json.loads(lrwatch("status", "--state", daemon.state, "--format", "json").stdout))


def test_status_metrics_and_journal_tell_the_truth_about_it(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    trainers = [Trainer(run / "lrwatch")]
    daemon = DaemonProcess(tmp_path / "daemon", "--poll-seconds", "0.05", "--mode", "observe", tmp_path / "runs")
    try:
        trainers[0].tell("200")
        eventually(lambda: daemon.value("lrwatch_lr_effective", run="a", group="0") == 0.1, what="the rate")
        assert daemon.value("lrwatch_run_trainer_fault", run="a", kind="no_step") is None

        trainers[0].tell("anew")
        trainers[0].tell("21")
        eventually(lambda: daemon.value("lrwatch_run_trainer_fault", run="a", kind="no_step") == 1, what="the fault")
        assert daemon.value("lrwatch_lr_effective", run="a", group="0") is None
        assert daemon.value("lrwatch_run_up", run="a") == 1
        eventually(lambda: "not acting" in status(daemon)["why"], what="the reason in the status")
        assert "attach the one that steps" in " ".join(lrwatch("status", "a", "--state", daemon.state).stdout.split())

        trainers[0].tell("attach")
        trainers[0].tell("5")
        eventually(lambda: daemon.value("lrwatch_lr_effective", run="a", group="0") == 0.1, what="the rate again")
        assert daemon.value("lrwatch_run_trainer_fault", run="a", kind="no_step") is None

        trainers.append(Trainer(run / "lrwatch"))
        two = "lrwatch_run_trainer_fault"
        eventually(lambda: daemon.value(two, run="a", kind="two_trainers") == 1, what="two trainers")
        eventually(lambda: "two trainers" in status(daemon)["why"], what="the second trainer in the status")
        trainers.pop().end()
        trainers[0].tell("5")
        eventually(
            lambda: daemon.value(two, run="a", kind="two_trainers") is None, timeout=60, what="one trainer again"
        )

        trainers[0].tell("own")
        trainers[0].tell("attach")
        eventually(lambda: lrwatch("set", "a", "--scale", "0.5", "--state", daemon.state).returncode == 0, what="set")

        def rejected() -> bool:
            trainers[0].tell("5")
            assert daemon.value("lrwatch_lr_scale", run="a") == 1.0, "half of a rate that is not used is nowhere said"
            return daemon.value("lrwatch_commands_rejected_total", run="a", code="apply_failed") == 1

        eventually(rejected, what="the command is rejected")
        eventually(lambda: "does not use it" in status(daemon)["why"], what="the reason in the status")
        assert daemon.value("lrwatch_lr_effective", run="a", group="0") is None
        assert "acknowledged" not in lrwatch("journal", "a", "--state", daemon.state).stdout
        assert daemon.end() == 0
    finally:
        daemon.process.kill()
        daemon.process.wait()
        for trainer in trainers:
            trainer.end()
