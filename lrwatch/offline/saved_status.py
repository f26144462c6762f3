"""The status of a run as a daemon saved it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lrwatch.core.snapshot import RunStatus


def status_of(saved: Mapping[str, Any]) -> RunStatus:
    """Return a status that a daemon saved; what another version added is left out, and what it lacks has its default."""
    import msgspec

    return msgspec.convert({**saved, "problem": saved.get("why", "")}, RunStatus)
