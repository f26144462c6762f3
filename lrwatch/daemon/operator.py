"""Requests of operators: carried out in the daemon, journalled with the actor, refused in words by a bound."""

from __future__ import annotations

import shlex

import msgspec

from lrwatch.core.command import Status
from lrwatch.core.options import NEEDED, PolicyOptions
from lrwatch.core.sample import Axis
from lrwatch.core.strategies import STRATEGIES
from lrwatch.daemon.bounds import refusal
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.store import Request

Reply = tuple[bool, str]
"""Whether the request was carried out, and a sentence."""


class StrategyRequest(msgspec.Struct):
    """The argument of `lrwatch strategy`, as JSON: see `Policy.follow`."""

    strategy: str
    every: int = 0
    length: int = 0


# What a length is counted in, by the axis of the logs.
_UNITS: dict[Axis, str] = {"step": "steps", "epoch": "epochs", "record": "records"}

_NOT_ATTACHED = "no trainer listens in this run's control directory"


def handle(run: WatchedRun, request: Request, options: PolicyOptions, now: float) -> None:
    """Carry out a request, and answer whether that was possible. Both are journalled.

    Args:
        run: The run that it is about.
        request: The request.
        options: The settings; their bounds hold for operators too.
        now: Seconds since the epoch.
    """
    try:
        done, text = (False, request.refusal) if request.refusal else _reply(run, request, options, now)
    except ValueError:
        done, text = False, f"{request.argument!r} is no number, and {request.verb} needs one"
    run.answer(request, done=done, text=text)


def _reply(run: WatchedRun, request: Request, options: PolicyOptions, now: float) -> Reply:
    match request.verb:
        case "set":
            return _set(run, float(request.argument), request.actor, options, now)
        case "undo":
            return _undo(run, request.actor, options, now)
        case "hold":
            return _hold(run)
        case "resume":
            return _resume(run)
        case "strategy":
            return _follow(run, request.argument)
        case "decay":
            return _decay(run)
        case "extend":
            return _extend(run, int(request.argument))
        case "approve":
            return _approve(run, request, options, now)
        case "deny":
            return _deny(run, int(request.argument))
        case unknown:  # from a newer version
            return False, f"this daemon does not know the request {unknown!r}"


def _set(
    run: WatchedRun,
    scale: float,
    actor: str,
    options: PolicyOptions,
    now: float,
    *,
    cause: str = "operator",
    reload: bool = False,
    ramp: int = 0,
    reason: str = "",
    undoes: bool = False,
) -> Reply:
    """Send a scale, if the run is not held and all bounds that are known allow it."""
    commands = run.commands
    if commands.held:
        return False, f"the run is held; `lrwatch resume {shlex.quote(run.name)}` lets commands through again"
    reconciler = commands.reconciler
    if not commands.can_send or reconciler is None or reconciler.observed is None:
        return False, _cannot_send(run)
    observed = reconciler.observed
    if refused := refusal(scale, observed, options, run=run.name, ramp_steps=ramp):
        return False, refused
    commands.send(
        scale,
        reason=reason or f"{actor} asked for it",
        actor=actor,
        now=now,
        cause=cause,
        reload=reload,
        ramp_steps=ramp,
        undoes=undoes,
    )
    return True, f"scale {scale:g} is on its way"


def _cannot_send(run: WatchedRun) -> str:
    """Return why no command can be sent, and what to do."""
    reconciler = run.commands.reconciler
    if reconciler is None:
        return f"{_NOT_ATTACHED}; this daemon only watches it"
    if run.commands.rival:
        return run.commands.rival
    return f"{_NOT_ATTACHED}, {reconciler.control.path}; call lrwatch.attach(optimizer, {str(reconciler.control.path)!r}) there"


def _undo(run: WatchedRun, actor: str, options: PolicyOptions, now: float) -> Reply:
    scales = run.commands.scales
    if len(scales) < 2:
        return False, "nothing to undo: no command was applied since the trainer started"
    return _set(run, scales[-2], actor, options, now, reason=f"{actor} undid scale {scales[-1]:g}", undoes=True)


def _hold(run: WatchedRun) -> Reply:
    run.commands.held = True
    command = run.pipeline.command
    trial = (
        f"; the trial at scale {command.scale:g} stays in force until then" if command.status is Status.ON_TRIAL else ""
    )
    return True, (
        "held: lrwatch writes its decisions to the journal and sends none, and refuses `set`, `undo` and `approve`, until "
        f"`lrwatch resume {shlex.quote(run.name)}`{trial}"
    )


def _resume(run: WatchedRun) -> Reply:
    if not run.commands.held:
        return True, "the run was not held"
    run.commands.held = False
    if not run.pipeline.unanswered:
        run.pipeline.refused(until=0.0)  # decisions that were held are made again
    run.commands.proposals.clear()
    return True, "the run is no longer held; commands are sent again"


def _follow(run: WatchedRun, argument: str) -> Reply:
    try:
        wanted = msgspec.json.decode(argument, type=StrategyRequest)
    except msgspec.DecodeError as error:
        return False, f"this daemon cannot follow the strategy {argument!r}: {error}"
    strategy = STRATEGIES.get(wanted.strategy)
    if strategy is not None and strategy.NEEDS_TRAINER and not run.commands.can_send:
        return False, _cannot_send(run)
    try:
        run.pipeline.follow(wanted.strategy, every=wanted.every, length=wanted.length)
    except ValueError as error:
        option = NEEDED.get(wanted.strategy)
        again = f"lrwatch strategy {shlex.quote(run.name)} {wanted.strategy} --{option} STEPS"
        return False, f"{error}; `{again}` says it" if option and not getattr(wanted, option) else str(error)
    run.commands.proposals.clear()  # they are of another strategy
    return True, f"{wanted.strategy} decides from step {run.pipeline.step or 0} on"


def _decay(run: WatchedRun) -> Reply:
    try:
        run.pipeline.decay_now()
    except ValueError as error:
        return False, str(error)
    return True, f"the decay begins at step {run.pipeline.step or 0}"


def _extend(run: WatchedRun, total_steps: int) -> Reply:
    step, unit = run.pipeline.step or 0, _UNITS[run.logs.axis]
    if total_steps <= step:
        return False, f"expected a length beyond step {step}, which the run has reached; found {total_steps}"
    run.pipeline.set_total_steps(total_steps, "operator")
    return True, f"the run has {total_steps} {unit}, {step} of them are done"


def _approve(run: WatchedRun, request: Request, options: PolicyOptions, now: float) -> Reply:
    proposal = run.commands.proposals.get(int(request.argument))
    if proposal is None:
        return False, _no_proposal(run, int(request.argument))
    if objection := run.pipeline.objection(proposal):
        run.commands.proposals.clear()
        run.pipeline.refused(until=0.0)  # if it is right again, it is proposed again
        return (
            False,
            f"the proposal no longer holds: {objection}; nothing was sent, and lrwatch proposes again when a change pays",
        )
    ramp = proposal.steps_left(run.pipeline.step or 0)
    done, text = _set(
        run, proposal.scale, request.actor, options, now, cause=proposal.cause, reload=proposal.reload, ramp=ramp
    )
    if done:
        run.commands.proposals.clear()  # older ones rest on an older curve
    return done, text


def _no_proposal(run: WatchedRun, entry: int) -> str:
    """Return that there is no such proposal, and which there are."""
    open_now = ", ".join(map(str, run.commands.proposals))
    what = f"open now: {open_now}" if open_now else "none is open now; `lrwatch status` shows one as soon as there is"
    return f"entry {entry} of the journal is no open proposal of this run; {what}"


def _deny(run: WatchedRun, entry: int) -> Reply:
    if run.commands.proposals.pop(entry, None) is None:
        return False, _no_proposal(run, entry)
    run.pipeline.denied()
    return True, "denied; lrwatch proposes nothing for one horizon"
