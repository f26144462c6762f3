"""Every strategy on a real torch training, at a fixed rate, under a scheduler, and with an adaptive optimizer."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

import lrwatch
from lrwatch.config import load
from lrwatch.daemon.loop import Daemon
from lrwatch.store import Entry, Store

pytestmark = pytest.mark.slow

# Steps between two looks of the daemon, and how long a test waits for what it expects.
CHUNK = 10
PATIENCE_SECONDS = 60.0

MINIMUM = 2.0
KINDS: dict[str, tuple[Callable[..., Optimizer], float, bool]] = {
    "fixed": (SGD, 0.05, False),
    "scheduled": (SGD, 0.05, True),
    "adaptive": (AdamW, 0.01, False),
}


class Training:
    """Least squares on fresh noise, the client attached, and a daemon in this process that reads the client's log.

    Attributes:
        rates: Of each optimizer step: the rate that it used, as seen inside of it, and the schedule's.
    """

    def __init__(self, home: Path, kind: str, **policy: Any) -> None:
        make, rate, scheduled = KINDS[kind]
        torch.manual_seed(0)
        self.model = torch.nn.Linear(8, 1)
        self.optimizer = make(self.model.parameters(), lr=rate)
        self.scheduler: LRScheduler | None = CosineAnnealingLR(self.optimizer, 50_000) if scheduled else None
        self.checkpoint: dict[str, Any] = {}
        self.client = lrwatch.attach(
            self.optimizer, home / "a" / "lrwatch", poll_seconds=0.002, max_scale=4.0, reload=self.load
        )
        self.rates: list[tuple[float, float]] = []
        self.optimizer.register_step_pre_hook(self._see)  # after the client's own, so it sees what the step will use
        flags = {
            "watch.paths": (str(home / "a"),),
            "policy.mode": "auto",
            "policy.max_commands": 60,
            "detect.horizon": 200,
        }
        self.store = Store(home / "state", exclusive=True)
        self.entries: list[Entry] = []
        config = load(flags={**flags, **{f"policy.{key}": value for key, value in policy.items()}})
        self.daemon = Daemon(config, self.store, self.entries.append)

    def close(self) -> None:
        self.client.close()
        self.daemon.close()
        self.store.close()

    def _see(self, *_: Any) -> None:
        used = self.optimizer.param_groups[0]["lr"]
        schedule = float(self.scheduler.get_last_lr()[0]) if self.scheduler else self.optimizer.defaults["lr"]
        self.rates.append((used, schedule))

    def scales(self, known: Collection[float]) -> set[float]:
        """By which of the `known` scales the schedule's rates were multiplied, bit for bit; NaN for by none."""
        return {next((s for s in known if used == schedule * s), math.nan) for used, schedule in self.rates}

    def step(self) -> None:
        inputs = torch.randn(16, 8)
        targets = inputs.sum(1, keepdim=True) + MINIMUM**0.5 * torch.randn(16, 1)
        loss = torch.nn.functional.mse_loss(self.model(inputs), targets)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        self.client.step(loss=loss)

    def _parts(self) -> dict[str, Any]:
        parts = {"model": self.model, "optimizer": self.optimizer, "client": self.client, "scheduler": self.scheduler}
        return {name: part for name, part in parts.items() if part is not None}

    def save(self) -> None:
        self.checkpoint = {name: copy.deepcopy(part.state_dict()) for name, part in self._parts().items()}

    def load(self) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(self.checkpoint[name])

    def events(self, event: str) -> list[dict[str, Any]]:
        return [entry.event for entry in self.entries if entry.event["event"] == event]

    def until(self, done: Callable[[], object], what: str) -> None:
        """Train, with the daemon beside, until `done`."""
        ends = time.monotonic() + PATIENCE_SECONDS
        while not done():
            assert time.monotonic() < ends, f"{what}; so far: {[entry.event for entry in self.entries][-5:]}"
            for _ in range(CHUNK):
                self.step()
            if not self.daemon.runs:
                self.daemon.discover()
            self.daemon.read_all()

    def ask(self, verb: str, argument: str = "") -> str:
        (run,) = self.daemon.runs
        number = self.store.request(run, "anna", verb, argument, 0.0)
        self.daemon.read_all()
        answer = self.store.answer_to(number)
        assert answer is not None
        assert answer["done"], answer
        return str(answer["text"])


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    made: list[Training] = []

    def make(kind: str, **policy: Any) -> Training:
        made.append(Training(tmp_path, kind, **policy))
        return made[-1]

    yield make
    for training in made:
        training.close()


Make = Callable[..., Training]


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_by_steps_is_used_exactly_on_top_of_the_schedule(train: Make, kind: str) -> None:
    training = train(kind, strategy="step", every=200)
    training.until(lambda: training.client.scale <= 0.125, "three stairs")
    scales = {1.0, 0.5, 0.25, 0.125}
    assert training.scales(scales) == scales
    commands = training.events("command")
    assert [c["cause"] for c in commands] == ["schedule"] * len(commands)
    assert all(200 * (i + 1) <= c["step"] for i, c in enumerate(commands))


@pytest.mark.parametrize("kind", KINDS)
def test_wsd_decays_when_the_operator_says_so(train: Make, kind: str) -> None:
    training = train(kind, strategy="wsd", length=3000, decay_share=0.1)
    training.until(lambda: len(training.rates) >= 300, "a stable stretch")
    assert training.scales({1.0}) == {1.0}
    training.ask("decay")
    training.until(lambda: training.client.scale == 0.001, "the end of the decay")
    scales = [c["scale"] for c in training.events("command")]
    assert scales == sorted(scales, reverse=True)
    used = training.scales(
        {1.0, *scales}
    )  # on a busy machine a stair may be taken over by the next before its first step
    assert {1.0, 0.001} <= used <= {1.0, *scales}


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_test_changes_the_running_training_and_restores_it(train: Make, kind: str) -> None:
    training = train(kind, strategy="observe", max_scale=4.0)
    training.until(lambda: len(training.rates) >= 200 and training.daemon.runs, "a beginning")
    training.ask("strategy", json.dumps({"strategy": "range_test", "length": 600}))
    training.until(lambda: training.events("range_test"), "the result")
    (found,) = training.events("range_test")
    assert len(found["scales"]) >= 8
    assert training.client.scale == 1.0
    assert training.rates[-1][0] == training.rates[-1][1]
    commanded = {1.0, *(c["scale"] for c in training.events("command"))}
    assert set(found["scales"]) <= training.scales(commanded) <= commanded


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_no_number_leads_back_to_the_checkpoint_and_on_at_a_smaller_rate(train: Make, kind: str) -> None:
    training = train(kind, strategy="rescue")
    training.until(lambda: len(training.rates) >= 400, "a beginning")
    training.save()
    with torch.no_grad():
        training.model.weight.fill_(float("nan"))
    training.until(lambda: training.client.scale == 0.5, "the cut")
    assert torch.isfinite(training.model.weight).all()
    command = training.events("command")[0]
    assert (command["cause"], command["reload"], command["scale"]) == ("rescue", True, 0.5)
    training.until(lambda: training.client.scale == 1.0, "the way back")
    assert torch.isfinite(training.model.weight).all()
    commanded = {1.0, *(c["scale"] for c in training.events("command"))}
    assert training.scales(commanded) <= commanded
    assert sorted(commanded) == pytest.approx([0.5, 0.5**0.5, 1.0])


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_the_plateau_strategy_cuts_and_says_what_it_brought(train: Make, kind: str) -> None:
    training = train(kind, strategy="plateau", first_cut=0.02)
    training.until(lambda: training.events("effect"), "a measured cut")
    assert training.events("command")[0]["cause"] == "probe"
    assert training.events("effect")[0]["message"]
    assert training.scales({1.0, 0.5}) >= {1.0, 0.5}
