"""The average of the weights: its numbers, its exchange with the weights, and its way through a checkpoint."""

from __future__ import annotations

import contextlib
import copy
import io
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import lrwatch


class Training:
    """A model of two layers, one of them perhaps in another precision, with a gradient that is drawn at each step."""

    def __init__(
        self, directory: Path, average: float | None, dtype: torch.dtype = torch.float32, **options: Any
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2).to(dtype))
        with torch.no_grad():
            for weight in self.model.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator))
        self.generator = generator
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.watch = lrwatch.attach(self.optimizer, directory, average=average, poll_seconds=3600.0, **options)

    def step(self, count: int = 1) -> None:
        """Take steps."""
        for _ in range(count):
            for weight in self.model.parameters():
                weight.grad = torch.randn(weight.shape, generator=self.generator).to(weight.dtype)
            self.optimizer.step()
            self.watch.step()

    @property
    def weights(self) -> list[torch.Tensor]:
        return [weight.detach().clone() for weight in self.model.parameters()]

    @property
    def averages(self) -> list[torch.Tensor]:
        with self.watch.averaged():
            return self.weights


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[..., Training]]:
    made: list[Training] = []

    def make(average: float | None = 0.125, **options: Any) -> Training:
        made.append(Training(tmp_path / f"control{len(made)}", average, **options))
        return made[-1]

    yield make
    for training in made:
        training.watch.close()


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(map(torch.equal, one, other))


@pytest.mark.parametrize(
    ("average", "error", "words"),
    [
        (1, ValueError, "from 2"),
        (0, ValueError, "from 2"),
        (1.0, ValueError, "between 0 and 1"),
        (64.0, ValueError, "whole number"),
        (math.nan, ValueError, "between 0 and 1"),
        (True, TypeError, "half-life"),
        ("1/8", TypeError, "half-life"),
    ],
)
def test_a_half_life_that_is_none_is_refused_in_words(
    tmp_path: Path, average: Any, error: type[Exception], words: str
) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    with pytest.raises(error, match=words):
        lrwatch.attach(optimizer, tmp_path / "control", average=average)
    assert not (tmp_path / "control").exists()


@pytest.mark.parametrize("optimizer", [None, print])
def test_without_a_torch_optimizer_there_is_nothing_to_average(tmp_path: Path, optimizer: Any) -> None:
    with pytest.raises(TypeError, match="torch optimizer"):
        lrwatch.attach(optimizer, tmp_path / "control", average=0.125)
    assert not (tmp_path / "control").exists()


@pytest.mark.parametrize("half_life", [4, 0.125, 0.5])
def test_it_is_the_weighted_mean_of_the_weights_after_each_step(
    train: Callable[..., Training], half_life: float
) -> None:
    training = train(half_life)
    wanted: list[torch.Tensor] = []
    for done in range(1, 40):
        training.step()
        steps = half_life * done if half_life < 1 else half_life
        share = max(1 - 0.5 ** (1 / steps), 0.0 if half_life < 1 else 1 / done)
        weights = [weight.double() for weight in training.weights]
        wanted = weights if done == 1 else [a + share * (w - a) for a, w in zip(wanted, weights, strict=True)]
        for average, exact in zip(training.averages, wanted, strict=True):
            assert torch.allclose(average.double(), exact, rtol=1e-5, atol=1e-6)
    assert training.watch.errors == {}


def test_the_weights_come_back_bit_for_bit_and_the_training_is_that_without(train: Callable[..., Training]) -> None:
    training, plain = train(dtype=torch.bfloat16), train(None, dtype=torch.bfloat16)
    for done in range(10):
        training.step()
        plain.step()
        before = training.weights
        with (
            contextlib.suppress(KeyError),
            torch.inference_mode(),
            training.watch.averaged(),
            training.watch.averaged(),
        ):
            within = training.weights
            raise KeyError
        assert same(training.weights, before)
        assert done == 0 or not same(within, before)
    assert same(training.weights, plain.weights)
    assert training.watch.errors == {}


def test_weights_of_low_precision_are_averaged_in_single_precision(train: Callable[..., Training]) -> None:
    training = train(1000, dtype=torch.bfloat16)
    training.step(50)
    averages = training.watch.average_state()["optimizers"][0]["averages"]
    assert {average.dtype for average in averages} == {torch.float32}
    assert {weight.dtype for weight in training.averages} == {torch.float32, torch.bfloat16}
    assert all(torch.equal(a.to(w.dtype), w) for a, w in zip(averages, training.averages, strict=True))


def test_a_graph_from_before_the_exchange_is_valid_after_it(train: Callable[..., Training]) -> None:
    training = train()
    training.step(3)
    loss = training.model(torch.ones(1, 3)).square().sum()
    with training.watch.averaged():
        averaged_loss = training.model(torch.ones(1, 3)).square().sum().item()
    training.optimizer.zero_grad()
    loss.backward()
    assert averaged_loss != loss.item()
    training.watch.step(loss=loss, averaged_loss=averaged_loss)


def test_a_step_within_brings_the_weights_back_first_and_is_counted(train: Callable[..., Training]) -> None:
    training, plain = train(), train(None)
    training.step(5)
    plain.step(5)
    with training.watch.averaged():
        training.step()
        plain.step()
        assert same(training.weights, plain.weights)
    assert same(training.weights, plain.weights)
    assert training.watch.errors == {"step_in_averaged": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_goes_on_bit_for_bit_after_a_checkpoint(train: Callable[..., Training], dtype: torch.dtype) -> None:
    straight = train(dtype=dtype)
    straight.step(20)
    file = io.BytesIO()
    with straight.watch.averaged():  # as somebody would who saves the averaged model
        torch.save({"average": straight.watch.average_state(), "client": straight.watch.state_dict()}, file)
    file.seek(0)
    resumed = train(dtype=dtype)
    resumed.model.load_state_dict(straight.model.state_dict())
    saved = torch.load(file)
    resumed.watch.load_state_dict(saved["client"])
    resumed.watch.load_average_state(saved["average"])
    assert same(resumed.averages, straight.averages)
    resumed.generator.set_state(straight.generator.get_state())
    for training in (straight, resumed):
        training.step(20)
    assert same(resumed.weights, straight.weights)
    assert same(resumed.averages, straight.averages)
    assert same(
        resumed.watch.average_state()["optimizers"][0]["averages"],
        straight.watch.average_state()["optimizers"][0]["averages"],
    )


@pytest.mark.parametrize(
    "damage",
    [
        {}, {"version": 2}, {"optimizers": []}, {"optimizers": [{"updates": -1, "averages": []}]},
        {"optimizers": [{"updates": 3, "averages": [torch.zeros(1)]}]},
    ],
)  # fmt: skip
def test_a_state_that_cannot_be_used_is_told_and_changes_nothing(
    train: Callable[..., Training], damage: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    training = train()
    training.step(5)
    before = training.averages
    training.watch.load_average_state({**training.watch.average_state(), **damage} if damage else damage)
    assert same(training.averages, before)
    assert training.watch.errors == {"average_state": 1}
    assert "load_average_state" in caplog.text


def test_a_weight_that_joins_later_begins_with_its_value(train: Callable[..., Training]) -> None:
    training = train(8)
    training.step(20)
    late = torch.nn.Parameter(torch.full((3,), 2.0))
    training.optimizer.add_param_group({"params": [late], "lr": 0.5})
    with training.watch.averaged():
        assert torch.equal(late, torch.full((3,), 2.0))
    late.grad = torch.ones(3)
    training.step()
    with training.watch.averaged():
        assert torch.equal(late, torch.full((3,), 1.5))
    late.grad = torch.ones(3)
    training.step()
    with training.watch.averaged():
        assert torch.allclose(late, torch.tensor(1.5 - 0.5 * (1 - 0.5 ** (1 / 8))))
    assert training.watch.errors == {}


def test_model_and_optimizer_can_be_copied_and_saved_and_let_go(train: Callable[..., Training]) -> None:
    training = train()
    training.step(3)
    with training.watch.averaged():
        copied = copy.deepcopy(training.model)
        file = io.BytesIO()
        torch.save(training.model, file)
        torch.save(training.optimizer, io.BytesIO())
        copy.deepcopy(training.optimizer)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    averages = training.averages
    assert same([weight.detach() for weight in copied.parameters()], averages)
    assert same([weight.detach() for weight in loaded.parameters()], averages)
    assert set(training.optimizer.state_dict()) == {"state", "param_groups"}


def test_several_optimizers_each_have_their_own_and_another_client_ends_it(tmp_path: Path) -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(1))]
    optimizers = [torch.optim.SGD([weight], lr=1.0) for weight in weights]
    for weight in weights:
        weight.grad = -torch.ones(1)
    watch = lrwatch.attach(optimizers, tmp_path, average=1000)
    for number in range(4):
        optimizers[0].step()
        if number % 2:
            optimizers[1].step()
        watch.step()
    with watch.averaged():
        assert [weight.item() for weight in weights] == pytest.approx([(1 + 2 + 3 + 4) / 4, (1 + 2) / 2])
    watch.close()
    with watch.averaged():
        assert weights[0].item() == pytest.approx(2.5), "the average outlives close(), for the evaluation at the end"
    again = lrwatch.attach(optimizers, tmp_path)
    optimizers[0].step()
    with again.averaged():
        assert weights[0].item() == 5.0
    assert again.errors == {"no_average": 1}
    again.close()


def test_an_average_that_breaks_ends_and_the_training_goes_on(
    train: Callable[..., Training], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    training, plain = train(), train(None)
    training.step(5)
    last = training.averages

    def no_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError

    with monkeypatch.context() as broken:
        broken.setattr(torch, "_foreach_lerp_", no_memory)
        training.step()
    training.step(5)
    plain.step(11)
    assert same(training.weights, plain.weights)
    assert same(training.averages, last)
    assert training.watch.errors == {"average": 1}
    assert "the average ended" in caplog.text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_optimizer_has_it_too(train: Callable[..., Training]) -> None:
    torch._dynamo.reset()
    training = train()
    step = torch.compile(training.optimizer.step, backend="eager")
    for weight in training.model.parameters():
        weight.grad = torch.ones_like(weight)
    wanted: list[torch.Tensor] = []
    for done in range(1, 6):
        step()
        weights = training.weights
        share = 1 - 0.5 ** (8 / done)
        wanted = weights if done == 1 else [a + share * (w - a) for a, w in zip(wanted, weights, strict=True)]
    assert all(torch.allclose(a, w, atol=1e-6) for a, w in zip(training.averages, wanted, strict=True))
    assert training.watch.errors == {}
