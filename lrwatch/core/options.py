"""The settings of the core, with their defaults and their reasons. `config.py` reads them from files and flags."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, get_args

Purpose = Literal["model", "base"]
Mode = Literal["observe", "suggest", "approve", "auto"]
StrategyName = Literal[
    "auto", "plateau", "anneal", "observe", "step", "exponential", "cosine", "wsd", "range_test", "rescue"
]
STRATEGIES: tuple[str, ...] = get_args(StrategyName)
# The number of steps that a strategy cannot do without.
NEEDED = {"step": "every", "exponential": "every", "cosine": "length", "range_test": "length"}
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)

# Epochs of a horizon, and of the window before a trial, at the least.
EPOCHS = 2
MODES: tuple[Mode, ...] = ("observe", "suggest", "approve", "auto")


def _require(ok: bool, key: str, rule: str, value: object) -> None:
    if not ok:
        raise ValueError(f"{key} must be {rule}, got {value!r}")


@dataclass(frozen=True, slots=True)
class Horizon:
    """The steps over which an improvement counts: a number, or a fraction of the run so far.

    >>> Horizon.parse("10%").steps(5000)
    500.0
    >>> Horizon.parse(2000).steps(5000)
    2000.0
    """

    fixed: float | None
    fraction: float

    @classmethod
    def parse(cls, text: str | float) -> Horizon:
        """Return the horizon that `text` gives: a number of steps (2000, "2000") or a fraction ("10%").

        Raises:
            ValueError: It is neither.
        """
        rule = 'a number of steps such as 2000, or a fraction of the run so far such as "10%"'
        try:
            return _horizon(text)
        except (TypeError, ValueError):
            raise ValueError(f"horizon must be {rule}, got {text!r}") from None

    def steps(self, run_steps: float, epoch_steps: int = 0) -> float:
        """Return the horizon in steps, when the run is `run_steps` old.

        Args:
            run_steps: Age of the run in steps.
            epoch_steps: Steps of an epoch; 0 where they are unknown. Once an epoch is over, a horizon that is a fraction of the run
                has `EPOCHS` of them at the least: the loss of data that come again falls where an epoch begins, and may rest or
                rise within it.
        """
        if self.fixed is not None:
            return self.fixed
        least = EPOCHS * epoch_steps if 0 < epoch_steps <= run_steps else 0
        return max(self.fraction * run_steps, least)

    def __str__(self) -> str:
        return f"{self.fixed:g} steps" if self.fixed is not None else f"{100 * self.fraction:g}% of the run so far"


@lru_cache(64)  # a policy asks at each check
def _horizon(text: str | float) -> Horizon:
    if isinstance(text, str) and text.strip().endswith("%"):
        fraction = float(text.strip()[:-1]) / 100
        if not 0 < fraction < 1:
            raise ValueError
        return Horizon(None, fraction)
    fixed = float(text)
    if not (math.isfinite(fixed) and fixed >= 1):
        raise ValueError
    return Horizon(fixed, 0.0)


# A label of a run is repeated once a scrape, and a few tell everything that routes and dashboards ask for.
MAX_LABELS = 32

LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
"""The name of a label, as every Prometheus takes it; those that begin with two underscores are its own."""

OWN_LABELS = frozenset({"run", "metric", "mode"})
"""Labels that `lrwatch_run_info` has of its own."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """`[run]`: what is known of the run before it begins.

    Attributes:
        total_steps: Length of the run in optimizer steps; 0 where it is unknown. It overrides what the trainer and the log
            say.
        purpose: "model" for a model that is used as it is at the end; "base" for one that is trained further, where a decay
            of the learning rate can hurt later (arXiv 2603.16127): the rate is never annealed.
        metric: The metric that decides; "" lets the names decide: a training loss, or a validation loss where there is none. Name
            the validation loss here to have it decide. Effects are reported on all losses in either case.
        epoch_steps: Steps of an epoch; 0 lets the column of epochs in the log say it. Horizons and trials last whole epochs.
        name: Name of the run; "" takes that of its directory or file. Where one daemon finds several runs, the first has it, and
            the others have it before their own.
        labels: Labels of `lrwatch_run_info`, such as owner, team, priority; alerts carry these three, for routes. In the environment
            `owner=anna,priority=high`, or a JSON object.
        labels_file: File with more of them, one `key="value"` a line, as the Downward API of Kubernetes writes it; "" is none.
    """

    total_steps: int = 0
    purpose: Purpose = "model"
    metric: str = ""
    epoch_steps: int = 0
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    labels_file: str = ""

    def __post_init__(self) -> None:
        _require(self.total_steps >= 0, "total_steps", "0 or more", self.total_steps)
        _require(self.epoch_steps >= 0, "epoch_steps", "0 or more", self.epoch_steps)
        _require(self.purpose in PURPOSES, "purpose", "one of " + ", ".join(PURPOSES), self.purpose)
        _require(self.name == self.name.strip(), "name", "without spaces at its ends", self.name)
        _require(len(self.labels) <= MAX_LABELS, "labels", f"at most {MAX_LABELS}", len(self.labels))
        for label in self.labels:
            wanted = f"names of letters, digits and _, and none of {', '.join(sorted(OWN_LABELS))}"
            _require(bool(LABEL.fullmatch(label)) and label not in OWN_LABELS, "labels", wanted, label)


@dataclass(frozen=True, slots=True)
class DetectOptions:
    """`[detect]`: what counts as a plateau.

    Attributes:
        horizon: Steps, or a fraction of the run so far ("10%"): scale-free, so that one default serves 1,000 and 10^7 steps.
        min_improvement: Less than this per horizon is a plateau. Relative to the level of the metric unless `relative` is
            false. 0.5 % per tenth of the run is reached by no healthy language-model run that was looked at; 1 % by most.
        relative: Whether `min_improvement` is relative to the level or in the metric's own units.
        direction: "min" for losses, "max" for metrics that should rise.
        false_alarms: Probability of any false plateau report in the whole life of a run.
    """

    horizon: str | float = "10%"
    min_improvement: float = 0.005
    relative: bool = True
    direction: Literal["min", "max"] = "min"
    false_alarms: float = 0.01

    def __post_init__(self) -> None:
        Horizon.parse(self.horizon)
        _require(
            math.isfinite(self.min_improvement) and self.min_improvement >= 0,
            "min_improvement",
            "a finite number of 0 or more",
            self.min_improvement,
        )
        _require(self.direction in ("min", "max"), "direction", '"min" or "max"', self.direction)
        _require(0 < self.false_alarms < 1, "false_alarms", "a probability between 0 and 1", self.false_alarms)


@dataclass(frozen=True, slots=True)
class PolicyOptions:
    """`[policy]`: what is done about it.

    Attributes:
        mode: observe (report only), suggest (say which command would help), approve (ask an operator), auto (command).
        strategy: "auto" is "anneal" where the length of the run is known, and "plateau" otherwise. "plateau" tries a cut where the
            run has slowed down, and keeps it if it is proven; "anneal" holds the rate and lets it fall to the end of the run;
            "observe" never commands. By steps go "step" and
            "exponential", which reduce by `factor` every `every` steps, at once or gradually; "cosine", which ends after
            `length` steps; "wsd", which keeps the scale until the last `decay_share` of `length`, or until `lrwatch decay`.
            "rescue" cuts where the run diverges, spikes again and again or is not finite, waits, and goes back; "range_test"
            tries the scales between the bounds for `length` steps, reports, and restores.
        factor: A cut multiplies the scale by this.
        every: Steps in which "step" and "exponential" reduce by `factor`.
        length: Steps of "cosine" and "wsd", from their beginning to `min_scale`, and of "range_test"; 0 is unknown, which only
            "wsd" can do with.
        decay_share: Share of the run in which "wsd" decays.
        probe: Whether "plateau" and "anneal" may try a cut, in mode auto. Without it they propose and anneal by what the curve shows.
        first_cut: Where nothing can be tried, a cut is proposed when the improvement per horizon is certainly below this fraction of
            the level.
        min_scale, max_scale: Bounds of the scale.
        max_factor_down, max_factor_up: One command multiplies the scale by no less than the one and no more than the other;
            the defaults are those of the trainer's own interlock.
        cooldown: Horizons without a cut after the last command was applied. A cut is measured after one; what
            takes from the noise floor in slow directions still looks like progress then. Sooner, cuts follow each other too
            fast in noisy logs, and there is no way back: final risk over that of the best schedule on problems of other
            spectra 2.21 at 1, 2.14 at 1.5, 2.08 at 2 horizons, and no better on the problems of the goal (1.72, 1.70, 1.73).
        max_commands: Budget of commands in the life of a run. A trial that is taken back needs two; the number of trials grows with the
            logarithm of the steps, so 40 are enough for some million.
        warmup_steps: No command before this step.
        quorum: Losses (of training, of validation) that must agree before "plateau" cuts: the watched one counts, and
            each other one on which continuing is certainly worth as little.
        validation: Where a validation loss got significantly worse since a measured command, "advise" proposes to undo that command,
            and "undo" does so in mode auto.
        overfitting: "advise" only reports it; "cut" lets "plateau" reduce by `factor` where it is found.
    """

    mode: Mode = "suggest"
    strategy: StrategyName = "auto"
    factor: float = 0.5
    every: int = 0
    length: int = 0
    decay_share: float = 0.2
    probe: bool = True
    first_cut: float = 0.005
    min_scale: float = 0.001
    max_scale: float = 1.0
    max_factor_down: float = 0.1
    max_factor_up: float = 2.0
    cooldown: float = 2.5
    max_commands: int = 40
    warmup_steps: int = 0
    quorum: int = 1
    overfitting: Literal["advise", "cut"] = "advise"
    validation: Literal["advise", "undo"] = "advise"

    def __post_init__(self) -> None:
        _require(self.mode in MODES, "mode", "one of " + ", ".join(MODES), self.mode)
        _require(self.strategy in STRATEGIES, "strategy", "one of " + ", ".join(STRATEGIES), self.strategy)
        for key in ("every", "length"):
            least = int(NEEDED.get(self.strategy) == key)
            _require(getattr(self, key) >= least, key, f"1 or more for {self.strategy}", getattr(self, key))
        _require(0 < self.decay_share < 1, "decay_share", "between 0 and 1", self.decay_share)
        _require(0 < self.factor < 1, "factor", "between 0 and 1", self.factor)
        _require(math.isfinite(self.first_cut) and self.first_cut >= 0, "first_cut", "0 or more", self.first_cut)
        _require(0 < self.min_scale <= 1, "min_scale", "above 0 and at most 1", self.min_scale)
        _require(
            math.isfinite(self.max_scale) and self.max_scale >= self.min_scale,
            "max_scale",
            "finite and not below min_scale",
            self.max_scale,
        )
        _require(0 < self.max_factor_down <= 1, "max_factor_down", "above 0 and at most 1", self.max_factor_down)
        up = self.max_factor_up
        _require(math.isfinite(up) and up >= 1, "max_factor_up", "finite and 1 or more", up)
        _require(math.isfinite(self.cooldown) and self.cooldown >= 0, "cooldown", "0 or more horizons", self.cooldown)
        _require(self.max_commands >= 0, "max_commands", "0 or more", self.max_commands)
        _require(self.warmup_steps >= 0, "warmup_steps", "0 or more", self.warmup_steps)
        _require(self.quorum >= 1, "quorum", "1 or more losses", self.quorum)
        _require(self.validation in ("advise", "undo"), "validation", '"advise" or "undo"', self.validation)
        _require(self.overfitting in ("advise", "cut"), "overfitting", '"advise" or "cut"', self.overfitting)
