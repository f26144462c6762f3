"""The part of lrwatch that lives in the training process: standard library only, never waits, never raises.

The way of a command: `worker` reads `desired.json` and judges it with `interlock`; over `mailbox` it reaches `client`,
in the training thread, which hands the scale to one of the `adapters` (`torch` for PyTorch). The way back is the same.
"""

from __future__ import annotations

from lrwatch.client.attach import attach
from lrwatch.client.client import Client

__all__ = ["Client", "attach"]
