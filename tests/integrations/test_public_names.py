"""`lrwatch.keras` and its like: public names of the modules in `lrwatch.integrations`."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import subprocess
import sys

import pytest

import lrwatch
import lrwatch.integrations

NAMES = [name for _, name, _ in pkgutil.iter_modules(lrwatch.integrations.__path__) if not name.startswith("_")]
# Integration -> packages of which one must be installed, where it is not the one of its name; lightgbm's needs none.
PACKAGES: dict[str, tuple[str, ...]] = {"lightning": ("lightning", "pytorch_lightning"), "lightgbm": ()}


def is_installed(name: str) -> bool:
    """Return whether the integration can be imported here; nothing is imported to find out."""
    packages = PACKAGES.get(name, (name,))
    return not packages or any(importlib.util.find_spec(package) is not None for package in packages)


def run(script: str) -> str:
    # Keras looks for tensorflow where no backend is named, and the frameworks are tested with torch.
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_every_integration_has_a_public_name() -> None:
    assert len(NAMES) >= 8
    for name in NAMES:
        assert name in dir(lrwatch)
        assert importlib.util.find_spec(f"lrwatch.{name}") is not None, name


def one_module(name: str, statement: str) -> None:
    check = f"""
import sys, lrwatch.integrations.{name} as module
assert public is module is sys.modules["lrwatch.{name}"] is sys.modules["lrwatch.integrations.{name}"]
assert module.__name__ == module.__spec__.name == "lrwatch.integrations.{name}"
print("one")
"""
    assert run(statement + check) == "one"


def integration(name: str) -> object:
    """One of them; `make test` loads no framework but torch, whatever is installed."""
    elsewhere = is_installed(name) and name not in ("torch", "lightgbm")
    return pytest.param(name, marks=pytest.mark.frameworks if elsewhere else (), id=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [integration(name) for name in NAMES])
def test_both_names_are_one_module(name: str) -> None:
    if is_installed(name):
        one_module(name, f"import lrwatch.{name}; public = lrwatch.{name}")
    else:
        missing = f"try:\n    import lrwatch.{name}\nexcept ModuleNotFoundError as error:\n    print(error.name)"
        assert run(missing).partition(".")[0] in (*PACKAGES.get(name, (name,)), "jax", "numpy")


@pytest.mark.parametrize(
    "statement",
    [
        "from lrwatch import lightgbm as public",
        "import lrwatch; public = lrwatch.lightgbm",
        "import importlib; public = importlib.import_module('lrwatch.lightgbm')",
        "import lrwatch.integrations.lightgbm, lrwatch.lightgbm as public",
    ],
)
def test_both_names_are_one_module_in_whichever_way_it_is_imported(statement: str) -> None:
    one_module("lightgbm", statement)


def test_no_other_name_is_made_up() -> None:
    assert importlib.util.find_spec("lrwatch.nonsense") is None
    assert importlib.util.find_spec("lrwatch._base") is None
    with pytest.raises(AttributeError, match="nonsense"):
        lrwatch.nonsense  # noqa: B018
