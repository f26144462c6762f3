"""One run with everything in it, for all tests of the report."""

from __future__ import annotations

import numpy as np
import pytest

from lrwatch.core.events import Command, Counterfactual, Effect, Finding, Phase, as_json
from lrwatch.report import MetricCurve, ReportData

# The loss continues to about 0.43, where the line before the first cut gives 0.49.
LINE = Counterfactual(
    since=2004, before=0.482, before_error=0.002, expected=0.49, expected_error=0.009, came=0.43, came_error=0.003
)


@pytest.fixture
def full_run() -> ReportData:
    """Two cuts, the first acknowledged and measured, the second refused; a spike, a gap of NaN, another run."""
    rng = np.random.default_rng(3)
    steps = np.arange(5000, dtype=np.int64)
    loss = 0.4 + np.exp(-steps / 800) + rng.normal(0, 0.02, 5000)
    loss[3000:3010] = np.nan
    loss[4000] = 900.0
    every = steps[::100]
    val = 0.42 + np.exp(-every / 800)
    rate = np.where(steps < 2004, 0.1, 0.05)
    events = (
        as_json(Phase(0, "start", "the log begins"), "r"),
        as_json(
            Finding("plateau", "loss", 2000, {"improvement": 0.0021, "level": 0.48}, "less than 0.5 % better"), "r"
        ),
        as_json(Command(2000, 0.5, "plateau at the first level"), "r") | {"generation": 1, "id": 1, "hash": "a"},
        {"event": "acknowledged", "step": 2004, "scale": 0.5, "generation": 1, "code": "", "time": 1.0, "id": 2},
        as_json(Phase(2004, "command", "scale 1 to 0.5"), "r"),
        as_json(Finding("nonfinite", "loss", 3000, {"count": 10}, "10 values are not finite"), "r"),
        as_json(Effect(2900, 0.5, 0.12, 0.08, 0.16, "better than going on", LINE), "r"),
        {"event": "operator", "actor": "anna", "action": "hold", "step": 3600, "note": "maintenance", "time": 2.0},
        as_json(Command(4200, 0.25, "plateau again"), "r") | {"generation": 2, "id": 3, "hash": "b"},
        {"event": "rejected", "step": 4203, "scale": 0.25, "generation": 2, "code": "held", "time": 3.0, "id": 4},
    )
    return ReportData(
        run="runs/a",
        title="A run",
        metric="loss",
        axis="step",
        curves=(
            MetricCurve("loss", "train", steps, loss),
            MetricCurve("val loss", "val", every, val),
            MetricCurve("schedule", "lr", steps, np.full(5000, 0.1)),
            MetricCurve("effective", "lr", steps, rate),
        ),
        events=events,
        facts=(("Source", "runs/a/metrics.jsonl"), ("Samples", "5,050")),
        compare=(MetricCurve("val loss", "val", every, val + 0.05),),
        comparison_label="without lrwatch",
    )
