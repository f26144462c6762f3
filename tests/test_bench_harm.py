"""The benchmark of harm: its trainings, and the whole at a tiny size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from support import forked

import lrwatch
from bench.closed.run import Cache
from bench.harm import run, tables
from bench.harm.run import CONSTANT, KNOWN, UNKNOWN, WARM, WARM_ALONE, Harm, Task
from bench.harm.training import Result, Training, drive

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small matrices shared among busy cores take a hundred times as long."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass
class Told:
    """A scaler that follows a list, and remembers what it was shown."""

    scales: list[float]
    scale: float = 1.0
    shown: list[tuple[int, float]] = field(default_factory=list)

    def update(self, step: int, value: float) -> float:
        self.shown.append((step, value))
        return self.scales[step]


def _training(rates: list[float], warmup: bool = False) -> Training:
    """A training that notes the rate of each step, and whose weight is moved by it."""
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    optimizer.register_step_pre_hook(lambda *_: rates.append(optimizer.param_groups[0]["lr"]))
    return Training(
        optimizer, 6, lambda step: weight.sum() + step, lambda: float(weight),
        **({"schedule": lambda step: min(1.0, (step + 1) / 2)} if warmup else {}),
    )  # fmt: skip


def test_a_constant_run_has_the_rates_of_its_own_schedule() -> None:
    rates: list[float] = []
    assert drive(_training(rates, warmup=True), None) == Result(-2.75)
    assert rates == [0.25] + 5 * [0.5]


def test_a_step_runs_at_the_multiplier_that_was_said_after_the_one_before() -> None:
    rates: list[float] = []
    told = Told([1.0, 0.5, 0.5, 0.25, 0.125, 0.1], scale=0.1)
    result = drive(_training(rates, warmup=True), told)
    assert rates == [0.025, 0.5, 0.25, 0.25, 0.125, 0.0625]
    assert result.moves == ((1, 1.0), (2, 0.5), (4, 0.1))  # the last three are a ramp
    assert [step for step, _ in told.shown] == list(range(6))
    assert told.shown[1][1] == pytest.approx(1 - 0.025)  # the loss with the weight after one step


def test_a_run_can_be_shortened_and_one_that_blew_up_is_infinite() -> None:
    rates: list[float] = []
    assert drive(_training(rates), None, steps=2) == Result(-1.0)
    lost = Training(torch.optim.SGD([torch.zeros(1)]), 0, lambda _: torch.zeros(()), lambda: math.nan)
    assert drive(lost, None).loss == math.inf


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in run.TRAININGS if name != "residual"])
def test_a_training_is_the_same_for_a_seed_and_another_for_another(name: str) -> None:
    first, again, other = (run.TRAININGS[name](seed) for seed in (0, 0, 1))
    losses = []
    for training in (first, again, other):
        torch.manual_seed(5)  # what is drawn on the way, apart from what is drawn at the start
        losses.append(drive(training, None, steps=3).loss)
    assert losses[0] == losses[1] > 0
    assert (losses[0] != losses[2]) == (name != "power")  # whose seed is that of the logged noise only


@pytest.mark.frameworks
def test_a_residual_network_learns_digits() -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: make test-frameworks does it")
    assert Task("residual", 0, CONSTANT, 0.1).run().loss < 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "at"), [("saddle", 0.2), ("matfac", 1.0)])
def test_a_training_that_starts_at_a_saddle_leaves_it(name: str, at: float) -> None:
    assert Task(name, 0, CONSTANT, at).run().loss < 0.6 * Task(name, 0, CONSTANT, 0.0).run().loss


def test_a_controller_is_told_the_length_where_its_name_says_so() -> None:
    assert set(run.WATCHED) == {UNKNOWN, KNOWN, WARM, WARM_ALONE}
    assert isinstance(run.WATCHED[UNKNOWN](100), lrwatch.Controller)
    assert run.WATCHED[UNKNOWN](100).scale == 1.0


def test_a_warm_start_begins_at_a_tenth() -> None:
    assert (run.WATCHED[KNOWN](100).scale, run.WATCHED[WARM](100).scale) == (1.0, 0.1)


def test_a_warm_start_alone_rises_as_that_of_lrwatch_does() -> None:
    ours, alone = run.WATCHED[WARM](1000), run.WATCHED[WARM_ALONE](1000)
    assert alone.scale == ours.scale
    for step in range(60):  # too few for a decision
        assert alone.update(step, 2.0) == pytest.approx(ours.update(step, 2.0))
    assert alone.update(60, 2.0) == 1.0


NAMES, SEEDS, SHARE = ("finetune", "power"), (0, 100), 0.02


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("harm")


@pytest.fixture(scope="module")
def harms(cached: Path) -> list[Harm]:
    return run.measure(NAMES, SEEDS, [UNKNOWN], Cache(cached), SHARE, progress=False)


@pytest.mark.slow
def test_each_training_and_seed_has_a_result_of_everybody(cached: Path, harms: list[Harm]) -> None:
    assert [(harm.training, harm.seed, harm.unseen) for harm in harms] == [
        ("finetune", 0, False), ("finetune", 100, True), ("power", 0, False), ("power", 100, True),
    ]  # fmt: skip
    assert all(harm.ratio(UNKNOWN) == 1.0 for harm in harms)  # nobody changes anything in so few steps
    assert len(list(cached.iterdir())) == 8
    written = {path: path.stat().st_mtime_ns for path in cached.iterdir()}
    assert run.measure(NAMES, SEEDS, [UNKNOWN], Cache(cached), SHARE, progress=False) == harms
    assert written == {path: path.stat().st_mtime_ns for path in cached.iterdir()}


def _harm(training: str, seed: int, ratio: float, moves: tuple[tuple[int, float], ...] = ()) -> Harm:
    return Harm(training, seed, 2.0, {UNKNOWN: Result(2.0 * ratio, moves), WARM: Result(2.0)})


def test_what_is_worse_than_promised_is_bold_and_named() -> None:
    text = tables.report([_harm("saddle", 0, 1.02), _harm("saddle", 1, 1.5), _harm("parity", 1, 1.1)])
    assert "| saddle | 0 | 2 | 1.020 | 1.000 |" in text
    assert "| saddle | 1 | 2 | **1.500** | 1.000 |" in text
    assert "| **worst** | | | **1.500** | 1.000 |" in text
    assert "- unknown length: 1 of 3 within 2 % of the constant rate; saddle 1: 1.500; parity 1: 1.100" in text
    assert "- known length, warm start: 3 of 3 within 2 % of the constant rate\n" in text


def test_what_nothing_was_tuned_on_stands_apart() -> None:
    text = tables.report([_harm("saddle", 0, 1.0), _harm("saddle", 100, 1.0), _harm("copying", 0, math.inf)])
    unseen, seen = text.split(f"## {tables.SEEN}")
    assert "| saddle | 0 |" in seen
    assert "| saddle | 100 |" in unseen
    assert "| copying | 0 | 2 | blew up | 1.000 |" in unseen
    assert tables.UNSEEN not in tables.report([_harm("saddle", 0, 1.0)])


def test_changes_are_listed_as_far_as_they_are_few() -> None:
    moves = tuple((1000 * k, 0.5**k) for k in range(1, 9))
    text = tables.changes([_harm("saddle", 0, 1.0, moves[:2]), _harm("parity", 0, 1.0, moves)])
    assert "| saddle | 0 | unknown length | 1,000: 0.5; 2,000: 0.25 |" in text
    assert "6,000: 0.0156; and 2 more |" in text


@pytest.mark.slow
def test_the_command_writes_what_it_prints(tmp_path: Path) -> None:
    command = ["bench/harm", "--short", "--share", "0.01", "--who", UNKNOWN, "--out", tmp_path]
    ran = forked.run([*command, "--workers", "1"], forked.TORCH, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    written = (tmp_path / "harm-short.md").read_text()
    assert written.splitlines()[0] in ran.stdout
    assert all(f"| {name} | 0 |" in written for name in run.QUICK)
    assert "## Changes" in written
