"""Runs whose log shows a schedule: a plateau under it is advice, and nothing is commanded."""

from __future__ import annotations

import numpy as np
import pytest
from support.batches import batch, cut, feed

from lrwatch.core.events import Command, Finding
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.core.sample import Floats

N = 4000
AT = np.arange(N)
EPOCH = AT // 200
REST = 2 + 3 * np.exp(-AT / 60)

SCHEDULES = {
    "the first part of a long cosine": (REST, 1e-3 * (1 + np.cos(np.pi * AT / 40_000)) / 2),
    "a slow decay in stairs of an epoch": (REST, 1e-3 * 0.998**EPOCH),
    "a decay by a tenth an epoch": (REST, 1e-3 * 0.9**EPOCH),
    "a line logged with three digits": (REST, np.round(1e-3 * (1 - AT / 20_000), 6)),
    "a warmup that steps once an epoch": (
        6.95 - 1e-4 * np.minimum(AT, 200) - 0.0015 * np.maximum(0, AT - 200) * (AT < 3000),
        1e-6 + 1e-3 * np.minimum(EPOCH, 20) / 20,
    ),
    "a flat warmup in stairs": (6.95 + 0 * AT, 1e-6 + 1e-3 * np.minimum(EPOCH, 20) / 20),
}


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("cuts", [[], list(range(170, N, 170))], ids=["whole", "cut"])
def test_under_a_schedule_nothing_is_commanded_and_a_plateau_is_advice(name: str, cuts: list[int]) -> None:
    mean, rate = SCHEDULES[name]
    for seed in range(2):
        loss: Floats = np.asarray(mean + 0.03 * np.random.default_rng(seed).standard_normal(N), np.float64)
        run = Pipeline(DetectOptions(), PolicyOptions(mode="auto"))
        said = feed(run, cut(batch(10 * AT, {"loss": loss, "lr": np.asarray(rate, np.float64)}), cuts))
        assert [event for event in said if isinstance(event, Command)] == []
        plateaus = [event for event in said if isinstance(event, Finding) and event.kind == "plateau"]
        assert [event for event in plateaus if not event.evidence.get("advice")] == []


def test_the_same_curve_at_a_rate_that_rests_is_a_plateau_and_acted_on() -> None:
    loss = REST + 0.03 * np.random.default_rng(0).standard_normal(N)
    run = Pipeline(DetectOptions(), PolicyOptions(mode="auto"))
    said = run.feed(batch(10 * AT, {"loss": loss, "lr": np.full(N, 1e-3)}))
    assert [event for event in said if isinstance(event, Command)] != []
    assert [event for event in said if isinstance(event, Finding) and not event.evidence.get("advice")] != []
