"""Callbacks survive pickling, under the name of the module that defines them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.frameworks


@pytest.mark.parametrize("name", ["keras", "lightgbm", "lightning", "stable_baselines3", "transformers", "xgboost"])
def test_a_callback_is_pickled_under_a_name_that_loads_again(name: str) -> None:
    pytest.importorskip(name, exc_type=ImportError) if name != "keras" else pytest.importorskip("torch")
    script = f"""
import pickle
from lrwatch.{name} import LrwatchCallback
first = LrwatchCallback("control", max_scale=2.0)
again = pickle.loads(pickle.dumps(first))
assert type(again) is LrwatchCallback and again.watch is None
assert again._arguments == first._arguments
print(type(again).__module__)
"""
    surroundings = {**os.environ, "KERAS_BACKEND": "torch"}
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, env=surroundings
    )
    assert ended.stdout.strip() == f"lrwatch.integrations.{name}", ended.stderr
