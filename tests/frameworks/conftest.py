"""These tests import frameworks, which takes seconds each: not where none of them is to run."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this directory out where its marker is."""
    return True if config.option.markexpr == "not frameworks" else None
