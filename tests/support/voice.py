"""What lrwatch says: sentences of real detectors and controllers on curves of known shape, and the fixed words of its surfaces.

`tests/data/voice.txt` holds them for people who read them as a user would. No sentence is made up here: each comes from the
code that says it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from support.batches import batch

from lrwatch import Controller
from lrwatch.cli.output import sentence
from lrwatch.core.detectors.base import Poll
from lrwatch.core.detectors.stalled import StalledDetector
from lrwatch.core.events import Event, Finding, LossChange, as_json, effect_in_words
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline
from lrwatch.export.metrics import RUN_METRICS
from lrwatch.testing.closed_loop.problems import NoisyQuadratic
from lrwatch.testing.synthetic.catalog import CASES

ROOT = Path(__file__).parents[2]
FILE = ROOT / "tests/data/voice.txt"
RULES = ROOT / "deploy/prometheus/rules.yml"

# Curves of the catalogue whose findings are shown: each kind, and a plateau in each of its forms.
FOUND = (
    "sharp plateau, mid", "plateau above the old best", "fast divergence", "NaN from the middle on", "single spikes",
    "one value in 200 is a spike", "every second value is worse", "more noise at a worse level", "overfitting",
    "a straight line with little noise", "cosine",
)  # fmt: skip

# Trainings in a closed loop: options of the controller, learning rate, steps.
LOOPS: tuple[tuple[dict[str, Any], float, int], ...] = (
    ({}, 0.5, 4000),
    ({"seed": 1}, 1.2, 3000),
    ({"total_steps": 4000}, 0.5, 4000),
    ({"total_steps": 3000}, 1.2, 3000),
    ({"mode": "suggest"}, 0.5, 5000),
    ({"strategy": "cosine", "length": 400}, 0.5, 500),
    ({"strategy": "range_test", "length": 400, "max_scale": 2.0}, 0.3, 600),
)

# Losses that no scale helps, or that a spike takes off course: options of the controller, and the loss at a step and a scale.
DEAF: tuple[tuple[dict[str, Any], Callable[[int, float], float]], ...] = (
    ({}, lambda step, _: 2 + 3 * math.exp(-step / 150)),
    (
        {"strategy": "rescue"},
        lambda step, scale: 2 - step * 1e-4 + (0.05 * (step - 800) * scale if 800 < step < 1100 else 0),
    ),
)

GAINS = (
    (0.021, 0.0185, 0.0235),
    (0.004, -0.011, 0.019),
    (-0.002, -0.012, 0.008),
    (-0.3, -0.5, -0.1),
    (0.73, 0.15, 1.31),
)


# What no sentence holds, and what is written instead.
PRIVATE = {
    r"\b(is|was|are|were) asked\b": "is required, was requested",
    r"\bwhat (was|is) asked for\b": "what is required",
    r"\banew\b": "again",
    r"\bgoing on (is|brings|without)\b": "continuing, the old rate",
    r"\bat the least\b": "at least",
    r"\bthrown to and fro\b": "jumps up and down",
    r"\b(gain|better|worse|improves by|gets worse by) -": "a verb for the sign",
    r"\bis looked\b|\bis told\b|\bas it goes it\b": "an active verb",
    r"\b[a-z]+_(ratio|steps|per|at_best|before) -?[\d{]": "the evidence in words",
    r"\d[eE]\+\d+ %": "a percentage without an exponent",
}


def voice() -> str:
    """Return all sentences, under a heading for each place that says them."""
    sections = (
        ("Findings", _findings()), ("Commands, effects and range tests", _commands()), ("Where a metric stands", _states()),
        ("Gains", (effect_in_words(*gain) for gain in GAINS)), ("Other losses", _other_losses()),
        ("Help of metrics", (f"{metric.name}: {metric.help}" for metric in RUN_METRICS)), ("Alerts", _alerts()),
    )  # fmt: skip
    return "\n\n".join("\n".join([f"# {heading}", *_each_form_once(said)]) for heading, said in sections) + "\n"


def masked(text: str) -> str:
    """Return a text without its numbers: they may differ in the last digit from machine to machine."""
    return re.sub(r"\d[\d,.]*(e[+-]?\d+)?", "#", text)


def _each_form_once(said: Iterator[str]) -> list[str]:
    forms: dict[str, str] = {}
    for text in said:
        forms.setdefault(masked(text), text)
    return list(forms.values())


def _said(events: list[Event]) -> list[str]:
    return [sentence(as_json(event, "run")) for event in events]


def _findings() -> Iterator[str]:
    for name in FOUND:
        log = CASES[name].make(1)
        run = Pipeline(log.required, PolicyOptions(mode="observe"))
        yield from _said([event for event in run.feed(log.batch()) if isinstance(event, Finding)])
    detector = StalledDetector()
    detector.feed(list(range(100)), [Poll(float(second), arrived=True) for second in range(100)])
    yield from _said([finding for _, finding in detector.feed([99], [Poll(170.0, arrived=False)])])


def _commands() -> Iterator[str]:
    for options, rate, steps in LOOPS:
        training = NoisyQuadratic(seed=options.get("seed", 0))
        controller = Controller(**{key: value for key, value in options.items() if key != "seed"})
        for step in range(steps):
            training.step(rate * controller.scale)
            controller.update(step, training.observe())
        yield from _said([*controller.commands, *controller.effects, *controller.range_tests])
    for options, loss in DEAF:
        controller, rng = Controller(**options), np.random.default_rng(0)
        for step in range(2500):
            controller.update(step, loss(step, controller.scale) + 0.02 * float(rng.standard_normal()))
        yield from _said([*controller.commands, *controller.effects])


def _states() -> Iterator[str]:
    rng = np.random.default_rng(0)
    falling, noise = 5 - np.arange(6000) / 2000, 0.02 * rng.standard_normal(6000)
    curves = (
        falling + noise, np.maximum(falling, 4.0) + noise, 7 - falling + noise, 2 + 100 * noise, 2 + noise, falling[:8],
        falling[:200], np.append(falling, np.nan),
    )  # fmt: skip
    for values in curves:
        for detect in (DetectOptions(horizon=500, min_improvement=0.01), DetectOptions()):
            yield _stands(values, detect)
    yield _stands(3.0 - falling, DetectOptions(direction="max"))
    yield _stands(falling + noise, DetectOptions(), metric="d_loss")


def _stands(values: Any, detect: DetectOptions, metric: str = "loss") -> str:
    run = Pipeline(detect, PolicyOptions(mode="observe"))
    run.feed(batch(np.arange(len(values)), {metric: values}))
    (status,) = run.metrics.statuses()
    return f"{status.name}: {status.words}"


def _other_losses() -> Iterator[str]:
    change = LossChange("val_loss", 1.96, 2.99, 0.02, validation=True)
    for other in (change, replace(change, after=1.5), replace(change, after=1.97), replace(change, error=None)):
        yield other.words


def _alerts() -> Iterator[str]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        for rule in group["rules"]:
            if "alert" in rule:
                yield f"{rule['alert']}: {rule['annotations']['summary']}"
