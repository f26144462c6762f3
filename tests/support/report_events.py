"""Events of a run in their JSON form, for the tests of the report."""

from __future__ import annotations

from typing import Any

from lrwatch.core.events import Effect, as_json


def command(step: int, scale: float, generation: int | None = None) -> dict[str, Any]:
    event: dict[str, Any] = {"event": "command", "step": step, "scale": scale, "reason": "plateau", "cause": "plateau"}
    return event if generation is None else event | {"generation": generation}


def answer(kind: str, step: int, scale: float | None, generation: int | None = None, code: str = "") -> dict[str, Any]:
    return {"event": kind, "step": step, "scale": scale, "generation": generation, "code": code}


def effect(step: int, scale: float, gain: float, margin: float = 0.01) -> dict[str, Any]:
    return as_json(Effect(step, scale, gain, gain - margin, gain + margin, ""), "r")


def restore(step: int, scale: float) -> dict[str, Any]:
    return {**command(step, scale), "cause": "restore"}
