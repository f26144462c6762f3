"""The bounds of a command in words, with a remedy: checked ahead for operators, and explained after a refusal by a trainer.

An operator's scale has to fit the policy's bounds and those of the trainer, which tells them in `observed.json`. The last word
is the trainer's: the check here rests on its newest report.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping

from lrwatch.core.options import PolicyOptions
from lrwatch.protocol import Desired, Observed

# Two factors that differ by less are the same; 0.3 / 3 is not 0.1 in binary.
_TOLERANCE = 1e-9

# Digits of a scale that a remedy names.
_DIGITS = 4

_MEANINGS: dict[str, tuple[str, str]] = {
    "bad_mac": (
        "its signature is missing or wrong",
        "Give daemon and trainer the same key: [daemon] key_file, attach(..., key_file=).",
    ),
    "wrong_run": ("it is for another run", "Compare attach(..., run=) with the runs that use this control directory."),
    "wrong_incarnation": ("the trainer has started again since", "It is decided again for the new start."),
    "stale_token": (
        "another daemon has taken the control of this run",
        "Stop one of the two daemons; the newest `controller-N` in the control directory names host and process.",
    ),
    "stale_generation": ("the trainer has taken a newer command", "Nothing to do: the newer one holds."),
    "unsupported": ("this trainer cannot do what it asks", "Update lrwatch where the training runs."),
    "apply_failed": (
        "the optimizer, or the function given to attach, did not take the scale",
        "The output of the training has the error.",
    ),
    "lr_written_in_step": (
        "the optimizer writes its own learning rate in its step, so that nothing can scale it",
        "In the training, attach a callable, or None and read watch.scale.",
    ),
}
"""Reason and remedy by code, for those that no bound explains."""


def refusal(scale: float, observed: Observed, options: PolicyOptions, *, run: str, ramp_steps: int = 0) -> str:
    """Return why a scale cannot be set now, with the numbers and what to do, or "".

    Args:
        scale: Absolute multiplier on the schedule's learning rate.
        observed: The newest report of the trainer.
        options: The policy's bounds; its budget is for strategies and not for operators.
        run: The run's name, for the remedy.
        ramp_steps: Optimizer steps over which the scale moves there; 0 is at once.
    """
    if not math.isfinite(scale) or not options.min_scale <= scale <= options.max_scale:
        return (
            f"scale {scale:g} is outside {options.min_scale:g} to {options.max_scale:g} ([policy] min_scale, max_scale); "
            "give one between them, or change these settings and start the daemon again"
        )
    limits = observed.limits
    if out := _outside(scale, limits):
        return out
    if scale == observed.scale:
        return ""
    return (
        _locked(observed)
        or _spent(limits)
        or _too_soon(observed)
        or _too_far(scale, observed, options, run=run, ramp_steps=ramp_steps)
    )


def in_words(code: str, desired: Desired | None, observed: Observed, options: PolicyOptions, *, run: str) -> str:
    """Return why the trainer has refused a command, with the numbers and what to do.

    Args:
        code: The code of its answer.
        desired: The command, or None where it is not known any more.
        observed: The answer.
        options: The policy's bounds.
        run: The run's name, for the remedy.
    """
    if code in _MEANINGS:
        reason, remedy = _MEANINGS[code]
        return f"{reason}. {remedy}"
    limits = observed.limits
    known = ""
    if code == "warmup":
        known = _locked(observed)
    elif code == "budget":
        known = _spent(limits)
    elif code == "too_soon":
        known = _too_soon(observed)
    elif desired is not None and code == "out_of_bounds":
        known = _outside(desired.scale, limits)
    elif desired is not None and code == "factor_too_large":
        known = _too_far(desired.scale, observed, options, run=run, ramp_steps=desired.ramp_steps)
    elif desired is not None and code == "expired":
        known = (
            f"it was to begin by step {desired.not_after_step}, and the trainer is at {observed.step}; what is still worth it is "
            "decided again"
        )
    return known or f"the trainer (at scale {observed.scale:g}, step {observed.step}) answers {code!r}"


def _outside(scale: float, limits: Mapping[str, float]) -> str:
    low, high = limits.get("min_scale", 0.0), limits.get("max_scale", math.inf)
    if low <= scale <= high:
        return ""
    return (
        f"scale {scale:g} is outside {low:g} to {high:g}, the bounds of the trainer (attach(..., min_scale=, max_scale=)); "
        "give one between them"
    )


def _locked(observed: Observed) -> str:
    until = int(max(observed.limits.get("warmup_steps", 0), observed.warm_until or 0))
    if observed.step + 1 > until:
        return ""
    return f"the trainer keeps its rate until step {until} (its warmup) and is at step {observed.step}; ask again after that"


def _spent(limits: Mapping[str, float]) -> str:
    done, most = limits.get("commands", 0), limits.get("max_commands", math.inf)
    if done < most:
        return ""
    return (
        f"the trainer has taken {done:g} commands, and {most:g} are all that it takes in its life (attach(..., max_commands=)); "
        "start it from its checkpoint with a larger number"
    )


def _too_soon(observed: Observed) -> str:
    last, pause = observed.limits.get("last_change"), observed.limits.get("min_steps_between", 0)
    if last is None or observed.step + 1 - last >= pause:
        return ""
    return (
        f"the last change was at step {last:g}, and the trainer leaves {pause:g} steps between two (attach(..., "
        f"min_steps_between=)); ask again from step {last + pause:g} on"
    )


def _too_far(scale: float, observed: Observed, options: PolicyOptions, *, run: str, ramp_steps: int) -> str:
    limits, now = observed.limits, observed.scale
    up = {"[policy]": options.max_factor_up, "attach": limits.get("max_factor_up", math.inf)}
    down = {"[policy]": options.max_factor_down, "attach": limits.get("max_factor_down", 0.0)}
    most, least = min(up.values()), max(down.values())
    factor = _steepest(now, scale, ramp_steps)
    if least * (1 - _TOLERANCE) <= factor <= most * (1 + _TOLERANCE):
        return ""
    rises = factor > 1
    key, bounds, bound = ("max_factor_up", up, most) if rises else ("max_factor_down", down, least)
    owners = " and ".join(owner for owner, value in bounds.items() if value == bound)
    return (
        f"from scale {now:g} to {scale:g} is a factor of {factor:.4g}, and one command changes it by {least:g} to {most:g} "
        f"({owners}, {key}); go there in steps: `lrwatch set {shlex.quote(run)} --scale {_short(now * bound, rises=rises):g}` first"
    )


def _steepest(now: float, scale: float, ramp_steps: int) -> float:
    """Return the factor between two neighbouring steps that is farthest from 1: the last one down, the first one up."""
    a_step = (scale - now) / max(ramp_steps, 1)
    return scale / (scale - a_step) if scale < now else (now + a_step) / now


def _short(scale: float, *, rises: bool) -> float:
    """Return a scale with few digits, on the side of `scale` from which the way comes."""
    digits = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(scale)))
    if rises:
        return math.floor(scale * digits * (1 + _TOLERANCE)) / digits
    return math.ceil(scale * digits * (1 - _TOLERANCE)) / digits
