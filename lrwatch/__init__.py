"""lrwatch finds loss plateaus in a running training and turns its learning rate down, safely.

Two lines in a training script::

    watch = lrwatch.attach(optimizer, "runs/a/lrwatch")   # once
    watch.step(loss=loss)                                  # after each optimizer step

Importing this module loads only the smallest parts of the standard library; every name below loads its dependencies on
first use, so that a training process never loads those of the daemon.
"""

from __future__ import annotations

import os
import sys

from lrwatch._version import __version__

TYPE_CHECKING = False  # type checkers take it for true; `typing` would be most of this module's import time
if TYPE_CHECKING:
    from typing import Any

    from lrwatch.client import Client, attach
    from lrwatch.controller import Controller, find_plateaus
    from lrwatch.core.events import Finding
    from lrwatch.integrations import keras as keras
    from lrwatch.integrations import lightgbm as lightgbm
    from lrwatch.integrations import lightning as lightning
    from lrwatch.integrations import optax as optax
    from lrwatch.integrations import stable_baselines3 as stable_baselines3
    from lrwatch.integrations import torch as torch
    from lrwatch.integrations import transformers as transformers
    from lrwatch.integrations import xgboost as xgboost
    from lrwatch.sources.table import read_log

__all__ = ["Client", "Controller", "Finding", "__version__", "attach", "find_plateaus", "read_log", "torch"]

_HOMES = {
    "attach": "lrwatch.client",
    "Client": "lrwatch.client",
    "Controller": "lrwatch.controller",
    "find_plateaus": "lrwatch.controller",
    "Finding": "lrwatch.core.events",
    "read_log": "lrwatch.sources.table",
}


class _PublicNames:
    """Import finder and loader that resolves `lrwatch.keras` to `lrwatch.integrations.keras`, and its like.

    It stands last in `sys.meta_path`, so it is asked only for what no file is found for.
    """

    @staticmethod
    def find_spec(name: str, *_more: object) -> Any:
        """Return a spec for the public name of an integration, or None."""
        room, _, integration = name.partition(".")
        if room != __name__ or integration not in _integrations():
            return None
        from importlib.machinery import ModuleSpec

        return ModuleSpec(name, _PublicNames)  # type: ignore[arg-type]  # a class serves as a loader

    @staticmethod
    def create_module(spec: Any) -> Any:
        """Return the module in `lrwatch.integrations`: one object under both names."""
        from importlib import import_module

        module: Any = import_module(f"{__name__}.integrations.{spec.name.rpartition('.')[2]}")
        spec.loader_state = module.__spec__
        return module

    @staticmethod
    def exec_module(module: Any) -> None:
        """Give the module its own spec back; it has been executed already."""
        module.__spec__ = module.__spec__.loader_state


sys.meta_path.append(_PublicNames)


def _integrations() -> list[str]:
    """Return the names of the files in `lrwatch/integrations`."""
    names = os.listdir(f"{__path__[0]}/integrations")  # noqa: PTH208  # `pathlib` takes long to import
    return sorted(name[:-3] for name in names if name.endswith(".py") and not name.startswith("_"))


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if home := _HOMES.get(name):
        value = getattr(import_module(home), name)
    elif not name.startswith("_") and name in _integrations():
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module 'lrwatch' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_integrations()})
