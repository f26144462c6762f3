"""One daemon commands a trainer at a time: the one that claimed last, until it is gone."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import eventually

from lrwatch.control.token import LEASE_SECONDS, RENEW_SECONDS, Lease
from lrwatch.protocol import MAX_AHEAD

HOLDER = """
import sys, time
from lrwatch.control.token import Lease
lease = Lease(sys.argv[1])
lease.claim(0)
print("claimed", flush=True)
while True:
    lease.look(0, time.monotonic() * 1000)  # its seconds pass fast
    time.sleep(0.005)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another daemon that renews its lease on the same directory, in a process of its own; it claims when asked to start."""
    mine = Lease(tmp_path)
    mine.claim(0)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "claimed\n"
    yield holder
    holder.kill()
    holder.wait()
    holder.stdout.close()


def first_claim(directory: Path) -> Lease:
    """The lease of the daemon that claimed before the other."""
    lease = Lease(directory)
    lease.token = 1
    return lease


def test_a_lease_is_held_as_long_as_nobody_claims(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    lease.claim(0)
    (tmp_path / "controller-1").unlink()  # as when the directory is made again
    for now in range(0, 1000, int(RENEW_SECONDS)):
        lease.look(0, float(now))
    assert (lease.token, lease.rival) == (1, "")
    assert (tmp_path / "controller-1").exists()


def test_a_daemon_that_lives_keeps_what_it_claimed(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    lease = first_claim(tmp_path)

    def renewed() -> int:
        return (tmp_path / "controller-2").stat().st_mtime_ns

    for now in range(4):
        before = renewed()
        eventually(lambda before=before: renewed() > before, what="a sign of life")  # type: ignore[misc]
        lease.look(0, now * LEASE_SECONDS)
        assert f"process {other.pid} on " in lease.rival
    assert lease.token == 1


def test_a_daemon_that_ended_is_followed_at_once(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    lease = first_claim(tmp_path)
    lease.look(0, 0.0)
    assert lease.rival
    other.kill()
    other.wait()
    lease.look(0, 0.1)
    assert (lease.token, lease.rival) == (3, "")


def test_a_daemon_that_is_stopped_loses_its_lease_and_learns_of_it(
    tmp_path: Path, other: subprocess.Popen[str]
) -> None:
    lease = first_claim(tmp_path)
    other.send_signal(signal.SIGSTOP)
    try:
        lease.look(0, 0.0)
        lease.look(0, LEASE_SECONDS)
        assert lease.rival
        lease.look(0, LEASE_SECONDS + 1)
        assert (lease.token, lease.rival) == (3, "")
    finally:
        other.send_signal(signal.SIGCONT)
    mine = json.loads((tmp_path / "controller-3").read_text())
    assert mine["pid"] != other.pid
    lease.look(0, 2 * LEASE_SECONDS)
    assert lease.token == 3, "the one that continues finds the higher claim, and waits in its turn"


def test_a_higher_token_that_nobody_claimed_is_waited_for_and_then_outdone(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    lease.claim(0)
    lease.look(7, 0.0)
    assert lease.rival == "another daemon has token 7, this daemon has 1"
    lease.look(7, LEASE_SECONDS + 1)
    assert (lease.token, lease.rival) == (8, "")


def test_claims_that_nobody_can_have_drawn_are_nobodys(tmp_path: Path) -> None:
    lease = Lease(tmp_path)
    lease.claim(0)
    (tmp_path / f"controller-{MAX_AHEAD + 2}").touch()
    lease.look(0, 100.0)
    assert (lease.token, lease.rival) == (1, "")


def test_a_claim_of_the_same_number_by_another_daemon_is_seen(tmp_path: Path) -> None:
    lease, other = Lease(tmp_path), Lease(tmp_path)
    lease.claim(0)
    (tmp_path / "controller-1").unlink()
    other.claim(0)
    assert lease.token == other.token == 1
    lease.look(0, 100.0)
    assert lease.rival
    lease.look(0, 101.0 + LEASE_SECONDS)
    assert (lease.token, lease.rival) == (2, "")
