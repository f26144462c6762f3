"""The short version of `make test-faults`: one fault at each kind of system call of each life, and that the matrix finds what is wrong."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults.points import KILL, Point, points_of, sample

ROOT = Path(__file__).parents[2]

# As many as eight seconds of a core have room for.
SAMPLE = 18


def traces() -> bool:
    """Whether strace may trace here."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], capture_output=True).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(900)  # seconds of work, and a machine that is busy with other tests
@pytest.mark.skipif(not traces(), reason="kills and fails processes at their system calls with strace")
def test_a_run_ends_the_same_whichever_system_call_is_killed_or_fails(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "faults", "--sample", str(SAMPLE), "--workers", "1", "--kept", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = re.search(r"^(\d+) of (\d+) points in \d+ s, 0 differ$", ended.stdout, re.MULTILINE)
    assert found, ended.stdout
    assert int(found[1]) == SAMPLE
    assert int(found[2]) > 4000


RECORDING = """\
openat(AT_FDCWD</work>, "/other/file", O_RDONLY|O_CLOEXEC) = 3</other/file>
clock_nanosleep(CLOCK_REALTIME, 0, {tv_sec=0, tv_nsec=500000}, NULL) = 0
openat(AT_FDCWD</work>, "/home/a/state", O_RDONLY|O_DIRECTORY) = 4</home/a/state>
openat(4</home/a/state>, ".desired.json.0123456789abcdef.tmp", O_WRONLY|O_CREAT|O_EXCL, 0600) = 5</home/a/state/x>
fsync(5</home/a/state/.desired.json.0123456789abcdef.tmp>) = 0
write(1</home/a.stdout>, "no file of the run", 18) = 18
"""


def test_the_points_are_the_calls_on_the_files_of_the_run_by_their_number(tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(RECORDING)
    points = points_of("daemon", "first", tmp_path / "trace", Path("/home/a"))
    assert [(one.call, one.number, one.file) for one in points if one.fault == KILL] == [
        ("openat", 2, "state"),
        ("openat", 3, "state/.desired.json.RANDOM.tmp"),
        ("fsync", 1, "state/.desired.json.RANDOM.tmp"),
    ]
    assert {one.fault for one in points if one.call == "fsync"} == {KILL, "error=EIO", "error=ENOSPC", "error=EDQUOT"}


def test_a_sample_has_every_system_call_before_it_has_one_twice() -> None:
    points = [
        Point("daemon", "first", call, number, fault, "file")
        for call in ("read", "write", "fsync")
        for number in range(40)
        for fault in (KILL, "error=EIO")
    ]
    chosen = sample(points, 7)
    assert len({one.call for one in chosen[:3]}) == 3
    assert len(set(chosen)) == 7
    assert chosen == sample(points[::-1], 7), "the same ones each time"
    assert sample(points, 1000) != points
    assert sorted(sample(points, 1000)) == sorted(points)
