"""The part of lrwatch in the training process: standard library only, never waits, never raises into the training.

The way of a command: `worker` reads `desired.json` and decides with `judge`. Through `handoff` the command reaches `client`,
in the training thread, which checks it once more with `interlock` and passes the scale to an `adapter` (`torch_hooks` for
PyTorch). The result takes the same way back to `observed.json`.
"""

from __future__ import annotations

from lrwatch.client.attach import attach
from lrwatch.client.client import Client

__all__ = ["Client", "attach"]
