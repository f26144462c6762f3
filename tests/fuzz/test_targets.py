"""The targets of `make fuzz`, for a moment each and always with the same inputs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice

import pytest

from bench.fuzz.mutations import damaged
from bench.fuzz.targets import TARGETS, stop_server

# Seconds for a target: a slow machine does fewer of the inputs.
SECONDS = 0.4
INPUTS = 400


@pytest.fixture(autouse=True)
def server() -> Iterator[None]:
    yield
    stop_server()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_seeds_and_damaged_seeds_find_nothing(name: str) -> None:
    target = TARGETS[name]
    for seed in target.seeds:
        target.one(seed)
    ends = time.process_time() + SECONDS
    for data in islice(damaged(target.seeds, 7, target.most), INPUTS):
        target.one(data)
        if time.process_time() > ends:
            break
