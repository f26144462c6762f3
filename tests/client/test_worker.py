"""What the client makes of the files in its control directory."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrwatch.client.worker import MAX_FAILURES
from lrwatch.control.reconciler import Reconciler
from lrwatch.protocol import MAX_INT, Desired, decode_desired, encode, publish, replace, sign

KEY = b"0123456789abcdef"


def test_a_start_says_hello_with_a_new_name(pair: Callable[..., Any]) -> None:
    first, second = pair().observed, pair(start_step=70).observed
    assert (first.status, first.scale, first.step, first.resumed_from_step) == ("hello", 1.0, 0, None)
    assert (second.status, second.step, second.resumed_from_step) == ("hello", 70, 70)
    assert first.incarnation != second.incarnation
    assert first.client.startswith("lrwatch/")


def test_the_directory_is_made_for_its_owner_alone(pair: Callable[..., Any]) -> None:
    path = pair().control.path
    assert path.stat().st_mode & 0o777 == 0o700
    assert (path / "observed.json").stat().st_mode & 0o777 == 0o600


def test_a_command_goes_from_pending_to_applied(pair: Callable[..., Any]) -> None:
    scales: list[float] = []
    ends = pair(scales.append)
    assert ends.send(0.5).status == "pending"
    assert scales == []
    ends.client.step()
    assert scales == [0.5]
    assert ends.observed.status == "pending"
    ends.client.step()
    observed = ends.observed
    assert (observed.status, observed.applied_step, observed.scale) == ("applied", 2, 0.5)
    assert (observed.observed_generation, observed.max_token, observed.code) == (1, 1, None)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"run": "b"}, "wrong_run"),
        ({"incarnation": "other"}, "wrong_incarnation"),
        ({"token": 0}, "stale_token"),
        ({"generation": 1}, "stale_generation"),
        ({"scale": 2.0}, "out_of_bounds"),
        ({"scale": 1e-3}, "factor_too_large"),
        ({"not_after_step": 1}, "expired"),
        ({"groups": {"0": 0.5}}, "unsupported"),
    ],
)
def test_a_command_that_is_refused_is_answered_at_once_and_changes_nothing(
    pair: Callable[..., Any], changes: dict[str, Any], code: str
) -> None:
    scales: list[float] = []
    ends = pair(scales.append)
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    wanted = ends.command(**({"scale": 0.25} | changes))
    ends.control.publish(wanted)
    answer = ends.observed
    assert (answer.status, answer.code) == ("rejected", code)
    assert answer.observed_generation == wanted.generation
    ends.client.step()
    assert scales == [0.5]
    assert ends.observed.scale == 0.5


def test_a_refused_command_does_not_stand_in_the_way_of_the_next(pair: Callable[..., Any]) -> None:
    ends = pair()
    assert ends.send(5.0).code == "out_of_bounds"
    assert ends.send(0.5, generation=1_000_000, incarnation="x").code == "wrong_incarnation"
    assert ends.send(0.5).status == "pending"
    ends.client.step()
    ends.client.step()
    assert ends.observed.status == "applied"


def test_what_was_refused_is_kept_the_newest_of_each_kind(pair: Callable[..., Any]) -> None:
    ends = pair()

    def evidence(code: str) -> bytes:
        path: Path = ends.control.path / f"desired.{code}.rejected"
        return path.read_bytes()

    for scale in (7.0, 5.0):
        ends.send(scale)
    assert evidence("out_of_bounds") == encode(ends.command(5.0, generation=2))
    publish(ends.control.path, "desired.json", b"[" * 60_000)
    assert ends.observed.code == "out_of_bounds"
    assert evidence("too_deep") == b"[" * 60_000
    ends.send(0.5, not_after_step=1)  # let through, and refused by the training thread
    ends.client.step()
    ends.client.step()
    assert ends.observed.code == "expired"
    assert decode_desired(evidence("expired")).scale == 0.5
    ends.send(0.5)
    assert len(list(ends.control.path.glob("*.rejected"))) == 3


def test_a_directory_that_others_may_write_is_told_once_and_nothing_in_it_counts(
    pair: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ends = pair()
    ends.control.publish(ends.command(0.5))
    ends.control.path.chmod(0o777)
    for step in range(3):
        ends.worker.round()
        ends.client.step(loss=step)
    assert ends.client.scale == 1.0
    assert ends.client.errors["mode"] >= 3
    assert caplog.text.count("chmod 700") == 1
    assert not ends.worker.disabled
    ends.control.path.chmod(0o700)
    assert ends.observed.status == "pending"
    assert len((ends.control.path / "metrics.jsonl").read_text().splitlines()) == 3


def test_a_lower_token_never_wins_after_a_higher_one_was_seen(pair: Callable[..., Any]) -> None:
    ends = pair()
    assert ends.send(0.5, token=3, apply_at_step=10).status == "pending"
    assert ends.send(5.0, token=7).code == "out_of_bounds"
    for _ in range(12):
        ends.client.step()
    assert ends.client.scale == 1.0
    assert ends.send(0.5, token=6).code == "stale_token"
    assert ends.observed.max_token == 7


@pytest.mark.parametrize("field", ["token", "generation"])
def test_a_number_that_no_daemon_can_have_come_to_locks_nobody_out(pair: Callable[..., Any], field: str) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    ends.control.publish(replace(ends.command(0.9), **{field: MAX_INT}))
    observed = ends.observed
    assert (observed.observed_generation, observed.max_token) == (1, 1)
    assert ends.client.errors == {"out_of_range": 1}
    assert (ends.control.path / "desired.out_of_range.rejected").exists()
    ends.client.step()
    assert ends.send(0.25).status == "pending"
    ends.client.step()
    assert ends.client.scale == 0.25


def test_a_command_of_the_run_before_is_left_lying_and_the_hello_stands(
    pair: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "control0").mkdir()
    stale = Desired(run="a", incarnation="before", generation=9, token=1, scale=0.5)
    publish(tmp_path / "control0", "desired.json", encode(stale))
    ends = pair()
    assert ends.observed.status == "hello"
    assert ends.client.errors == {"leftover": 1}
    ends.client.step()
    assert ends.client.scale == 1.0
    assert ends.send(0.5, incarnation="before").code == "wrong_incarnation"


@pytest.mark.parametrize("kind", ["torn", "empty", "symlink", "fifo", "huge", "directory", "writable", "hardlink"])
def test_a_file_that_cannot_be_trusted_is_counted_once_and_changes_nothing(
    pair: Callable[..., Any], tmp_path: Path, kind: str
) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    assert ends.observed.status == "applied"
    path = ends.control.path / "desired.json"
    path.unlink()
    good = tmp_path / "good"
    good.write_bytes(encode(ends.command(0.25)))
    good.chmod(0o600)
    make: dict[str, Callable[[], object]] = {
        "torn": lambda: path.write_bytes(good.read_bytes()[:-9]),
        "empty": lambda: path.write_bytes(b""),
        "symlink": lambda: path.symlink_to(good),
        "fifo": lambda: os.mkfifo(path, 0o600),
        "huge": lambda: path.write_bytes(b" " * 70_000 + good.read_bytes()),
        "directory": path.mkdir,
        "writable": lambda: (path.write_bytes(good.read_bytes()), path.chmod(0o666)),
        "hardlink": lambda: os.link(good, path),
    }
    make[kind]()
    if kind in ("torn", "empty", "huge"):
        path.chmod(0o600)
    for _ in range(3):
        ends.client.step()
        observed = ends.observed
    assert (observed.status, observed.scale, ends.client.scale) == ("applied", 0.5, 0.5)
    assert list(ends.client.errors.values()) == [1]
    assert next(iter(ends.client.errors)) in observed.client
    shutil.rmtree(path) if kind == "directory" else path.unlink()
    assert ends.send(0.25).status == "pending"


def test_a_fault_that_comes_back_is_counted_again(pair: Callable[..., Any]) -> None:
    ends = pair()
    path = ends.control.path / "desired.json"
    for times in (1, 2, 3):
        ends.send(0.5)
        path.chmod(0o666)
        ends.worker.round()
        ends.worker.round()
        assert list(ends.client.errors.values()) == [times]
        path.chmod(0o600)
        ends.worker.round()


def test_a_new_file_is_seen_even_if_it_looks_like_the_old_one(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    path = ends.control.path / "desired.json"
    about = path.stat()
    new = encode(ends.command(0.2))
    assert len(new) == about.st_size
    path.write_bytes(new)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert ends.observed.observed_generation == 2


def test_a_file_that_comes_back_is_no_new_command(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    path = ends.control.path / "desired.json"
    content = path.read_bytes()
    path.unlink()
    assert ends.observed.status == "applied"
    publish(path.parent, path.name, content)
    assert ends.observed.status == "applied"


def test_a_daemon_learns_the_newest_number_also_where_an_old_command_was_refused_last(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    old = (ends.control.path / "desired.json").read_bytes()
    for scale in (0.4, 0.3, 0.2):
        ends.client.step()
        ends.send(scale)
    publish(ends.control.path, "desired.json", old)  # as a backup that is put back
    observed = ends.observed
    assert (observed.code, observed.observed_generation, observed.max_generation) == ("stale_generation", 1, 4)
    daemon = Reconciler(ends.control)  # one that has not seen the answers before
    daemon.look(1.0)
    assert daemon.prepare(0.1, reason="", actor="anna", horizon=60, now=1.0).generation == 5
    daemon.publish()
    ends.client.step()
    assert ends.observed.status == "pending"
    ends.client.step()
    ends.client.step()
    assert ends.client.scale == 0.1


def test_with_a_key_only_signed_commands_count(pair: Callable[..., Any]) -> None:
    ends = pair(key=KEY)
    plain = ends.command(0.5)
    for forged in (plain, sign(plain, b"another key, not this one")):
        publish(ends.control.path, "desired.json", encode(forged))
        assert ends.observed.code == "bad_mac"
    ends.control.publish(plain)
    assert ends.observed.status == "pending"


def test_a_directory_that_vanishes_is_made_again_and_the_state_is_told_again(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.send(0.5)
    ends.client.step()
    ends.client.step()
    shutil.rmtree(ends.control.path)
    assert ends.observed.status == "applied"
    assert ends.observed.scale == 0.5


def test_a_directory_in_the_place_of_the_old_one_gets_the_newest_state_though_nothing_happens(
    pair: Callable[..., Any], tmp_path: Path
) -> None:
    ends = pair()
    backup = shutil.copytree(ends.control.path, tmp_path / "backup")
    ends.client.step()
    newest = ends.observed
    shutil.rmtree(ends.control.path)
    backup.rename(ends.control.path)
    assert ends.observed == newest


def test_a_directory_that_somebody_makes_at_the_same_moment_is_used(
    pair: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = pair()
    shutil.rmtree(ends.control.path)
    real = os.mkdir

    def late(path: str, mode: int = 0o777) -> None:
        real(path, 0o700)  # the daemon's, between our look for it and our own call
        real(path, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", late)
        ends.worker.round()
    assert ends.observed.status == "hello"
    assert ends.client.errors == {}


def test_a_directory_that_cannot_be_made_is_tried_again_and_told_once(
    pair: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    obstacle = tmp_path / "control0"
    obstacle.write_text("a file in the place of the directory")
    with caplog.at_level(logging.WARNING, logger="lrwatch"):
        ends = pair()
        for step in range(5):
            ends.client.step(loss=step)
            ends.worker.round()
    assert len(caplog.records) == 1
    assert str(obstacle) in caplog.text
    assert ends.client.errors["io"] >= 6
    obstacle.unlink()
    assert ends.observed.step == 5
    assert len((obstacle / "metrics.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_text("torn"), lambda path: path.chmod(0o666)], ids=["gone", "torn", "open to all"]
)  # fmt: skip
def test_a_state_that_is_lost_is_told_again_though_nothing_happens(
    pair: Callable[..., Any], damage: Callable[[Path], object]
) -> None:
    ends = pair()
    ends.client.step()
    before = ends.observed
    damage(ends.control.path / "observed.json")
    assert replace(ends.observed, client="") == replace(before, client="")


def test_the_step_is_told_while_the_training_goes_on_and_not_otherwise(pair: Callable[..., Any]) -> None:
    ends = pair()
    ends.client.step()
    assert ends.observed.step == 1
    path = ends.control.path / "observed.json"
    before = path.stat()
    ends.worker.round()
    assert path.stat().st_ino == before.st_ino
    ends.client.step()
    ends.worker.round()
    assert path.stat().st_ino != before.st_ino
    assert ends.observed.step == 2


def test_a_broken_client_gives_up_with_one_warning(pair: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def append(self, *_: object) -> None:
            raise ZeroDivisionError

        ready = True
        errors: dict[str, int] = {}  # noqa: RUF012
        unsaved = 0

    ends = pair()
    ends.worker.metrics = Broken()
    with caplog.at_level(logging.WARNING, logger="lrwatch"):
        for _ in range(MAX_FAILURES):
            assert not ends.worker.disabled
            ends.worker.round()
            ends.client.step(loss=1.0)
    assert ends.worker.disabled
    assert len(caplog.records) == 1
    assert ends.client.errors == {"internal": MAX_FAILURES}
