"""Detectors: one a file, each with its evidence, its error rate and the reasons of its thresholds in its docstring.

`REGISTRY` is the only list of them; `base` says how to add one.
"""

from __future__ import annotations

from typing import Any

from lrwatch.core.detectors.base import Detector, Needs
from lrwatch.core.detectors.divergence import DivergenceDetector
from lrwatch.core.detectors.nonfinite import NonFiniteDetector
from lrwatch.core.detectors.oscillation import OscillationDetector
from lrwatch.core.detectors.overfitting import OverfittingDetector
from lrwatch.core.detectors.plateau import PlateauDetector
from lrwatch.core.detectors.spike import SpikeDetector
from lrwatch.core.detectors.stalled import StalledDetector
from lrwatch.core.detectors.too_slow import TooSlowDetector
from lrwatch.core.options import DetectOptions

# Findings that are made at the same sample come in this order.
REGISTRY: tuple[type[Detector[Any]], ...] = (
    NonFiniteDetector,
    DivergenceDetector,
    SpikeDetector,
    OscillationDetector,
    TooSlowDetector,
    PlateauDetector,
    OverfittingDetector,
    StalledDetector,
)


def make_detectors(
    needs: Needs, metric: str, options: DetectOptions, train_metric: str = ""
) -> dict[str, Detector[Any]]:
    """Make one of each registered detector with these needs.

    Args:
        needs: What its samples are.
        metric: Name of the metric, of the validation metric for a pair.
        options: Options of all of them.
        train_metric: Name of the training metric, for a pair.

    Returns:
        The detectors by kind, in the order of the registry.
    """
    return {detector.KIND: detector(metric, options, train_metric) for detector in REGISTRY if needs == detector.NEEDS}
