"""The arguments of torch's `ReduceLROnPlateau`, as settings of lrwatch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lrwatch.core.options import DetectOptions, Horizon, PolicyOptions

# Fewer values than this are no time to improve in: as `MIN_HORIZON_SAMPLES` of the detector, where it was measured.
LEAST_HORIZON = 10

_POLICY = PolicyOptions()


def mapped(
    given: Mapping[str, Any], options: Mapping[str, Any], rates: Sequence[float]
) -> tuple[dict[str, Any], list[str]]:
    """Translate the arguments of `ReduceLROnPlateau`.

    Args:
        given: Its arguments by name, those that were given.
        options: The options of `Controller` that were given beside them.
        rates: Learning rate of each parameter group, without another scheduler's factor.

    Returns:
        The options of `Controller`, and what became of each argument, as `patience=10: horizon=10`.

    Raises:
        TypeError: An argument is of the wrong kind, or stands beside the option that it is mapped to.
        ValueError: An argument is out of range.
    """
    found: dict[str, Any] = dict(options)
    said: list[str] = []

    def put(argument: str, name: str, value: Any, note: str = "") -> None:
        if name in options:
            raise TypeError(f"{argument} is mapped to {name}, which is given as well; give one of them")
        found[name] = value
        said.append(f"{argument}={given[argument]!r}: {name}={_short(value)}{note}")

    if "patience" in given:
        patience = _number("patience", given["patience"])
        least = f" (calls; {LEAST_HORIZON} are the least)" if patience < LEAST_HORIZON else " (calls)"
        put("patience", "horizon", max(int(patience), LEAST_HORIZON), least)
    if "threshold" in given:
        put("threshold", "min_improvement", _number("threshold", given["threshold"]), " per horizon")
    if "threshold_mode" in given:
        kind = given["threshold_mode"]
        if kind not in ("rel", "abs"):
            raise ValueError(f'threshold_mode must be "rel" or "abs", got {kind!r}')
        put("threshold_mode", "relative", kind == "rel")
    if "factor" in given:
        found["factor"] = factor = given["factor"]
        if "max_factor_down" not in options and 0 < factor < _POLICY.max_factor_down:
            put("factor", "max_factor_down", factor)
    if "min_lr" in given:
        put("min_lr", "min_scale", _min_scale(given["min_lr"], rates, options), " (of the rate it starts from)")
    if "cooldown" in given:
        calls = _number("cooldown", given["cooldown"])
        horizon = Horizon.parse(found.get("horizon", DetectOptions().horizon)).fixed
        if horizon is None:  # as before torch's arguments were known
            found["cooldown"] = calls
        else:  # a shorter one would end before the cut is measured
            put("cooldown", "cooldown", max(calls / horizon, _POLICY.cooldown), " horizons")
    if "eps" in given:
        said.append(f"eps={given['eps']!r}: not needed")
    return found, said


def _min_scale(min_lr: Any, rates: Sequence[float], options: Mapping[str, Any]) -> float:
    """Return the scale at which the first group reaches its least rate; where none has one, the default.

    Raises:
        ValueError: There are more or fewer least rates than groups.
    """
    several = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * len(rates)
    if len(several) != len(rates):
        raise ValueError(f"min_lr has {len(several)} values, and the optimizer {len(rates)} groups; give one for each")
    shares = [_number("min_lr", low) / rate for low, rate in zip(several, rates, strict=True) if rate > 0]
    highest = max(shares, default=0.0)
    return min(highest, options.get("max_scale", _POLICY.max_scale)) if highest else _POLICY.min_scale


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number, got {value!r}")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and 0 or more, got {value!r}")
    return value


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
