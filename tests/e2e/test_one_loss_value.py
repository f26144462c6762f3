"""One loss value, the whole way: a PyTorch training in one process, `lrwatch run` in another, and the optimizer's own step."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from support.waiting import eventually

pytestmark = pytest.mark.slow

# An ordinary PyTorch loop: a linear model under noise, which reaches its noise floor within some hundred steps. It ends
# when a smaller rate has been in force for a while. A hook of its own records the rate that the optimizer steps with.
TRAINER = """
import json, sys, time
import torch
import lrwatch

home = sys.argv[1]
torch.manual_seed(0)
model = torch.nn.Linear(4, 1)
truth = torch.randn(4, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
watch = lrwatch.attach(optimizer, home + "/lrwatch", poll_seconds=0.05, min_scale=0.5)  # one cut, and no more
rates = []
optimizer.register_step_pre_hook(lambda opt, args, kwargs: rates.append(opt.param_groups[0]["lr"]))

after = 0
while after < 20 and len(rates) < 60_000:
    x = torch.randn(16, 4)
    loss = ((model(x) - x @ truth - 0.5 * torch.randn(16, 1)) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    watch.step(loss=loss)
    after += watch.scale < 1
    if len(rates) % 4 == 0:
        time.sleep(0.001)  # a training that takes its time, so that there is somebody to command
watch.close()
print(json.dumps({"steps": len(rates), "rates": sorted(set(rates)), "group": optimizer.param_groups[0]["lr"]}))
"""


def test_a_plateau_in_a_pytorch_training_halves_the_rate_of_its_optimizer(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "linear"
    runs.mkdir(parents=True)
    state = tmp_path / "state"
    command = [sys.executable, "-m", "lrwatch", "run", str(runs), "--mode", "auto", "--listen", "127.0.0.1:0"]
    daemon = subprocess.Popen(
        [*command, "--state", str(state), "--poll-seconds", "0.1", "--format", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(runs)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert daemon.stderr is not None
        url = daemon.stderr.readline().removeprefix("listening on ").strip()
        output, errors = trainer.communicate(timeout=120)
        assert trainer.returncode == 0, errors
        trained = json.loads(output)
        eventually(lambda: 'lrwatch_lr_effective{group="0",run="linear"} 0.01' in _get(f"{url}/metrics"))
        page = _get(f"{url}/metrics")
        daemon.send_signal(signal.SIGTERM)
        out, _ = daemon.communicate(timeout=20)
    finally:
        for process in (daemon, trainer):
            process.kill()
            process.wait()
    assert trained["rates"] == [0.01, 0.02]  # exactly half, inside the optimizer's own step
    assert trained["group"] == 0.02  # and put back after it, as the schedule left it
    events = [json.loads(line) for line in out.splitlines()]
    # What was decided while the daemon still read what lay there when it began is "outdated", and was not sent.
    asked = next(e for e in events if e["event"] == "command" and e["state"] == "sent")
    (applied,) = (e for e in events if e["event"] == "acknowledged")
    assert asked["step"] < applied["step"] <= trained["steps"]
    assert applied["effective_lr"] == {"0": 0.01}
    assert applied["schedule_lr"] == {"0": 0.02}
    assert re.search(r'^lrwatch_lr_scale\{run="linear"\} 0\.5$', page, re.MULTILINE)
    assert daemon.returncode == 0


def _get(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())
