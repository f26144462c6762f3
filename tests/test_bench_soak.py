"""`make soak` finds what grows, and nothing grows in a short one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench.soak import POINTS, Point, judged

ROOT = Path(__file__).parents[1]


def points(memory: list[float], **changes: list[int]) -> list[Point]:
    """Points of a process that does a thousand units of work between them."""
    others = {"descriptors": [9] * POINTS, "threads": [2] * POINTS, "directory": [1000] * POINTS} | changes
    return [
        Point(1000 * i, int(memory[i]), others["descriptors"][i], others["threads"][i], others["directory"][i])
        for i in range(POINTS)
    ]


def faults(found: list[Point]) -> str:
    return "; ".join(judged("part", "work", found, 1e6, 10**6).faults)


def test_noise_and_a_warm_up_are_no_growth() -> None:
    for seed in range(50):
        rng = np.random.default_rng(seed)
        memory = 60e6 + 10e6 * (1 - np.exp(-np.arange(POINTS) / 3)) + 2e5 * rng.standard_normal(POINTS)
        assert faults(points(list(memory))) == ""


def test_memory_that_grows_by_a_byte_in_a_hundred_units_is_found_when_it_adds_up() -> None:
    rng = np.random.default_rng(1)
    assert "memory grew by 2." in faults(
        points(list(60e6 + 1e5 * np.arange(POINTS) + 2e5 * rng.standard_normal(POINTS)))
    )
    assert faults(points(list(60e6 + 1e4 * np.arange(POINTS)))) == "", "less than the tolerance"


def test_descriptors_threads_and_files_that_grow_are_found() -> None:
    flat, rising = [60e6] * POINTS, list(range(POINTS))
    assert faults(points(flat, descriptors=rising)) == "descriptors grew from 27 to 39"
    assert faults(points(flat, threads=rising)) == "threads grew from 27 to 39"
    assert "10.0 MB, 1.0 is the bound" in faults(points(flat, directory=[0] * (POINTS - 1) + [10**7]))


@pytest.mark.slow
@pytest.mark.long
def test_a_short_soak_is_bounded() -> None:
    """Memory is still warming up in so short a life, so this looks at descriptors, threads, files, and that all parts run."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    command = [
        sys.executable,
        str(ROOT / "bench" / "soak.py"),
        "--lines",
        "40000",
        "--steps",
        "40000",
        "--entries",
        "12000",
    ]
    ended = subprocess.run(
        [*command, "--tolerance-mb", "30"], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["part", "daemon", "client", "journal"]
    assert ended.stdout.count("bounded") == 3
