"""Keras 3 in a process for each of its backends, which it chooses when it is imported."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.frameworks

CHECKS = Path(__file__).parent / "keras_checks.py"
NAMES = re.findall(r"^def (test_\w+)", CHECKS.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module", params=["torch", "jax"])
def outcome(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What pytest says of all checks on one backend."""
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec(request.param) is None:
        pytest.skip(f"keras or {request.param} is not installed")
    command = [sys.executable, "-m", "pytest", "-v", "-o", "addopts=--import-mode=importlib", "-p", "no:cacheprovider"]
    # GPU memory and the number of threads are of no interest at this size.
    environment = os.environ | {"KERAS_BACKEND": request.param, "JAX_PLATFORMS": "cpu", "COLUMNS": "200"}
    ended = subprocess.run(
        [*command, f"--basetemp={tmp_path_factory.mktemp(request.param)}", str(CHECKS)],
        env=environment, capture_output=True, text=True, timeout=170, cwd=CHECKS.parents[2],
    )  # fmt: skip
    return ended.stdout + ended.stderr


@pytest.mark.parametrize("name", NAMES)
def test_on_each_backend(name: str, outcome: str) -> None:
    lines = [line for line in outcome.splitlines() if re.search(rf"::{name}\b.*(PASSED|FAILED|ERROR|SKIPPED)", line)]
    assert lines, outcome
    if reasons := [found[1] for line in lines if (found := re.search(r"SKIPPED \((.*)\)", line))]:
        pytest.skip("; ".join(dict.fromkeys(reasons)))
    assert all("PASSED" in line for line in lines), outcome
