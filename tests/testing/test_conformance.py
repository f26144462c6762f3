"""What every detector promises, of every detector that there is."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import Any

import pytest

import lrwatch.core.detectors
from lrwatch.core.detectors import REGISTRY
from lrwatch.core.detectors.base import DEFAULTS, Detector
from lrwatch.core.events import KINDS
from lrwatch.core.options import DetectOptions
from lrwatch.testing import check_detector

# Options with which there is something to find in a thousand values.
OPTIONS = {"plateau": DetectOptions(horizon=500, min_improvement=0.02)}


def test_every_detector_of_the_package_is_registered() -> None:
    found = set()
    for module in pkgutil.iter_modules(lrwatch.core.detectors.__path__):
        room = importlib.import_module(f"lrwatch.core.detectors.{module.name}")
        classes = [member for _, member in inspect.getmembers(room, inspect.isclass)]
        found |= {one for one in classes if issubclass(one, Detector) and not inspect.isabstract(one)}
    assert found == set(REGISTRY)


def test_every_kind_of_finding_has_one_detector() -> None:
    assert sorted(detector.KIND for detector in REGISTRY) == sorted(KINDS)


@pytest.mark.slow
@pytest.mark.parametrize("detector", REGISTRY, ids=lambda detector: detector.KIND)
def test_a_detector_keeps_its_promises(detector: type[Detector[Any]]) -> None:
    check_detector(detector, OPTIONS.get(detector.KIND, DEFAULTS))
