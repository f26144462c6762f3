"""Helpers for the tests of those who build on lrwatch: curves with known truth, conformance checks, a clock to turn by hand."""

from lrwatch.testing.checks import check_detector
from lrwatch.testing.clock import FakeClock
from lrwatch.testing.closed_loop.play import PROBLEMS, PowerLaw, final_risk, hindsight, play
from lrwatch.testing.closed_loop.problems import NoisyQuadratic
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
