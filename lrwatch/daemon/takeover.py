"""Takeovers between the daemons of one run, as events of the journal: who commands, from when on, in whose place."""

from __future__ import annotations

from typing import Any

from lrwatch.control.token import Lease
from lrwatch.core.checkpoint import Checkpointed


class Takeovers(Checkpointed):
    """What the journal knows of the lease of one run.

    It tells of a change only: a daemon that starts again after its own end takes nothing over.

    Attributes:
        told: The newest token that was compared; 0 before one.
    """

    SAVED = ("_rival",)

    def __init__(self) -> None:
        self._rival = ""  # who commands in the place of this daemon, as the journal was told
        self.told = 0

    def look(self, lease: Lease, *, run: str, step: int | None) -> dict[str, Any] | None:
        """Compare the lease with what the journal knows.

        Args:
            lease: The lease.
            run: The run's name.
            step: The newest step of the run.

        Returns:
            The event of a takeover, or None where there was none.
        """
        common = {"event": "takeover", "run": run, "step": step, "token": lease.token}
        if lease.rival and not self._rival:
            self._rival = lease.rival
            return {
                **common,
                "commands": False,
                "message": f"{lease.rival}, so this daemon only watches from here on",
            }
        if lease.token == self.told or lease.rival or not lease.token:
            return None
        self.told = lease.token
        was_fenced, self._rival = bool(self._rival), ""
        if not (was_fenced or lease.predecessor):
            return None
        who = lease.predecessor or "the other daemon"
        again = "again " if was_fenced else ""
        return {
            **common,
            "commands": True,
            "message": f"this daemon commands {again}with token {lease.token}, in the place of {who}",
        }
