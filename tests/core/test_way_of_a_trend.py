"""The way of one look at the trend, from the detector to the command: six stops, and none of them twice."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from types import FrameType

import numpy as np
from support.batches import batch

import lrwatch
from lrwatch.core.options import DetectOptions, PolicyOptions
from lrwatch.core.pipeline import Pipeline

CORE = Path(lrwatch.__file__).parent / "core"
N = 3000


@contextmanager
def calls_of(wanted: dict[str, str]) -> Iterator[list[list[str]]]:
    """Note, at each call of these functions by their file, the files of the core that are on the stack, the outermost first."""
    stacks: list[list[str]] = []

    def file_of(frame: FrameType) -> str:
        path = Path(frame.f_code.co_filename)
        return path.relative_to(CORE).with_suffix("").as_posix() if path.is_relative_to(CORE) else ""

    def watch(frame: FrameType, event: str, _: object) -> None:
        if (
            event != "call"
            or frame.f_code.co_name not in wanted.values()
            or wanted.get(file_of(frame)) != frame.f_code.co_name
        ):
            return
        files: list[str] = []
        at: FrameType | None = frame
        while at is not None:
            files.append(file_of(at))
            at = at.f_back
        stacks.append([file for file, _ in groupby(reversed(files)) if file])

    before = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield stacks
    finally:
        sys.setprofile(before)


def test_a_look_goes_up_to_the_pipeline_and_down_to_the_command() -> None:
    steps = np.arange(1, N + 1)
    loss = 1 + 3 * np.exp(-steps / 150) + 0.02 * np.random.default_rng(0).standard_normal(N)
    pipeline = Pipeline(DetectOptions(), PolicyOptions(mode="suggest", strategy="plateau"))
    ends = {"detectors/plateau": "feed", "strategies/plateau": "look", "command": "step"}
    with calls_of(ends) as stacks:
        for first in range(0, N, 50):
            pipeline.feed(batch(steps[first : first + 50], {"loss": loss[first : first + 50]}))
            if pipeline.command.wanted is not None:
                break
    assert pipeline.command.wanted == 0.5
    ways = {stack[-1]: tuple(stack) for stack in stacks}
    assert len({tuple(stack) for stack in stacks}) == len(ways) == len(ends)
    assert ways["detectors/plateau"] == ("pipeline", "metrics", "tracker", "detectors/plateau")
    assert ways["strategies/plateau"] == ("pipeline", "policy", "strategies/plateau")
    assert ways["command"] == (
        "pipeline",
        "policy",
        "command",
    )  # a strategy returns what it wants, and moves no command
