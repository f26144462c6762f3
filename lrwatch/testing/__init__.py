"""Helpers for the tests of those who build on lrwatch: curves with known truth, conformance checks, a clock to turn by hand."""

from lrwatch.testing.cases import CASES, Case, Log, Series
from lrwatch.testing.checks import check_detector
from lrwatch.testing.clock import FakeClock
from lrwatch.testing.curves import NOISES, Curve, curve, flat_from
from lrwatch.testing.quadratic import NoisyQuadratic, final_risk

__all__ = [
    "CASES", "NOISES", "Case", "Curve", "FakeClock", "Log", "NoisyQuadratic", "Series", "check_detector", "curve",
    "final_risk", "flat_from",
]  # fmt: skip
