"""Training runs with known truth, one family for each known failure of detectors.

`CASES` holds them by name. A case makes a run for each seed, which allows counting error rates, and runs of other
lengths, horizons and improvements.

| number | healthy: a plateau is false | number | faulty: a finding is correct |
|---|---|---|---|
| 1 | a line, at 1, 1.5 and 3 times the required rate | 16 | a sharp plateau: early, in the middle, late |
| 2 | power laws | 17 | a gradual one |
| 3 | an exponential before it flattens | 18 | after a spike that does not recover |
| 4 | stairs (unavoidable: only the future shows that the flat ends) | 19 | right after a drop of the rate |
| 5 | noise: white, autoregressive, smoothed by the logger | 20 | under an epoch's sawtooth |
| 6 | heavy tails, skew | 21 | in validation alone, in training alone |
| 7 | spikes, clusters of them, outliers for the better | 22 | divergence, slow and fast; NaN, infinities |
| 8 | the order of the data, level shifts | 23 | oscillation of period 2, more noise, slow |
| 9 | noise that changes | 24 | overfitting |
| 10 | schedules that the log shows | 25 | a straight line: the rate may be too low |
| 11 | scales, digits | 26 | one rank beside the mean of all |
| 12 | a metric to maximise, with a bound | | |
| 13 | rewinds, gaps, ranks, cadences, a clock that jumps | | |
| 14 | 30 values, a million | 27 | closed loop: see `lrwatch.testing.closed_loop.play` |
| 15 | noise that wanders as the run does (no promise) | | |

Case 11 includes a constant, which is a plateau from its first value on. In cases 22, 23 and 25 the mean may improve as in a
healthy run while another fault is present.

>>> log = CASES["sharp plateau, mid"].make(1)
>>> log.flat_from, sorted(log.expected), len(log.metrics["loss"].values)
({'loss': 6000}, ['plateau'], 12000)
>>> CASES["sharp plateau, mid"].make(1, n=20_000, horizon=2000).expected["plateau"]
Span(first=10000, last=19999)
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from lrwatch.testing.synthetic.base import HORIZON, MIN_IMPROVEMENT, Case, Plan, Span, SyntheticLog, SyntheticSeries
from lrwatch.testing.synthetic.faulty import FAULTY
from lrwatch.testing.synthetic.healthy import HEALTHY

__all__ = ["CASES", "HORIZON", "MIN_IMPROVEMENT", "Case", "Plan", "Span", "SyntheticLog", "SyntheticSeries"]

CASES: Mapping[str, Case] = MappingProxyType({case.name: case for case in (*HEALTHY, *FAULTY)})
"""All cases by name."""
