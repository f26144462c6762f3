"""What lies in the control directory is compared with what is wanted at every turn, and what cannot be read is not taken for gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lrwatch.control.directory import ControlDirectory
from lrwatch.control.reconciler import Reconciler
from lrwatch.protocol import (
    DESIRED_NAME,
    MAX_INT,
    OBSERVED_NAME,
    Observed,
    decode_desired,
    encode,
    publish,
    read_control_file,
    replace,
)

HELLO = Observed(run="a", incarnation="i", step=3, scale=1.0)


def says(control: Path, **values: Any) -> None:
    """Let the trainer say something."""
    publish(control, OBSERVED_NAME, encode(replace(HELLO, **values)))


@pytest.fixture
def commanding(tmp_path: Path) -> Reconciler:
    """A reconciler with a command in flight that lies in the directory."""
    says(tmp_path)
    reconciler = Reconciler(ControlDirectory(tmp_path))
    reconciler.look(0.0)
    reconciler.prepare(0.5, reason="", actor="test", horizon=0.0, now=0.0)
    reconciler.publish()
    assert reconciler.problem == ""
    return reconciler


def in_place_of(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


def hard_link(path: Path) -> None:
    path.with_name("x").write_text("{}")
    path.hardlink_to(path.with_name("x"))


def nothing_new(_: Path) -> None:
    """Leave it as it is."""


def nothing(path: Path) -> None:
    assert not path.exists()


@pytest.mark.parametrize(
    "make",
    [
        nothing,
        lambda path: path.write_text(""),
        lambda path: path.write_text('{"v":1,"generation":9,"scale":0.9}'),
        lambda path: os.mkfifo(path, 0o600),
        lambda path: path.symlink_to("/dev/zero"),
        hard_link,
    ],
    ids=["gone", "empty", "another", "fifo", "symlink", "hard link"],
)
def test_a_command_that_is_lost_is_put_back_at_the_next_turn(
    commanding: Reconciler, make: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / DESIRED_NAME
    before = path.read_bytes()
    in_place_of(path, make)
    commanding.look(1.0)
    commanding.publish()
    assert path.read_bytes() == before
    assert commanding.problem == ""


def test_a_command_that_lies_there_is_not_written_again(commanding: Reconciler, tmp_path: Path) -> None:
    before = (tmp_path / DESIRED_NAME).stat()
    for now in range(5):
        commanding.look(float(now))
        commanding.publish()
    after = (tmp_path / DESIRED_NAME).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_command_that_the_trainer_did_not_read_in_time_is_over(commanding: Reconciler, tmp_path: Path) -> None:
    assert commanding.pending is not None
    last = commanding.pending.not_after_step
    assert last is not None
    says(tmp_path, step=last)
    assert commanding.look(1.0) is None
    says(tmp_path, step=last + 1)
    over = commanding.look(2.0)
    assert over is not None
    assert (over.kind, over.code, over.generation) == ("rejected", "expired", 1)
    assert commanding.pending_since is None


def test_a_command_that_the_trainer_has_accepted_waits_for_its_answer_alone(
    commanding: Reconciler, tmp_path: Path
) -> None:
    assert commanding.pending is not None
    late = (commanding.pending.not_after_step or 0) + 1
    says(tmp_path, step=late, observed_generation=1, status="pending")
    assert commanding.look(1.0) is None
    says(tmp_path, step=late + 1, observed_generation=1, status="applied", applied_step=late, scale=0.5)
    answer = commanding.look(2.0)
    assert answer is not None
    assert answer.kind == "acknowledged"


def test_a_command_is_void_when_another_trainer_has_come_and_gone(commanding: Reconciler, tmp_path: Path) -> None:
    says(tmp_path, incarnation="j", life="ended", goodbye="close")
    over = commanding.look(1.0)
    assert over is not None
    assert (over.kind, over.code, over.generation) == ("rejected", "expired", 1)
    assert commanding.pending is None
    assert commanding.look(2.0) is None


@pytest.mark.parametrize("claims", [True, False])
def test_a_scale_that_changes_without_a_command_of_ours_is_heard_by_who_commands(tmp_path: Path, claims: bool) -> None:
    """As where another daemon's command was on its way when this one took over."""
    says(tmp_path)
    reconciler = Reconciler(ControlDirectory(tmp_path), claims_at_once=claims)
    assert reconciler.look(0.0) is not None
    says(tmp_path, step=4, scale=0.5, observed_generation=7, status="pending")
    answer = reconciler.look(1.0)
    if not claims:
        assert answer is None
        return
    assert answer is not None
    assert (answer.kind, answer.taken_over, answer.observed.scale) == ("hello", True, 0.5)
    says(tmp_path, step=5, scale=0.5, observed_generation=7, status="applied", applied_step=4)
    assert reconciler.look(2.0) is None


def test_a_state_that_cannot_be_read_after_a_restart_leaves_the_trainer_there(
    commanding: Reconciler, tmp_path: Path
) -> None:
    state = commanding.state()
    in_place_of(tmp_path / OBSERVED_NAME, lambda path: path.write_text("torn"))
    again = Reconciler(ControlDirectory(tmp_path), state)
    there = []
    changes: list[Callable[[Path], object]] = [nothing_new, Path.unlink, lambda _: says(tmp_path)]
    for now, change in enumerate(changes):
        change(tmp_path / OBSERVED_NAME)
        assert again.look(float(now)) is None, "the same trainer is no news"
        there.append(again.attached)
    assert there == [True, False, True], "unreadable, absent, and back"
    assert again.pending == commanding.pending


def test_a_single_failed_read_is_tried_again_at_once(
    commanding: Reconciler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(tmp_path, step=9, observed_generation=1, status="applied", applied_step=8, scale=0.5)
    real, failures = os.open, iter([OSError(5, "Input/output error")])

    def failing(path: Any, *arguments: Any, **named: Any) -> int:
        if path == OBSERVED_NAME and (error := next(failures, None)) is not None:
            raise error
        return real(path, *arguments, **named)

    monkeypatch.setattr(os, "open", failing)
    answer = commanding.look(1.0)
    assert answer is not None
    assert answer.kind == "acknowledged"
    assert not commanding.control.errors


def test_a_directory_that_cannot_be_written_gives_the_same_sentence_at_every_turn(
    commanding: Reconciler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / DESIRED_NAME).unlink()
    monkeypatch.setattr(os, "rename", lambda source, *_, **__: (_ for _ in ()).throw(OSError(30, "Read-only", source)))
    sentences = set()
    for now in range(3):
        commanding.look(float(now))
        commanding.publish()
        sentences.add(commanding.problem)
    assert sentences == {f"cannot write {tmp_path}: Read-only"}


@pytest.mark.parametrize("step", [MAX_INT, MAX_INT - 1])
def test_a_trainer_at_the_last_step_there_is_can_be_commanded(tmp_path: Path, step: int) -> None:
    says(tmp_path, step=step)
    reconciler = Reconciler(ControlDirectory(tmp_path))
    reconciler.look(0.0)
    reconciler.prepare(0.5, reason="", actor="test", horizon=1e300, now=0.0)
    reconciler.publish()
    assert decode_desired(read_control_file(tmp_path, DESIRED_NAME) or b"").not_after_step == MAX_INT


def test_after_the_last_number_of_a_command_there_is_no_trainer_to_command(tmp_path: Path) -> None:
    says(tmp_path, observed_generation=MAX_INT - 1)
    reconciler = Reconciler(ControlDirectory(tmp_path))
    reconciler.look(0.0)
    assert reconciler.attached
    assert reconciler.prepare(0.5, reason="", actor="test", horizon=0.0, now=0.0).generation == MAX_INT
    assert not reconciler.attached


def test_a_daemon_that_only_suggests_takes_the_control_from_nobody_until_it_commands(tmp_path: Path) -> None:
    says(tmp_path)
    acting = Reconciler(ControlDirectory(tmp_path))
    suggesting = Reconciler(ControlDirectory(tmp_path), claims_at_once=False)
    for now in range(0, 100, 20):
        for each in (suggesting, acting):
            each.look(float(now))
    assert (acting.token, acting.fenced, suggesting.token) == (1, False, 0)
    assert suggesting.attached
    suggesting.prepare(0.5, reason="", actor="anna", horizon=0.0, now=0.0)  # an operator asked this daemon
    suggesting.publish()
    assert decode_desired(read_control_file(tmp_path, DESIRED_NAME) or b"").token == 2
    says(tmp_path, step=9)
    acting.look(100.0)
    assert acting.fenced


def test_the_answer_to_another_daemons_command_of_the_same_number_is_none_to_ours(
    commanding: Reconciler, tmp_path: Path
) -> None:
    assert commanding.pending is not None
    says(tmp_path, observed_generation=1, status="applied", applied_step=8, scale=0.3, max_token=commanding.token + 1)
    answer = commanding.look(1.0)
    assert answer is not None
    assert (answer.kind, answer.code) == ("rejected", "stale_generation")
    assert commanding.pending is None


def test_a_trainer_that_is_taken_over_is_heard_anew_and_one_of_a_restarted_daemon_is_not(
    commanding: Reconciler, tmp_path: Path
) -> None:
    says(tmp_path, observed_generation=1, status="applied", applied_step=8, scale=0.5, max_token=1)
    commanding.look(1.0)
    again = Reconciler(ControlDirectory(tmp_path), commanding.state())
    assert again.look(2.0) is None

    other = Reconciler(ControlDirectory(tmp_path))
    other.look(3.0)
    back = Reconciler(ControlDirectory(tmp_path), again.state())
    says(tmp_path, observed_generation=2, status="applied", applied_step=9, scale=0.25, max_token=other.token)
    hello = back.look(4.0)
    assert hello is not None
    assert (hello.kind, hello.taken_over, hello.observed.scale) == ("hello", True, 0.25)
    assert back.look(5.0) is None
