"""`lr_override.txt`: a number in a file, through the same bounds as a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.waiting import eventually

import lrwatch
from lrwatch.client.override import Wanted, read_override


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (b"0.5x", Wanted(0.5, False)),
        (b" x0.5\n", Wanted(0.5, False)),
        (b"*.5", Wanted(0.5, False)),
        (b"1 x\n", Wanted(1.0, False)),
        (b"3e-4\n", Wanted(3e-4, True)),
        (b"1", Wanted(1.0, True)),
        (b"1E-5\r\n", Wanted(1e-5, True)),
        (b"0.5x" + 196 * b" ", Wanted(0.5, False)),  # with the most bytes
        *((content, None) for content in (
            b"", b"x", b"nan", b"inf", b"-1", b"+1", b"0", b"0x", b"0x10", b"1e999", b"1e-999", b"1_000", b"1 2", b"1,5",
            b"\xd9\xa3", b"\xff", b"\0", b"0.5xx", b"x0.5x", b"1" * 201, b"0.5%", b"1\x1c",
        )),
    ],
)  # fmt: skip
def test_a_bare_number_is_a_rate_and_one_with_an_x_a_multiplier(content: bytes, wanted: Wanted | None) -> None:
    assert read_override(content) == wanted


class Hand:
    """A training with an override file, and the hand that writes it."""

    def __init__(self, pair: Callable[..., Any], path: Path, **options: Any) -> None:
        self.path = path
        weight = torch.ones(2, requires_grad=True)
        weight.grad = torch.zeros(2)
        self.optimizer = torch.optim.SGD([{"params": [weight], "lr": 0.2}])
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.5)
        self.ends = pair(self.optimizer, override_file=str(path), **options)
        self.used: list[float] = []
        note = self.optimizer.register_step_pre_hook  # after ours, so it sees what the step uses
        note(lambda optimizer, *_: self.used.append(optimizer.param_groups[0]["lr"]))

    def step(self) -> None:
        self.optimizer.step()
        self.ends.client.step()

    def write(self, text: str) -> str:
        """Write it, do a round, and return the answer in observed.json."""
        self.path.write_text(text)
        os.utime(self.path, ns=(0, len(self.used) + hash(text) % 10**9))  # the clock of a file system is coarse
        self.ends.worker.round()
        return self.answer()

    def answer(self) -> str:
        parts = [part for part in self.ends.observed.client.split() if part.startswith("override=")]
        return parts[0].partition("=")[2] if parts else ""


def test_a_multiplier_and_a_rate_count_from_the_next_step_on(pair: Callable[..., Any], tmp_path: Path) -> None:
    hand = Hand(pair, tmp_path / "lr_override.txt")
    hand.step()
    assert hand.answer() == ""
    assert hand.write("0.5x") == "pending"
    hand.step()
    hand.step()
    assert hand.used == [0.2, 0.2, 0.1]
    assert hand.answer() == "applied"
    hand.schedule.step()
    hand.step()
    hand.ends.worker.round()
    assert hand.write("0.08\n") == "pending"
    hand.step()
    hand.step()
    assert hand.used[3:] == [0.05, 0.05, pytest.approx(0.08)]
    hand.schedule.step()
    hand.step()
    assert hand.used[-1] == pytest.approx(0.04), "the schedule keeps its shape"
    observed = hand.ends.observed
    assert (observed.status, observed.observed_generation, observed.scale) == ("hello", 0, pytest.approx(0.8))
    hand.path.unlink()
    hand.step()
    assert hand.used[-1] == pytest.approx(0.04)
    assert hand.ends.client.errors == {}


@pytest.mark.parametrize(
    ("text", "answer"),
    [("5x", "out_of_bounds"), ("0.05x", "factor_too_large"), ("7", "out_of_bounds"), ("1e-320", "out_of_bounds"), ("off", "invalid")],
)  # fmt: skip
def test_what_a_command_may_not_a_file_may_not(
    pair: Callable[..., Any], tmp_path: Path, text: str, answer: str, caplog: pytest.LogCaptureFixture
) -> None:
    hand = Hand(pair, tmp_path / "lr_override.txt")
    hand.step()
    for _ in range(2):
        assert hand.write(text) == answer
        hand.step()
    assert set(hand.used) == {0.2}
    assert set(hand.ends.client.errors) == {f"override_{answer}"}
    assert caplog.text.count("was refused") == 1
    assert hand.write("0.5x") == "pending"


def test_what_lay_there_before_the_start_does_not_count_until_it_is_written_again(
    pair: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "lr_override.txt").write_text("0.5x")
    hand = Hand(pair, tmp_path / "lr_override.txt")
    for _ in range(3):
        hand.step()
        assert hand.answer() == "leftover"
    assert set(hand.used) == {0.2}
    assert hand.write("0.5x") == "pending"


def test_half_of_a_number_is_not_taken_for_all_of_it(pair: Callable[..., Any], tmp_path: Path) -> None:
    hand = Hand(pair, tmp_path / "lr_override.txt")
    hand.step()
    for content in ("", "0", "0.1", "0.15"):  # grows between two looks
        hand.path.write_text(content)
        hand.ends.worker.round()
        hand.step()
    assert hand.answer() == "pending"
    assert set(hand.used) == {0.2}
    hand.step()
    hand.step()
    assert hand.used[-1] == pytest.approx(0.15)
    assert hand.ends.client.errors == {}


def test_a_file_that_others_may_write_is_refused_and_told_once(
    pair: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    hand = Hand(pair, tmp_path / "lr_override.txt")
    hand.path.write_text("0.5x")
    hand.path.chmod(0o666)
    for _ in range(5):
        hand.ends.worker.round()
        hand.step()
    assert hand.answer() == "unreadable"
    assert hand.ends.client.errors == {"override_unreadable": 1}
    assert "others may write it" in caplog.text
    hand.path.chmod(0o600)
    hand.ends.worker.round()
    assert hand.answer() == "pending"


def test_a_rate_needs_an_optimizer_whose_rate_is_known(pair: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "lr_override.txt"
    ends = pair(override_file=str(path))
    path.write_text("0.1")
    ends.worker.round()
    assert "override=unsupported" in ends.observed.client


def test_the_newer_of_file_and_daemon_counts_and_the_older_hears_it(pair: Callable[..., Any], tmp_path: Path) -> None:
    hand = Hand(pair, tmp_path / "lr_override.txt")
    ends = hand.ends
    ends.send(0.25, apply_at_step=5)
    assert hand.write("0.5x") == "pending"
    assert (ends.observed.status, ends.observed.observed_generation) == ("superseded", 1)
    assert ends.send(0.2).status == "pending"
    assert hand.answer() == "superseded"
    for _ in range(7):
        hand.step()
    assert (ends.observed.status, ends.client.scale) == ("applied", 0.2)


def test_without_being_asked_for_there_is_no_such_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scales: list[float] = []
    with lrwatch.attach(scales.append, "control", override_file="lr_override.txt", poll_seconds=0.005) as watch:
        eventually((tmp_path / "control" / "observed.json").exists)
        monkeypatch.chdir("/")
        (tmp_path / "lr_override.txt").write_text("0.5x")

        def scaled() -> bool:
            watch.step()
            return watch.scale == 0.5

        eventually(scaled)
    with lrwatch.attach(scales.append, tmp_path / "other", poll_seconds=0.005) as watch:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "lr_override.txt").write_text("0.25x")
        watch.step()
    assert scales == [0.5]
