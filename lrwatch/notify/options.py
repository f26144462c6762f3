"""The settings of notifications, and the kinds of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from lrwatch.core.events import KINDS, Severity

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""The severities, rising."""

NOTICE_KINDS: Mapping[str, Severity] = {
    **{kind: about.severity for kind, about in KINDS.items()},
    "lost": "critical",
    "ended": "info",
    "running": "info",
    "awaiting_approval": "warning",
    "proposal": "info",
    "command": "info",
    "taken_back": "info",
    "cost_progress": "warning",
    "rejected": "warning",
    "expired": "info",
    "not_acting": "critical",
    "two_trainers": "warning",
    "two_controllers": "critical",
    "unacknowledged": "warning",
    "unreadable": "warning",
}
"""Every kind of notification with its severity: the findings, the life of a run, its commands, and what is wrong with its trainer."""

# A severity before an URL is the least one of that channel.
_CHANNEL = re.compile(rf"(?:({'|'.join(SEVERITIES)})=)?([a-z][a-z0-9+.-]*)://\S+", re.IGNORECASE)
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)")

_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class NotifyOptions:
    """`[notify]`: messages to people.

    Attributes:
        urls: URLs of apprise, one a channel; `critical=URL` is a channel that takes no less. In the environment separated by blanks.
        urls_file: File with further ones, one a line, where the configuration is no place for secrets.
        command: Program with its arguments that is run for each notification, which it reads as JSON from its standard input.
        severity: The least severity of channels without one of their own, and of the command.
        kinds: Kinds that are sent; empty is all of them.
        at_once: The least severity that is sent at once; what is less waits for the digest.
        digest_seconds: Longest wait for the digest.
        repeat_seconds: The same about the same metric of a run is not sent again within this; it is counted.
        per_hour: Messages that a channel is sent in an hour; what comes faster is put together.
        quiet: Hours of the local time, as 22:00-07:00, in which only what is critical is sent.
        timeout_seconds: Time limit of the command.
        picture: Whether the curve goes along, where a channel takes pictures.
    """

    urls: tuple[str, ...] = ()
    urls_file: str = ""
    command: tuple[str, ...] = ()
    severity: Severity = "info"
    kinds: tuple[str, ...] = ()
    at_once: Severity = "warning"
    digest_seconds: float = 3600.0
    repeat_seconds: float = 3600.0
    per_hour: int = 20
    quiet: str = ""
    timeout_seconds: float = 20.0
    picture: bool = True

    def __post_init__(self) -> None:
        for number, url in enumerate(self.urls, 1):
            if _CHANNEL.fullmatch(url) is None:  # it is not shown: it may hold a secret
                raise ValueError(f"urls must be like SCHEME://... or critical=SCHEME://..., number {number} is not")
        for kind in self.kinds:
            if kind not in NOTICE_KINDS:
                raise ValueError(f"kinds must be among {', '.join(NOTICE_KINDS)}, got {kind!r}")
        if self.quiet and _HOURS.fullmatch(self.quiet) is None:
            raise ValueError(f"quiet must be like 22:00-07:00, got {self.quiet!r}")
        for name in ("digest_seconds", "repeat_seconds", "timeout_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a finite number of seconds above 0, got {getattr(self, name)!r}")
        if not 0 < self.per_hour <= 3600:
            raise ValueError(f"per_hour must be from 1 to 3600, got {self.per_hour!r}")

    @property
    def is_used(self) -> bool:
        """Whether there is anybody to notify."""
        return bool(self.urls or self.urls_file or self.command)

    def quiet_seconds(self, minute: int) -> float:
        """Return how long the quiet hours last from a minute of the local day on; 0 outside of them.

        >>> NotifyOptions(quiet="22:00-07:00").quiet_seconds(6 * 60 + 30)
        1800.0
        """
        found = _HOURS.fullmatch(self.quiet)
        if found is None:
            return 0.0
        first, last = 60 * int(found[1]) + int(found[2]), 60 * int(found[3]) + int(found[4])
        length, passed = (last - first) % _MINUTES_A_DAY, (minute - first) % _MINUTES_A_DAY
        return 60.0 * (length - passed) if passed < length else 0.0


def channel_parts(line: str) -> tuple[Severity | None, str, str] | None:
    """Return the least severity, the scheme and the URL of a line, or None where it is no channel."""
    found = _CHANNEL.fullmatch(line.strip())
    if found is None:
        return None
    least = next((severity for severity in SEVERITIES if severity == (found[1] or "").lower()), None)
    return least, found[2].lower(), line.strip().partition("=")[2] if found[1] else line.strip()


def redacted(url: str) -> str:
    """Return what may be shown of a channel: a token may stand anywhere behind the scheme.

    >>> redacted("critical=slack://xoxb-1/#ops")
    'critical=slack://***'
    """
    return f"{url.partition('://')[0]}://***" if channel_parts(url) else "***"
