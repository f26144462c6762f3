"""Helpers for the tests of those who build on lrwatch: curves with known truth, conformance checks, a clock to turn by hand."""

from lrwatch.testing.checks import check_detector
from lrwatch.testing.clock import FakeClock
from lrwatch.testing.curves import NOISES, Curve, curve, flat_from

__all__ = ["NOISES", "Curve", "FakeClock", "check_detector", "curve", "flat_from"]
