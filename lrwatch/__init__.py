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
    from lrwatch import keras as keras
    from lrwatch import lightgbm as lightgbm
    from lrwatch import lightning as lightning
    from lrwatch import optax as optax
    from lrwatch import stable_baselines3 as stable_baselines3
    from lrwatch import torch as torch
    from lrwatch import transformers as transformers
    from lrwatch import xgboost as xgboost
    from lrwatch.client import Client, attach
    from lrwatch.core.controller import Controller, find_plateaus
    from lrwatch.core.events import Finding
    from lrwatch.sources.table import read_log

__all__ = ["Client", "Controller", "Finding", "__version__", "attach", "find_plateaus", "read_log", "torch"]

# One module for each training framework; it imports the framework, and so is loaded only where it is named.
_FRAMEWORKS = ("keras", "lightgbm", "lightning", "optax", "stable_baselines3", "torch", "transformers", "xgboost")
_HOMES = {
    "attach": "lrwatch.client",
    "Client": "lrwatch.client",
    "Controller": "lrwatch.core.controller",
    "find_plateaus": "lrwatch.core.controller",
    "Finding": "lrwatch.core.events",
    "read_log": "lrwatch.sources.table",
}


def __getattr__(name: str) -> object:
    if name in _FRAMEWORKS:
        return import_module(f"lrwatch.{name}")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'lrwatch' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_FRAMEWORKS})
