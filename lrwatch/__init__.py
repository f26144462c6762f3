"""lrwatch finds loss plateaus in a running training and turns its learning rate down, safely.

Two lines in a training script::

    watch = lrwatch.attach(optimizer, "runs/a/lrwatch")   # once
    watch.step(loss=loss)                                  # after each optimizer step

Importing this module loads the standard library's smallest parts only; every name below loads what it needs on first
use, so that a training process never sees the daemon's dependencies.
"""

from __future__ import annotations

from importlib import import_module

from lrwatch._version import __version__

TYPE_CHECKING = False  # type checkers take it for true; `typing` would be most of this module's import time
if TYPE_CHECKING:
    from lrwatch import torch
    from lrwatch.client import Client, attach
    from lrwatch.core.controller import Controller, find_plateaus
    from lrwatch.core.events import Finding
    from lrwatch.sources.table import read_log

__all__ = ["Client", "Controller", "Finding", "__version__", "attach", "find_plateaus", "read_log", "torch"]

_HOMES = {
    "attach": "lrwatch.client",
    "Client": "lrwatch.client",
    "Controller": "lrwatch.core.controller",
    "find_plateaus": "lrwatch.core.controller",
    "Finding": "lrwatch.core.events",
    "read_log": "lrwatch.sources.table",
}


def __getattr__(name: str) -> object:
    if name == "torch":
        return import_module("lrwatch.torch")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lrwatch' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
