"""The picture of the README: the live page of a real training with a cut that was proven. `make pictures` runs it.

A training in PyTorch runs with `lrwatch run --mode auto` beside it. Once two cuts are proven and the loss at the lower rate can be seen, a
headless chromium takes the picture of the page. Ends with an error, and writes nothing, where that does not happen.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

import torch
from PIL import Image
from support.browser import Browser
from support.daemon_process import DaemonProcess
from support.waiting import eventually

import lrwatch

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs/images/live.png"
NAME = "student-mlp"

# Enough for the first trials, at a pace at which the daemon can answer between two of them.
STEPS, STEPS_A_SECOND, BATCH = 100_000, 1_500, 8
LOG_EVERY = 20

# The picture is taken while the training runs, a little after the last of these cuts, so that the loss at the lower rate is seen.
PROVEN, LATER = 2, 1.15

# What is seen of the page, in pixels: its head, the verdict and the curves.
WIDTH, HEIGHT = 1120, 1040


def train(control: Path) -> None:
    """Fit a small network to a noisy teacher: the loss falls, and rests where the noise of the gradients holds it."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    teacher = torch.nn.Sequential(torch.nn.Linear(16, 16), torch.nn.Tanh(), torch.nn.Linear(16, 4))
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    began, since = time.monotonic(), 0.0
    with lrwatch.attach(optimizer, control, poll_seconds=0.05) as watch:
        for step in range(1, STEPS + 1):
            x = torch.randn(BATCH, 16)
            with torch.no_grad():
                y = teacher(x) + 0.1 * torch.randn(BATCH, 4)
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            since += loss.item()
            if step % LOG_EVERY:
                watch.step()
            else:
                watch.step(loss=since / LOG_EVERY)
                since = 0.0
            time.sleep(max(0.0, began + step / STEPS_A_SECOND - time.monotonic()))


def main() -> None:
    """Train, watch and take the picture."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        run = home / "runs" / NAME
        run.mkdir(parents=True)
        trainer = subprocess.Popen([sys.executable, __file__, str(run / "lrwatch")])
        daemon = DaemonProcess(home / "daemon", "--mode", "auto", "--poll-seconds", "0.1", home / "runs")

        def proven() -> float:
            return daemon.value("lrwatch_commands_total", run=NAME, state="proven") or 0.0

        def step() -> float:
            return daemon.value("lrwatch_run_step", run=NAME) or 0.0

        try:
            eventually(lambda: proven() >= PROVEN, 180, f"{PROVEN} cuts that are proven")
            until = LATER * step()
            eventually(lambda: step() > until, 120, f"step {until:.0f}")
            browser = Browser(home / "profile")
            try:
                browser.size(WIDTH, HEIGHT)
                browser.scheme("light")
                browser.open(f"{daemon.address}/runs/{urllib.parse.quote(NAME)}")
                picture = Image.open(io.BytesIO(browser.picture()))
            finally:
                browser.close()
        finally:
            trainer.kill()
            daemon.end()
    PICTURE.parent.mkdir(exist_ok=True)
    # A page has few colours: a palette halves the file, and nobody sees the difference.
    picture.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(PICTURE, optimize=True)
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(Path(sys.argv[1]))
    else:
        main()
