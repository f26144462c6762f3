"""These tests import frameworks, which takes seconds each: not where none of them is to run."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this directory out where its marker is, and what `test_keras.py` starts by itself."""
    not_here = "not frameworks" in config.option.markexpr
    started_by_a_test = collection_path.name == "keras_checks.py" and config.option.doctestmodules
    return True if not_here or started_by_a_test else None
