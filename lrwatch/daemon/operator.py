"""What operators ask of a run: answered in the daemon, journalled with the actor, refused in words by a bound."""

from __future__ import annotations

import math

import msgspec

from lrwatch.core.options import PolicyOptions
from lrwatch.core.strategies import STRATEGIES
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Request

Outcome = tuple[bool, str]


class Following(msgspec.Struct):
    """What `lrwatch strategy` asks, as JSON: see `Pilot.follow`."""

    strategy: str
    every: int = 0
    length: int = 0


_NOBODY_LISTENS = "no trainer listens in this run's control directory"


def handle(watched: WatchedRun, request: Request, options: PolicyOptions, now: float) -> None:
    """Do what was asked, and answer: whether it was done, and a sentence. Both are journalled."""
    try:
        done, text = _do(watched, request, options, now)
    except ValueError:
        done, text = False, f"{request.argument!r} is no number, and {request.verb} needs one"
    watched.answer(request, done=done, text=text)


def _do(watched: WatchedRun, request: Request, options: PolicyOptions, now: float) -> Outcome:
    match request.verb:
        case "set":
            return _set(watched, float(request.argument), request.actor, options, now)
        case "undo":
            return _undo(watched, request.actor, now)
        case "hold":
            watched.held = True
            return True, "held: decisions are journalled and not sent"
        case "resume":
            return _resume(watched)
        case "strategy":
            return _follow(watched, request.argument)
        case "decay":
            return _decay(watched)
        case "approve":
            return _approve(watched, request, options, now)
        case "deny":
            return _deny(watched, int(request.argument))
        case unknown:  # asked by a newer version
            return False, f"{unknown!r} is nothing that this daemon knows how to do"


def _set(
    watched: WatchedRun, scale: float, actor: str, options: PolicyOptions, now: float, *, reload: bool = False
) -> Outcome:
    if not math.isfinite(scale) or not options.min_scale <= scale <= options.max_scale:
        bounds = f"{options.min_scale:g} to {options.max_scale:g} ([policy] min_scale, max_scale)"
        return False, f"scale {scale:g} is outside {bounds}"
    if not watched.can_send:
        return False, _NOBODY_LISTENS
    watched.send(scale, reason=f"{actor} asked for it", actor=actor, now=now, reload=reload)
    return True, f"scale {scale:g} is on its way"


def _undo(watched: WatchedRun, actor: str, now: float) -> Outcome:
    if len(watched.scales) < 2:
        return False, "nothing to undo: no command was applied"
    if not watched.can_send:
        return False, _NOBODY_LISTENS
    scale = watched.scales[-2]
    watched.send(scale, reason=f"{actor} undid scale {watched.scales[-1]:g}", actor=actor, now=now)
    return True, f"scale {scale:g} is on its way"


def _resume(watched: WatchedRun) -> Outcome:
    if not watched.held:
        return True, "it was not held"
    watched.held = False
    watched.run.refused(until=0.0)  # what was decided meanwhile is decided anew
    return True, "decisions are sent again"


def _follow(watched: WatchedRun, argument: str) -> Outcome:
    try:
        asked = msgspec.json.decode(argument, type=Following)
    except msgspec.DecodeError as error:
        return False, f"{argument!r} is no strategy that this daemon knows how to follow: {error}"
    strategy = STRATEGIES.get(asked.strategy)
    if strategy is not None and strategy.NEEDS_TRAINER and not watched.can_send:
        return False, _NOBODY_LISTENS
    try:
        watched.run.follow(asked.strategy, every=asked.every, length=asked.length)
    except ValueError as error:
        return False, str(error)
    watched.proposals.clear()  # another strategy made them
    return True, f"{asked.strategy} decides from step {watched.run.step or 0} on"


def _decay(watched: WatchedRun) -> Outcome:
    try:
        watched.run.decay_now()
    except ValueError as error:
        return False, str(error)
    return True, f"the decay begins at step {watched.run.step or 0}"


def _approve(watched: WatchedRun, request: Request, options: PolicyOptions, now: float) -> Outcome:
    proposal = watched.proposals.get(int(request.argument))
    if proposal is None:
        return False, f"entry {request.argument} of the journal is no open proposal of this run"
    done, text = _set(watched, proposal.scale, request.actor, options, now, reload=proposal.reload)
    if done:
        watched.proposals.clear()  # older ones were made on an older curve
    return done, text


def _deny(watched: WatchedRun, entry: int) -> Outcome:
    if watched.proposals.pop(entry, None) is None:
        return False, f"entry {entry} of the journal is no open proposal of this run"
    watched.run.refused()
    return True, "denied; nothing is proposed for a horizon"
