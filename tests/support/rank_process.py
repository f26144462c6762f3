"""One process of a training on several ranks: `python rank_process.py OPTIONS`, a JSON object with the keys of `Options`."""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any, TypedDict

import torch
import torch.distributed as dist

import lrwatch


class Options(TypedDict, total=False):
    """Options of one process: its rank, the folder of its files, the length of the training, the checkpoint to start from."""

    rank: int
    size: int
    home: str
    life: int
    steps: int
    resume: int
    checkpoint_every: int
    sync_every: int
    attach: dict[str, Any]
    stray: int
    pace: float


class Recording(torch.optim.Optimizer):
    """Gradient descent that notes the learning rate that it really uses, in its own step."""

    def __init__(self, weights: list[torch.Tensor], lr: float) -> None:
        super().__init__(weights, {"lr": lr})
        self.used: list[float] = []

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """One step."""
        group = self.param_groups[0]
        self.used.append(group["lr"])
        for weight in group["params"]:
            weight.sub_(weight, alpha=1e-6 * group["lr"])


def rate(step: int) -> float:
    """Return the scheduled learning rate of optimizer step `step`, from 1, without lrwatch."""
    return 0.1 / (1.0 + (step - 1) * 1e-3)


def main(options: Options) -> None:
    """Train; the learning rates go to `log-LIFE-RANK`, as doubles, and the last state to `state-LIFE-RANK.json`."""
    rank, home, life = options["rank"], Path(options["home"]), options["life"]
    dist.init_process_group(
        "gloo", init_method=f"file://{home}/rendezvous-{life}", rank=rank, world_size=options["size"]
    )
    optimizer = Recording([torch.ones(2)], lr=rate(1))
    control = home / "control" if rank == 0 else home / f"not-for-rank-{rank}"
    watch = lrwatch.attach(
        optimizer, control, poll_seconds=0.002, ranks=dist.group.WORLD, sync_every=options.get("sync_every", 10),
        max_commands=10**6, **options.get("attach", {}),
    )  # fmt: skip
    done = options.get("resume", 0)
    if done:
        watch.load_state_dict(json.loads((home / f"checkpoint-{done}-{rank}.json").read_text()))
    every = options.get("checkpoint_every", 0)
    with (home / f"log-{life}-{rank}").open("wb") as log:
        while done < options["steps"]:
            done += 1
            time.sleep(options.get("pace", 0.0003))  # the computation
            optimizer.param_groups[0]["lr"] = rate(done)
            optimizer.step()
            if done == options.get("stray", 0) and rank == 1:
                watch.step(loss=0.0)  # one step too many
            watch.step(loss=0.5)
            if not done % 100:
                log.write(struct.pack(f"{len(optimizer.used)}d", *optimizer.used))
                log.flush()
                optimizer.used.clear()
            if every and not done % every:
                path = home / f"checkpoint-{done}-{rank}.json"
                path.with_suffix(".tmp").write_text(json.dumps(watch.state_dict()))
                path.with_suffix(".tmp").rename(path)
        log.write(struct.pack(f"{len(optimizer.used)}d", *optimizer.used))
    watch.close()
    state = {"state": watch.state_dict(), "errors": dict(watch.errors), "pid": os.getpid()}
    (home / f"state-{life}-{rank}.json").write_text(json.dumps(state))
    dist.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(sys.argv[1]))
