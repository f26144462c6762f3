"""The referee of one daemon in the games of tests/e2e/test_stateful.py: compares what it sends and journals with what was done.

Its memory is its own, made of the journal's entries as they come and of the commands as they are written. So it notices a daemon that
forgets or imagines something, across any number of restarts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lrwatch.control.reconciler import Reconciler
from lrwatch.daemon.watched_run import WatchedRun
from lrwatch.protocol import Desired
from lrwatch.store import Entry

# Requests of an operator after which the scale in use is that person's choice.
CHOOSES = ("set", "undo", "approve", "strategy", "decay")
# Requests that a hold refuses.
SENDS = ("set", "undo", "approve")


class Referee:
    """What one daemon has said so far.

    Args:
        in_force: Incarnation and generation of every command that a trainer has taken, kept up to date by the machine.
        forged: Incarnations that somebody else than a daemon has commanded, likewise.
        in_use: Incarnation to the scale in use, likewise.
    """

    def __init__(self, in_force: set[tuple[str, int]], forged: set[str], in_use: dict[str, float]) -> None:
        self._in_force, self._forged, self._in_use = in_force, forged, in_use
        self._held = False
        self._causes: dict[int, str] = {}  # of decisions, by the generation
        self._sent: dict[int, Desired] = {}
        self._scale = 1.0  # that the trainer is known to use
        # Scales of the newest trial that was applied, from its own up to the one before it, unless it was proven since.
        self._unproven: tuple[float, float] | None = None

    def heard(self, entry: Entry) -> None:
        """Take an entry of the journal, in order."""
        event = entry.event
        match event["event"]:
            case "operator" if event["done"]:
                self._asked(event["verb"], event["argument"])
            case "command" if event["state"] == "sent":
                assert not self._held, f"a run that is held sends: {event}"
                assert event["mode"] == "auto", f"nobody approved this: {event}"
                self._causes[event["generation"]] = event["cause"]
                if event["cause"] not in ("probe", "restore"):  # decided for good: a trial that is proven, a schedule
                    self._unproven = None
            case "acknowledged":
                self._acknowledged(event["generation"], event["scale"])
            case "hello":
                self._scale = event["scale"]
            case "takeover":
                self._unproven = None  # what is in use may be the other daemon's
            case _:
                pass

    def _asked(self, verb: str, argument: str) -> None:
        assert not (self._held and verb in SENDS), f"a run that is held carries out {verb!r}"
        if verb in ("hold", "resume"):
            self._held = verb == "hold"
        if verb in CHOOSES:
            self._unproven = None
            if "plateau" not in argument:  # else a trial that is on its way is judged all the same
                self._causes.clear()

    def _acknowledged(self, generation: int, scale: float) -> None:
        sent = self._sent.get(generation)
        assert sent is not None, f"I6: generation {generation} is acknowledged, and it was not sent"
        assert (sent.incarnation, generation) in self._in_force, (
            f"I6: generation {generation} is acknowledged, and {sent.incarnation[:6]} has not taken it"
        )
        match self._causes.get(generation):
            case "probe":
                assert not self._is_unproven(self._scale), f"a trial begins at scale {self._scale:g}, which is unproven"
                self._unproven = scale, self._scale
            case "restore":
                pass  # it may go a part of the way
            case _:
                self._unproven = None
        self._scale = scale

    def sent(self, desired: Desired, reconciler: Reconciler, saved: Mapping[str, Any] | None) -> None:
        """Check a command that is about to be written.

        Args:
            desired: The command.
            reconciler: Who writes it.
            saved: The state of the run that a restart would find.
        """
        self._sent[desired.generation] = desired
        assert reconciler.observed is not None
        assert desired.incarnation == reconciler.observed.incarnation, "I4: a command for a trainer that is gone"
        assert desired.not_after_step is not None, "I2: a command without a last step"
        found = None if saved is None else saved["reconciler"]["desired"]
        assert found is not None, "I6: a command is sent that a restart would not know"
        assert found["generation"] == desired.generation, "I6: another command is sent than the one that was saved"
        claims = [int(path.name.split("-")[1]) for path in reconciler.control.path.glob("controller-*")]
        assert desired.token >= max(claims, default=0), f"I5: token {desired.token} is written over {max(claims)}"

    def _knows_the_scale(self, run: WatchedRun, reconciler: Reconciler) -> None:
        """Check that a daemon that commands knows the scale in use, if none but daemons have changed it."""
        observed = reconciler.observed
        assert observed is not None
        if observed.incarnation in self._forged or observed.target_scale is not None:
            return
        if observed.life == "ended" or observed.incarnation != reconciler._incarnation:  # nobody commands it
            return
        if (
            self._in_use.get(observed.incarnation) != observed.scale
        ):  # an old word, or one that the daemon has not read yet
            return
        known = run.commands.scales[-1]
        assert math.isclose(known, observed.scale), (
            f"I6: the daemon believes scale {known}, and {observed.scale} is in use"
        )

    def look(self, run: WatchedRun) -> None:
        """Check that no trial has been forgotten: nothing is on its way, so what is in use was proven or chosen."""
        command, reconciler = run.pipeline.command, run.commands.reconciler
        if reconciler is not None and reconciler.pending is None and reconciler.attached and not reconciler.fenced:
            self._knows_the_scale(run, reconciler)
        rests = command.trial is None and command.wanted is None and not run.commands.held
        if rests and reconciler is not None and reconciler.pending is None and not reconciler.fenced:
            assert not self._is_unproven(command.scale), f"a trial at {command.scale:g} stays, and nothing proved it"

    def _is_unproven(self, scale: float) -> bool:
        return self._unproven is not None and self._unproven[0] <= scale < self._unproven[1]
