"""What operators ask of a run: answered in the daemon, journalled with the actor, refused in words by a bound."""

from __future__ import annotations

import math
from collections.abc import Callable

from lrwatch.core.options import PolicyOptions
from lrwatch.daemon.watched import Watched
from lrwatch.store import Request

Outcome = tuple[bool, str]


def handle(watched: Watched, request: Request, options: PolicyOptions, now: float) -> None:
    """Do what was asked, and answer: whether it was done, and a sentence. Both are journalled."""
    try:
        done, text = _VERBS[request.verb](watched, request, options, now)
    except (KeyError, ValueError):  # the request was left by another version, or by another program
        done, text = False, f"{request.verb!r} with {request.argument!r} is nothing that this daemon understands"
    watched.answer(request, done=done, text=text)


def _set(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    scale = float(request.argument)
    if not math.isfinite(scale) or not options.min_scale <= scale <= options.max_scale:
        return False, f"scale {scale:g} is outside {options.min_scale:g} to {options.max_scale:g} ([policy] min_scale, max_scale)"
    if not watched.can_send:
        return False, "no trainer listens in this run's control directory"
    watched.send(scale, reason=f"{request.actor} asked for it", actor=request.actor, now=now)
    return True, f"scale {scale:g} is on its way"


def _undo(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    if len(watched.scales) < 2:
        return False, "nothing to undo: no command was applied"
    if not watched.can_send:
        return False, "no trainer listens in this run's control directory"
    scale = watched.scales[-2]
    watched.send(scale, reason=f"{request.actor} undid scale {watched.scales[-1]:g}", actor=request.actor, now=now)
    return True, f"scale {scale:g} is on its way"


def _hold(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    watched.held = True
    return True, "held: decisions are journalled and not sent"


def _resume(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    if not watched.held:
        return True, "it was not held"
    watched.held = False
    watched.run.refused(until=0.0)  # what was decided meanwhile is decided anew
    return True, "decisions are sent again"


def _approve(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    scale = watched.proposals.get(int(request.argument))
    if scale is None:
        return False, f"entry {request.argument} of the journal is no open proposal of this run"
    done, text = _set(watched, Request(request.id, request.run, request.actor, "set", repr(scale)), options, now)
    if done:
        watched.proposals.clear()  # older ones were made on an older curve
    return done, text


def _deny(watched: Watched, request: Request, options: PolicyOptions, now: float) -> Outcome:
    if watched.proposals.pop(int(request.argument), None) is None:
        return False, f"entry {request.argument} of the journal is no open proposal of this run"
    watched.run.refused()
    return True, "denied; nothing is proposed for a horizon"


_VERBS: dict[str, Callable[[Watched, Request, PolicyOptions, float], Outcome]] = {
    "set": _set, "undo": _undo, "hold": _hold, "resume": _resume, "approve": _approve, "deny": _deny,
}  # fmt: skip
VERBS = tuple(_VERBS)
