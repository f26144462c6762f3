"""Requests to a daemon that runs: found by its socket, so that nobody has to say where its state is."""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lrwatch.cli.settings import has_state, open_store, require_run, state_directory

if TYPE_CHECKING:
    from lrwatch.config import Config

# The daemon answers at every turn: the poll interval and the longest read, with room to spare.
ANSWER_SECONDS = 35.0

# A daemon says at once which runs it has.
_GREETING_SECONDS = 5.0

# Seconds between two looks for the answer, where there is no socket.
_LOOK_SECONDS = 0.05

Answer = dict[str, Any]


def ask(config: Config, run: str, verb: str, argument: str, *, through: str = "") -> Answer:
    """Ask the daemon that watches `run`, and return its answer.

    Args:
        config: The settings; a state directory among them names the daemon.
        run: The run's name.
        verb: Name of the request.
        argument: Its argument, as the verb defines it, or "".
        through: "mcp" where a program asks through this process: then only over a socket, whose daemon knows what that means.

    Returns:
        Whether it is `done`, and a sentence as `text`.

    Raises:
        InputError: No daemon watches this run, or it gives no answer.
        RefusedError: What is asked through this process is not allowed.
    """
    from lrwatch.errors import InputError, RefusedError

    own, others = daemons(config, through)
    watching = [path for path, greeting in own or others if run in greeting["runs"]]
    if own and not watching:
        watching = [path for path, greeting in others if run in greeting["runs"]]
    if len(watching) > 1:
        states = ", ".join(greeting["state"] for path, greeting in others if path in watching)
        raise InputError(
            expected="one daemon that watches this run", found=f"{len(watching)}", where=f"run {run}",
            hint=f"Name the state directory of one with --state: {states}.",
        )  # fmt: skip
    if watching:
        greeting = next(greeting for path, greeting in own + others if path == watching[0])
        if through and verb not in greeting.get("may", ()):
            raise RefusedError(
                reason=f"[operators] of the daemon does not name {through}:USER for `{verb}`", where=f"{verb} {run}"
            )
        message = {"verb": verb, "run": run, "argument": argument, **({"through": through} if through else {})}
        answer = _talk(watching[0], message, ANSWER_SECONDS)
        if answer is None or "error" in answer:
            raise InputError(
                expected="an answer of the daemon", found="none" if answer is None else answer["error"], where=f"run {run}",
                hint=f"`lrwatch journal {shlex.quote(run)}` shows what became of it.",
            )  # fmt: skip
        return answer
    if own or (others and not has_state(config)):
        names = sorted({name for _, greeting in own or others for name in greeting["runs"]})
        raise InputError(
            expected="the name of a run", found=repr(run), where=", ".join(greeting["state"] for _, greeting in own or others),
            hint=f"Known are {', '.join(names)}." if names else "No run is known yet: start `lrwatch run PATH`.",
        )  # fmt: skip
    if through:
        raise InputError(
            expected="a daemon with a socket for operators", found="none", where=f"run {run}",
            hint="Start `lrwatch run` for the same state directory; it says if it can make no socket.",
        )  # fmt: skip
    return _through_the_state(config, run, verb, argument)


def daemons(config: Config, through: str = "") -> tuple[list[tuple[Path, Answer]], list[tuple[Path, Answer]]]:
    """Return the sockets on which daemons listen, each with its greeting: of the state directory, and all others.

    Args:
        config: The settings. Where they name a state directory, only its daemon is looked for.
        through: As in `ask`; the greeting says as `may` what may be asked so.
    """
    from lrwatch.daemon import rendezvous

    own = rendezvous.of_state(state_directory(config), os.environ)
    others = [] if config.daemon.state else [path for path in rendezvous.everywhere(os.environ) if path not in own]
    return _greeted(own, through), _greeted(others, through)


def _greeted(paths: list[Path], through: str) -> list[tuple[Path, Answer]]:
    message = {"verb": "runs", **({"through": through} if through else {})}
    answers = [(path, _talk(path, message, _GREETING_SECONDS)) for path in paths]
    return [(path, answer) for path, answer in answers if answer is not None and "runs" in answer]


def _talk(path: Path, message: dict[str, str], seconds: float) -> Answer | None:
    """Send a request, and return the answer, or None where nobody listens or answers."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(seconds)
            connection.connect(str(path))
            connection.sendall(json.dumps({"v": 1, **message}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline())
    except (OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def _through_the_state(config: Config, run: str, verb: str, argument: str) -> Answer:
    """Ask through the state directory: the way to a daemon that could make no socket."""
    from lrwatch.daemon.access import this_process
    from lrwatch.errors import InputError
    from lrwatch.store import daemon_is_running

    directory = state_directory(config)
    store = open_store(config)
    try:
        require_run(store, run)
        if not daemon_is_running(directory):
            raise InputError(
                expected="a daemon that carries it out", found="none", where=str(directory),
                hint="Start `lrwatch run`, then try again.",
            )  # fmt: skip
        number = store.request(run, this_process().actor, verb, argument, time.time())
        deadline = time.monotonic() + ANSWER_SECONDS
        while (answer := store.answer_to(number)) is None:
            if time.monotonic() > deadline:
                raise InputError(
                    expected=f"an answer of the daemon within {ANSWER_SECONDS:.0f} s", found="none", where=f"run {run}",
                    hint="The request stays open; `lrwatch journal` will show its answer.",
                )  # fmt: skip
            time.sleep(_LOOK_SECONDS)
    finally:
        store.close()
    return answer
