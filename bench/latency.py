"""Latency from the daemon's command on disk to the first optimizer step at the new scale, beside the poll interval.

The trainer is a separate process with steps of known length. It records, on the clock of the machine, the start and the
learning rate of each optimizer step; the daemon's side records the start of each publication. The bound of a latency is
the poll interval plus one step: the step in progress.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired

POLL_SECONDS = 0.2
STEP_SECONDS = 0.02
COMMANDS = 300

TRAINER = """
import json, sys, time, torch, lrwatch
poll, pause, most = float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
optimizer = torch.optim.SGD([torch.ones(1, requires_grad=True)], lr=1.0)
watch = lrwatch.attach(optimizer, sys.argv[1], poll_seconds=poll, max_commands=10**6, metrics_file=False)
began, last, longest, count = [], 1.0, 0.0, 0
def note(optimizer, *_):
    global last, count
    lr = optimizer.param_groups[0]["lr"]
    if lr != last:
        began.append((time.monotonic(), lr))
        last, count = lr, count + 1
optimizer.register_step_pre_hook(note)
lengths = []
while count < most:
    start = time.monotonic()
    optimizer.step()
    watch.step()
    time.sleep(pause)
    lengths.append(time.monotonic() - start)
watch.close()
print(json.dumps({"began": began, "lengths": lengths}))
"""


def main() -> None:
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as home:
        control = ControlDirectory(Path(home, "control"))
        arguments = [str(control.path), str(POLL_SECONDS), str(STEP_SECONDS), str(COMMANDS)]
        trainer = subprocess.Popen([sys.executable, "-c", TRAINER, *arguments], stdout=subprocess.PIPE, text=True)
        sent = []
        while (hello := control.read_observed()) is None:
            time.sleep(0.01)
        for generation in range(1, COMMANDS + 1):
            time.sleep(chance.uniform(0.0, 2 * POLL_SECONDS))  # independent of the phase of the trainer's polls
            wanted = Desired(
                run="",
                incarnation=hello.incarnation,
                generation=generation,
                token=1,
                scale=(0.5, 1.0)[generation % 2 - 1],
            )
            sent.append(time.monotonic())
            control.publish(wanted)
            while (observed := control.read_observed()) is None or (observed.observed_generation, observed.status) != (
                generation,
                "applied",
            ):
                if trainer.poll() is not None:
                    break
                time.sleep(0.005)
        output = json.loads(trainer.communicate(timeout=60)[0])
    latencies = sorted(began - at for (began, _), at in zip(output["began"], sent, strict=True))
    lengths = sorted(output["lengths"])
    step = lengths[len(lengths) // 2]
    print(
        f"poll {POLL_SECONDS * 1e3:.0f} ms, a step {step * 1e3:.1f} ms (99 % of steps within {lengths[len(lengths) * 99 // 100] * 1e3:.1f} ms)"
    )
    for percent in (50, 90, 99, 100):
        latency = latencies[min(len(latencies) * percent // 100, len(latencies) - 1)]
        print(
            f"latency, {percent:3} %  {latency * 1e3:8.1f} ms   x {latency / (POLL_SECONDS + step):.3f} of poll + step"
        )


if __name__ == "__main__":
    main()
