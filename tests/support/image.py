"""What the Dockerfile says, for tests of it and of what runs the image."""

from __future__ import annotations

import re
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "deploy/docker/Dockerfile"
_JOINED = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")


def instruction(name: str) -> str:
    """Return the argument of the last instruction of this name."""
    found: list[str] = re.findall(rf"^\s*{name}\s+(.*)$", _JOINED, re.MULTILINE)
    return found[-1]


def pairs(name: str) -> dict[str, str]:
    """Return the last instruction of this name as names and values."""
    return {key: value.strip('"') for key, value in re.findall(r'([\w.]+)=("[^"]*"|\S+)', instruction(name))}


IMAGE_ENVIRONMENT = {**pairs("ENV"), "PATH": pairs("ENV")["PATH"].replace("$PATH", "/usr/local/bin:/usr/bin:/bin")}
"""The environment that the image gives a container."""
