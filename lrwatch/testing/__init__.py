"""Helpers for tests of code that builds on lrwatch: curves with known truth, conformance checks, a settable clock."""

from lrwatch.testing.checks import check_detector
from lrwatch.testing.clock import FakeClock
from lrwatch.testing.closed_loop.play import final_risk, hindsight, play
from lrwatch.testing.closed_loop.problems import PROBLEMS, NoisyQuadratic, PowerLaw
from lrwatch.testing.synthetic.catalog import CASES, Case, Span, SyntheticLog, SyntheticSeries
from lrwatch.testing.synthetic.curves import NOISES, SyntheticCurve, curve, flat_from

__all__ = [
    "CASES",
    "NOISES",
    "PROBLEMS",
    "Case",
    "FakeClock",
    "NoisyQuadratic",
    "PowerLaw",
    "Span",
    "SyntheticCurve",
    "SyntheticLog",
    "SyntheticSeries",
    "check_detector",
    "curve",
    "final_risk",
    "flat_from",
    "hindsight",
    "play",
]  # fmt: skip
