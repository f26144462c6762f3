"""Observe: report, and never command."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lrwatch.core.strategies.base import Strategy


@dataclass(frozen=True, slots=True)
class Observe(Strategy):
    """Never command."""

    NAME: ClassVar[str] = "observe"
