"""`kill -9` at any moment and a new start: the same findings, the same commands, nothing twice and nothing lost."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import eventually

import lrwatch
from lrwatch.client import Client
from lrwatch.store import Store

PIECES, ROWS = 30, 100
RATE = 0.1

# What an uninterrupted daemon and a killed one have in common; times, hashes and tokens they have not.
KEYS = ("event", "kind", "metric", "step", "scale", "evidence", "reason", "cause", "state", "gain")


class Training:
    """A loss with a noise floor that follows the scale, logged in pieces; the client is the real one."""

    def __init__(self, home: Path) -> None:
        self.log = home / "train.jsonl"
        self.scale = 1.0
        self.step = 0
        self._level = 3.0
        self._rng = np.random.default_rng(0)
        self.watch: Client = lrwatch.attach(self._set, home / "lrwatch", poll_seconds=0.02, metrics_file=False)

    def _set(self, scale: float) -> None:
        self.scale = scale

    def write_a_piece(self) -> None:
        lines = []
        for _ in range(ROWS):
            self._level += 0.02 * self.scale * (1 + self.scale - self._level)
            loss = self._level + 0.02 * self._rng.standard_normal()
            lines.append(json.dumps({"step": self.step, "loss": loss, "lr": RATE * self.scale}))
            self.step += 1
        with self.log.open("a") as log:
            log.write("\n".join(lines) + "\n")
        self.watch.step(self.step)


def start(home: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lrwatch", "run", str(home / "train.jsonl"), "--mode", "auto"]
    options = ["--listen", "127.0.0.1:0", "--state", str(home / "state"), "--poll-seconds", "0.02"]
    return subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def journal(home: Path) -> list[dict[str, Any]]:
    store = Store(home / "state")
    try:
        assert store.broken_link() is None
        return [entry.event for entry in store.journal()]
    finally:
        store.close()


def in_step(home: Path, training: Training) -> bool:
    """Whether the daemon has read all that was written, and every command that it sent is answered."""
    training.watch.step(training.step)  # the training goes on, at the same step, until it has heard
    store = Store(home / "state")
    try:
        state = store.load_run("train")
        read = state is not None and state["counts"]["ingest"]["bytes"] == training.log.stat().st_size
        events = [entry.event for entry in store.journal()]
    finally:
        store.close()
    sent = sum(event["event"] == "command" and event["state"] == "sent" for event in events)
    answered = sum(event["event"] in ("acknowledged", "rejected") for event in events)
    return read and sent == answered and any(event["event"] == "hello" for event in events)


def course(home: Path, kills: frozenset[int], moments: random.Random) -> list[dict[str, Any]]:
    """A whole training with a daemon that is killed in the pieces `kills`. -> its journal."""
    home.mkdir()
    (home / "state").mkdir()
    training = Training(home)
    daemon = start(home)
    try:
        for piece in range(PIECES):
            training.write_a_piece()
            if piece in kills:
                # Somewhere between the first look and the answer to a command.
                looks = moments.randrange(4)
                for _ in range(looks):
                    in_step(home, training)
                daemon.kill()
                daemon.wait()
                daemon = start(home)
            eventually(partial(in_step, home, training), timeout=60, what=f"piece {piece} read and answered")
    finally:
        daemon.kill()
        daemon.wait()
        training.watch.close()
    return journal(home)


def plain(events: list[dict[str, Any]]) -> list[list[Any]]:
    return [[event.get(key) for key in KEYS] for event in events]


@pytest.mark.timeout(300)
def test_a_daemon_that_is_killed_again_and_again_finds_and_commands_the_same(tmp_path: Path) -> None:
    moments = random.Random(0)
    kills = frozenset(moments.sample(range(PIECES), 12))
    straight = course(tmp_path / "straight", frozenset(), moments)
    killed = course(tmp_path / "killed", kills, moments)
    kinds = [event["event"] for event in straight]
    assert kinds.count("command") >= 2
    assert "finding" in kinds
    assert "effect" in kinds
    assert plain(killed) == plain(straight)
