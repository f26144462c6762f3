"""Fencing tokens: each claim gets one of its own, higher than all before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrwatch.control import token
from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import Reconciler
from lrwatch.control.token import KEPT_CLAIMS, claim_token
from lrwatch.protocol import MAX_INT, Observed, ProtocolError, decode_desired, encode, publish, read_control_file

CLAIMER = """
import sys
from lrwatch.control.token import claim_token
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    print(claim_token(sys.argv[1], 0), flush=True)
"""


def test_a_claim_is_higher_than_all_that_is_known_and_says_who_holds_it(tmp_path: Path) -> None:
    assert claim_token(tmp_path, 0) == 1
    assert claim_token(tmp_path, 0) == 2
    assert claim_token(tmp_path, 40) == 41
    holder = json.loads(read_control_file(tmp_path, "controller-41") or b"")
    assert (holder["token"], holder["pid"]) == (41, os.getpid())


def test_processes_that_claim_at_the_same_time_get_different_tokens_that_grow(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CLAIMER, str(tmp_path)]
    claimers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        for claimer in claimers:
            assert claimer.stdout is not None
            assert claimer.stdout.readline() == "ready\n"
        for claimer in claimers:
            assert claimer.stdin is not None
            claimer.stdin.write("go\n")
            claimer.stdin.flush()
        drawn = [[int(line) for line in claimer.communicate(timeout=60)[0].split()] for claimer in claimers]
    finally:
        for claimer in claimers:
            claimer.kill()
            claimer.wait()
    assert all(own == sorted(own) and len(own) == 25 for own in drawn)
    assert len({number for own in drawn for number in own}) == 100
    assert len(list(tmp_path.iterdir())) <= 2 * KEPT_CLAIMS


def test_old_claims_are_swept_and_a_swept_number_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(20):
        claim_token(tmp_path, 0)
    assert len(list(tmp_path.iterdir())) == KEPT_CLAIMS
    real, stale = token._claims, iter([[2]])  # a list that was made long ago, before the sweeps
    monkeypatch.setattr(token, "_claims", lambda folder: next(stale, None) or real(folder))
    assert claim_token(tmp_path, 0) == 21


def test_names_that_are_not_ours_count_for_nothing(tmp_path: Path) -> None:
    for name in (
        "controller-",
        "controller-07",
        "controller--3",
        "controller-٣",
        f"controller-{'9' * 40}",
        "controller-5.x",
    ):
        (tmp_path / name).touch()
    assert claim_token(tmp_path, 0) == 1


def test_a_number_that_nobody_can_have_drawn_locks_no_daemon_out(tmp_path: Path) -> None:
    assert claim_token(tmp_path, 0) == 1
    (tmp_path / f"controller-{MAX_INT}").touch()
    assert claim_token(tmp_path, 0) == 2
    with pytest.raises(ProtocolError, match=r"no token above .* max_token set to 0"):
        claim_token(tmp_path, MAX_INT)


def test_two_daemons_that_start_before_either_commanded_have_different_tokens(tmp_path: Path) -> None:
    publish(tmp_path, "observed.json", encode(Observed(run="a", incarnation="i", step=3, scale=1.0)))
    daemons = [Reconciler(ControlDirectory(tmp_path)) for _ in range(2)]
    for daemon in daemons:
        daemon.look(0.0)
    assert [daemon.token for daemon in daemons] == [1, 2]


def test_a_token_that_cannot_be_claimed_holds_the_command_back_until_it_can(tmp_path: Path) -> None:
    seen = MAX_INT - 5
    publish(tmp_path, "observed.json", encode(Observed(run="a", incarnation="i", step=3, scale=1.0, max_token=seen)))
    daemon = Reconciler(ControlDirectory(tmp_path))
    full = tmp_path / f"controller-{MAX_INT}"
    full.touch()
    assert daemon.look(0.0) is not None
    assert "cannot claim" in daemon.problem
    daemon.prepare(0.5, reason="", actor="test", horizon=0.0, now=0.0)
    daemon.publish()
    assert read_control_file(tmp_path, "desired.json") is None
    full.unlink()
    daemon.publish()
    assert daemon.problem == ""
    assert decode_desired(read_control_file(tmp_path, "desired.json") or b"").token == daemon.token == seen + 1
