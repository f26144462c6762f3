"""A run under watch in this process: a log that a test writes, a clock that a test moves, and a real client at will."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from support.quadratic import Training
from support.waiting import eventually

import lrwatch
from lrwatch.client import Client
from lrwatch.config import Config, load
from lrwatch.daemon.loop import Daemon
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Entry, Store


class Clock:
    """Seconds since the epoch, as a test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Rig:
    """One run: `train.jsonl` in a directory of its own, a daemon on it, and a training that writes it.

    Attributes:
        home: The directory; `log`, `control` and `state` lie in it.
        training: What writes the log.
        client: The training's client, once `attach` was called.
        entries: The journal entries that the listener of all daemons so far was called with.
    """

    def __init__(self, home: Path, stack: ExitStack, **flags: Any) -> None:
        self.home = home
        self.log, self.control = home / "train.jsonl", home / "lrwatch"
        self.clock = Clock()
        self.training = Training()
        self.entries: list[Entry] = []
        self.client: Client | None = None
        self.flags = flags
        self._stack = stack
        self.store = Store(home / "state", exclusive=True)
        stack.callback(lambda: self.store.close())
        self.daemon = self._start()
        stack.callback(lambda: self.daemon.close())

    def _config(self) -> Config:
        return load(flags={"watch.paths": (str(self.log),)} | {k.replace("__", "."): v for k, v in self.flags.items()})

    def _start(self) -> Daemon:
        daemon = Daemon(self._config(), self.store, self.entries.append, clock=self.clock)
        daemon.discover()
        return daemon

    def restart(self) -> None:
        """End the daemon without a word, and start another on the same state."""
        self.daemon.close()
        self.daemon = self._start()

    @property
    def run(self) -> WatchedRun:
        """The only run."""
        (run,) = self.daemon.runs.values()
        return run

    def attach(self, **options: Any) -> Client:
        """Attach a client, and wait until it says hello."""
        if self.client is not None:
            self.client.close()
        before = self.observed()
        options = {"poll_seconds": 0.002, "metrics_file": False} | options
        self.client = lrwatch.attach(self._use, self.control, **options)
        self._stack.callback(self.client.close)
        eventually(lambda: self.observed() != before, what="a hello")
        return self.client

    def _use(self, scale: float) -> None:
        self.training.scale = scale

    def observed(self) -> str:
        """What the client says, as it lies there."""
        path = self.control / "observed.json"
        return path.read_text() if path.exists() else ""

    def says(self, text: str) -> bool:
        """Whether the client says `text`."""
        return text in self.observed()

    def train(self, steps: int, *keys: str) -> None:
        """Take steps and log them; the daemon is not asked to look."""
        with self.log.open("a", encoding="utf-8") as log:
            for _ in range(steps):
                log.write(self.training.lines(1, *keys))
                if self.client is not None:
                    self.client.step(self.training.done)

    def look(self) -> None:
        """Let the daemon read all that is there."""
        self.clock.now += 1.0
        self.daemon.read_all()

    def until(self, event: str, *, limit: int = 3000, chunk: int = 20, **wanted: object) -> dict[str, Any]:
        """Train, and look, until the journal says `event` with these values once more. -> that event."""
        begin = len(self.events(event, **wanted))
        for _ in range(limit // chunk):
            self.train(chunk)
            self.look()
            if len(found := self.events(event, **wanted)) > begin:
                return found[-1]
        raise AssertionError(f"no {event} within {limit} steps: {self.events()}")

    def settle(self) -> None:
        """Train slowly until no command is on its way."""
        assert self.run.commands.reconciler is not None

        def settled() -> bool:
            self.train(1)
            self.look()
            return self.run.commands.reconciler is not None and self.run.commands.reconciler.pending is None

        eventually(settled, what="an answer to the command")

    def events(self, event: str = "", **wanted: object) -> list[dict[str, Any]]:
        """What the journal holds, of one kind or of all but the settings."""
        events = [entry.event for entry in self.store.journal()]
        found = [e for e in events if e["event"] == event or (not event and e["event"] != "settings")]
        return [e for e in found if all(e.get(key) == value for key, value in wanted.items())]

    def ask(self, verb: str, argument: str = "", actor: str = "anna") -> dict[str, Any]:
        """Ask as an operator does. -> the answer."""
        number = self.store.request(self.run.name, actor, verb, argument, self.clock.now)
        self.look()
        answer = self.store.answer_to(number)
        assert answer is not None
        return answer


@pytest.fixture
def make_rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Makes rigs; flags are settings as `section__key=value`."""
    with ExitStack() as stack:
        made: list[Rig] = []

        def make(**flags: Any) -> Rig:
            home = tmp_path / f"rig{len(made)}"
            home.mkdir()
            made.append(Rig(home, stack, **flags))
            return made[-1]

        yield make
