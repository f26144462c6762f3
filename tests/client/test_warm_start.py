"""The warm start: from a tenth to all of the learning rate, at the very first steps of a fresh run and of no other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.optimizer_doubles import build
from support.waiting import eventually

import lrwatch
from lrwatch.client.mover import LAPSE_STEPS
from lrwatch.control.directory import ControlDirectory

FACTORS = [0.1 ** (1 - n / 4) for n in range(4)]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"warm_start": 0.04}, ValueError, "give total_steps too"),
        ({"warm_start": 0, "total_steps": 100}, ValueError, "greater than 0 and less than 1"),
        ({"warm_start": 1, "total_steps": 100}, ValueError, "greater than 0 and less than 1"),
        ({"warm_start": float("nan"), "total_steps": 100}, ValueError, "greater than 0 and less than 1"),
        ({"warm_start": True, "total_steps": 100}, TypeError, "share of the run"),
        ({"warm_start": "4%", "total_steps": 100}, TypeError, "share of the run"),
    ],
)
def test_wrong_use_is_told_at_once_and_in_words(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        lrwatch.attach(None, tmp_path / "control", **arguments)
    assert not (tmp_path / "control").exists()


def test_the_first_step_has_a_tenth_of_the_schedules_rate_and_the_step_after_the_last_all_of_it(tmp_path: Path) -> None:
    optimizer = build(0.8)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, total_iters=10)
    rates = []
    with lrwatch.attach(optimizer, tmp_path, total_steps=100, warm_start=0.04) as watch:
        for _ in range(8):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
            watch.step()
    assert [used[0] for used in optimizer.used] == [
        rate * factor for rate, factor in zip(rates, [*FACTORS, 1.0, 1.0, 1.0, 1.0], strict=True)
    ]
    assert watch.errors == {}


def test_it_is_told_apart_from_the_commanded_scale_and_what_comes_too_early_is_refused(
    pair: Callable[..., Any],
) -> None:
    optimizer = build(0.8)
    ends = pair(optimizer, warm_steps=4)
    said = []
    for _ in range(6):
        before = ends.client.scale
        answer = ends.send(0.5)
        optimizer.step()
        ends.client.step(loss=1.0)
        said.append((before, ends.observed.warm_until, ends.observed.scale, answer.code))
    assert said[:3] == [(FACTORS[n], 4, 1.0, "warmup") for n in range(3)]
    # The fourth command may begin with the fifth step, but it is judged while four are not done.
    assert said[3] == (FACTORS[3], None, 1.0, "warmup")
    assert said[4] == (1.0, None, 1.0, None)
    optimizer.step()
    ends.client.step(loss=1.0)
    assert ends.observed.status == "applied"
    assert [used[0] for used in optimizer.used] == [*(0.8 * factor for factor in FACTORS), 0.8, 0.4, 0.4]
    records = [json.loads(line) for line in (ends.control.path / "metrics.jsonl").read_text().splitlines()]
    assert [record["scale"] for record in records] == [*FACTORS, 1.0, 0.5, 0.5]


def test_the_rates_of_a_step_within_it_are_those_that_the_step_used(pair: Callable[..., Any]) -> None:
    optimizer = build(0.8)
    ends = pair(optimizer, warm_steps=4)
    for factor in FACTORS[:3]:
        optimizer.step()
        ends.client.step()
        observed = ends.observed
        assert (observed.schedule_lr, observed.effective_lr) == ({"0": 0.8}, {"0": 0.8 * factor})
        assert observed.scale == 1.0


def test_a_resume_within_it_goes_on_with_it_and_one_of_a_run_without_has_none(pair: Callable[..., Any]) -> None:
    scales: list[float] = []
    first = pair(scales.append, warm_steps=4)
    first.client.step()
    first.client.step()
    state = json.loads(json.dumps(first.client.state_dict()))
    resumed: list[float] = []
    for warm_steps in (0, 4, 100):
        second = pair(resumed.append, warm_steps=warm_steps)
        resumed.clear()
        second.client.load_state_dict(state)
        assert (second.observed.warm_until, second.observed.scale) == (4, 1.0)
        for _ in range(3):
            second.client.step()
        assert resumed == [*FACTORS[2:], 1.0], warm_steps
        assert second.observed.warm_until is None
    old = {key: value for key, value in state.items() if key not in ("warm_until", "ramp")}
    third = pair(resumed.append, warm_steps=4)
    third.client.load_state_dict(old)
    assert (third.client.scale, resumed[-1], third.observed.warm_until) == (1.0, 1.0, None)


def test_a_run_that_is_not_fresh_has_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with lrwatch.attach(None, tmp_path / "a", total_steps=100, warm_start=0.5, start_step=1) as watch:
        assert watch.scale == 1.0
    weight = torch.ones(2, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    weight.grad = torch.ones(2)
    optimizer.step()
    restored = torch.optim.AdamW([weight], lr=0.1)
    restored.load_state_dict(optimizer.state_dict())  # and nobody keeps the state of the client
    with lrwatch.attach(restored, tmp_path / "b", total_steps=100, warm_start=0.5) as watch:
        assert watch.scale == 1.0
    assert "not a fresh one" in caplog.text
    fresh = torch.optim.Adagrad([weight], lr=0.1)  # its state is there before its first step
    with lrwatch.attach(fresh, tmp_path / "c", total_steps=100, warm_start=0.5) as watch:
        assert watch.scale == 0.1


def test_a_training_that_never_calls_step_or_closes_early_is_not_left_at_a_tenth(tmp_path: Path) -> None:
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.ones(1)
    silent, closed = torch.optim.SGD([weight], lr=0.8), build(0.8)
    unused = lrwatch.attach(silent, tmp_path / "a", total_steps=100, warm_start=0.04)
    rates = []
    for _ in range(LAPSE_STEPS + 6):
        before = weight.item()
        silent.step()
        rates.append(before - weight.item())
    unused.close()
    assert rates == pytest.approx([0.8 * 0.1] * (LAPSE_STEPS + 4) + [0.8] * 2, rel=1e-3)
    watch = lrwatch.attach(closed, tmp_path / "b", total_steps=100, warm_start=0.04)
    closed.step()
    watch.step()
    watch.close()
    closed.step()
    assert [used[0] for used in closed.used] == [0.8 * 0.1, 0.8]
    assert watch.state_dict()["warm_until"] == 4, "a resume goes on with it"


def test_a_callable_that_raises_at_first_is_asked_again(pair: Callable[..., Any]) -> None:
    asked: list[float] = []

    def late(scale: float) -> None:
        asked.append(scale)
        if len(asked) < 3:
            raise OSError(scale)

    ends = pair(late, warm_steps=4)
    assert ends.client.scale == 1.0
    for _ in range(5):
        ends.client.step()
    assert asked == [*FACTORS, 1.0]
    assert ends.client.errors == {"apply": 2}


def test_a_command_that_waits_for_its_end_is_used_from_there_on(pair: Callable[..., Any]) -> None:
    optimizer = build(0.8)
    ends = pair(optimizer, warm_steps=4)
    assert ends.send(0.5, apply_at_step=5).status == "pending"
    for _ in range(6):
        optimizer.step()
        ends.client.step()
        answer = ends.observed
    assert [used[0] for used in optimizer.used] == [*(0.8 * factor for factor in FACTORS), 0.4, 0.4]
    assert (answer.status, answer.applied_step, answer.scale, answer.warm_until) == ("applied", 5, 0.5, None)


class SomeRank:
    """A rank of a job whose others had a stepped optimizer, or not."""

    rank = 0

    def __init__(self, *, stepped: bool) -> None:
        self.stepped = stepped

    def largest(self, numbers: Any) -> Callable[[], Any]:
        """Return the numbers, with what the other ranks say of their optimizers."""
        found = [*numbers[:2], max(numbers[2], int(self.stepped))] if len(numbers) == 3 else numbers
        return lambda: found


@pytest.mark.parametrize("stepped", [False, True])
def test_all_ranks_have_it_or_none(tmp_path: Path, stepped: bool) -> None:
    ranks = SomeRank(stepped=stepped)
    with lrwatch.attach(None, tmp_path, total_steps=100, warm_start=0.04, ranks=ranks) as watch:
        assert watch.scale == (1.0 if stepped else 0.1)


def test_the_hello_of_a_fresh_run_tells_of_it(tmp_path: Path) -> None:
    control = ControlDirectory(tmp_path / "control")
    with lrwatch.attach(None, control.path, total_steps=100, warm_start=0.04):
        hello = eventually(control.read_observed, what="a hello")
    assert hello is not None
    assert (hello.scale, hello.warm_until, hello.total_steps) == (1.0, 4, 100)
