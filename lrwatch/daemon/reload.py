"""The difference between two settings: what a running daemon applies, and what needs a restart."""

from __future__ import annotations

from dataclasses import dataclass

from lrwatch.config import Config, keys

# What `Daemon.apply` and `lrwatch run` take up. Everything else is used once, when the daemon begins.
_SECTIONS = frozenset({"run", "watch", "detect", "policy", "operators", "journal"})
_KEYS = frozenset({"daemon.poll_seconds", "daemon.key_file", "export.keep_ended"})


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two settings.

    Attributes:
        now: The keys that a running daemon takes up, as "section.key: before -> after".
        at_start: Those that it cannot, by name alone: the address of a channel may hold a password.
    """

    now: tuple[str, ...]
    at_start: tuple[str, ...]


def changes(before: Config, after: Config) -> Changes:
    """Return what differs.

    Args:
        before: The settings of the running daemon.
        after: Those that were read again.
    """
    now: list[str] = []
    at_start: list[str] = []
    for name in keys():
        section, _, key = name.partition(".")
        old, new = (getattr(getattr(config, section), key) for config in (before, after))
        if old != new:
            if section in _SECTIONS or name in _KEYS:
                now.append(f"{name}: {old!r} -> {new!r}")
            else:
                at_start.append(name)
    return Changes(tuple(now), tuple(at_start))
