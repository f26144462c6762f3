"""A client whose rounds a test calls by hand, and the daemon's end of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lrwatch.client.attach import _adapter_for
from lrwatch.client.client import Client
from lrwatch.client.interlock import Limits
from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired, Observed


class Pair:
    """A client without a thread, and a daemon that writes to it."""

    def __init__(self, directory: Path, optimizer: object, key: bytes | None = None, **options: Any) -> None:
        start_step = options.pop("start_step", 0)
        more = {
            name: options.pop(name)
            for name in ("reload", "ranks", "sync_every", "override_file", "total_steps", "warm_steps")
            if name in options
        }
        self.control = ControlDirectory(directory, key)
        self.client = Client(
            _adapter_for(optimizer),
            str(directory),
            run="a",
            limits=Limits(**options),
            key=key,
            poll_seconds=1e-9,
            metrics_file=True,
            start_step=start_step,
            **more,
        )
        if "warm_steps" in more:
            self.client._warm_up()
        self.worker = self.client._worker
        self.worker.round()
        self.generation = 0

    @property
    def observed(self) -> Observed:
        """What the client says after one more round."""
        self.worker.round()
        observed = self.control.read_observed()
        assert observed is not None
        assert self.worker.errors["internal"] == 0, self.worker._last_error
        assert self.client._box.errors["step"] == 0
        return observed

    def command(self, scale: float, **changes: Any) -> Desired:
        """A command for this client, with the next number."""
        self.generation += 1
        values: dict[str, Any] = {
            "run": "a",
            "incarnation": self.client._incarnation,
            "generation": self.generation,
            "token": 1,
            "scale": scale,
        }
        return Desired(**(values | changes))

    def send(self, scale: float, **changes: Any) -> Observed:
        """Publish a command, and give the answer."""
        self.control.publish(self.command(scale, **changes))
        return self.observed


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Callable[..., Pair]]:
    """Makes pairs in directories of their own."""
    pairs: list[Pair] = []

    def make(optimizer: object = None, **options: Any) -> Pair:
        pairs.append(Pair(tmp_path / f"control{len(pairs)}", optimizer, **options))
        return pairs[-1]

    yield make
    for made in pairs:
        made.client.close()
