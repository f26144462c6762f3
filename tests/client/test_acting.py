"""The client knows whether it acts: optimizers that do not step, that are made anew, and wrappers around the one that steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.waiting import eventually

import lrwatch
from lrwatch.client.inner import innermost
from lrwatch.client.step_hooks import PATIENCE


def weight() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    return parameter


def sgd(parameter: torch.nn.Parameter | None = None) -> torch.optim.SGD:
    return torch.optim.SGD([weight() if parameter is None else parameter], lr=0.1)


def observed(directory: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((directory / "observed.json").read_text()))
    except FileNotFoundError:
        return {}


def test_an_optimizer_that_was_made_anew_is_noticed_within_twenty_steps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parameter = weight()
    optimizer = sgd(parameter)
    with lrwatch.attach(optimizer, tmp_path, poll_seconds=0.02) as watch:
        for _ in range(30):
            optimizer.step()
            watch.step(loss=1.0)
        assert watch.lr == {"0": 0.1}
        optimizer = sgd(parameter)
        for _ in range(PATIENCE):
            optimizer.step()
            watch.step(loss=2.0)
        assert watch.lr == {}
        watch.step(loss=3.0)
        eventually(lambda: observed(tmp_path).get("not_acting") == "no_step", what="the client says so")
        said = observed(tmp_path)
        assert (said["effective_lr"], said["schedule_lr"]) == ({}, {})
        assert "does not step" in caplog.text
    assert caplog.text.count("does not step") == 1
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert "lr" in rows[0]
    assert "lr" not in rows[-1]


@pytest.mark.slow
def test_one_that_steps_again_is_believed_again_and_may_wait_longer(pair: Callable[..., Any]) -> None:
    optimizer = sgd()
    ends = pair(optimizer)
    for _ in range(3):  # gradients are accumulated over 50 calls
        for _ in range(50):
            ends.client.step()
        optimizer.step()
    assert ends.observed.not_acting is None
    assert ends.client.lr == {"0": 0.1}
    for number in range(1, 101):
        ends.client.step()
        assert (ends.observed.not_acting is None) == (number < 100)


def test_a_command_on_an_optimizer_that_does_not_step_is_never_applied(pair: Callable[..., Any]) -> None:
    ends = pair(sgd())
    ends.send(0.5)
    for _ in range(PATIENCE + 1):
        ends.client.step()
    answer = ends.observed
    assert (answer.status, answer.scale, answer.not_acting) == ("pending", 1.0, "no_step")


def test_of_several_the_silent_ones_have_no_rates(pair: Callable[..., Any]) -> None:
    both = sgd(), sgd()
    ends = pair(list(both))
    for _ in range(PATIENCE + 1):
        both[1].step()
        ends.client.step()
    assert ends.observed.not_acting == "some_no_step"
    assert ends.client.lr == {"1.0": 0.1}
    both[0].step()
    both[1].step()
    ends.client.step()
    assert ends.observed.not_acting is None


def test_an_optimizer_without_a_rate_is_said_not_to_act(pair: Callable[..., Any]) -> None:
    class Relative(torch.optim.SGD):
        def __init__(self) -> None:
            super().__init__([weight()], lr=0.1)
            self.param_groups[0]["lr"] = None

        def step(self, closure: Any = None) -> Any:
            return None

    optimizer = Relative()
    ends = pair(optimizer)
    optimizer.step()
    ends.client.step()
    assert ends.observed.not_acting == "no_lr"
    assert ends.client.lr == {}


def test_a_callable_and_a_script_that_reads_the_scale_are_never_said_not_to_act(pair: Callable[..., Any]) -> None:
    for optimizer in (None, lambda _: None):
        ends = pair(optimizer)
        for _ in range(100):
            ends.client.step()
        assert ends.observed.not_acting is None


class Sam(torch.optim.Optimizer):
    """Two steps of its own, and the base optimizer in an attribute of any name."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        super().__init__(base.param_groups, {})
        self.descent = base
        self.param_groups = base.param_groups

    def first_step(self) -> None:
        """Climb."""

    def second_step(self) -> None:
        self.descent.step()


class Bare(torch.optim.Optimizer):
    """Never calls the constructor of torch's class, as the wrappers of timm and Opacus."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.hidden = [base]

    @property
    def param_groups(self) -> Any:  # type: ignore[override]
        return self.hidden[0].param_groups

    def step(self, closure: Any = None) -> Any:
        return self.hidden[0].step(closure)


class NoOptimizer:
    """Looks like one without being one, as the wrapper of schedulefree."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.base = base

    @property
    def param_groups(self) -> Any:
        return self.base.param_groups

    def step(self) -> None:
        self.base.step()


class Slots:
    """Has no dictionary of attributes."""

    __slots__ = ("wrapped",)

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.wrapped = base

    @property
    def param_groups(self) -> Any:
        return self.wrapped.param_groups

    def step(self) -> None:
        self.wrapped.step()


class Engine:
    """Keeps the optimizer in an object of its own."""

    def __init__(self, base: torch.optim.Optimizer) -> None:
        self.engine = SimpleNamespace(optimizers_by_name={"main": base})
        self.param_groups = base.param_groups

    def step(self) -> None:
        self.engine.optimizers_by_name["main"].step()


def local_sgd(base: torch.optim.Optimizer) -> Any:
    from torch.distributed.algorithms.model_averaging.averagers import PeriodicModelAverager
    from torch.distributed.optim import PostLocalSGDOptimizer

    averager = PeriodicModelAverager.__new__(PeriodicModelAverager)  # its constructor needs a process group
    return PostLocalSGDOptimizer(base, averager)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrap", [Sam, Bare, NoOptimizer, Slots, Engine, local_sgd, lambda base: Bare(Sam(base))])
def test_the_optimizer_inside_is_found_by_its_parameters(
    wrap: Callable[[torch.optim.Optimizer], Any], pair: Callable[..., Any]
) -> None:
    parameter = weight()
    base = sgd(parameter)
    wrapper = wrap(base)
    assert innermost(wrapper) == [base]
    ends = pair(wrapper)
    ends.send(0.5)
    ends.client.step()
    base.step()
    assert parameter.item() == pytest.approx(-0.05)
    ends.client.step()
    assert ends.observed.status == "applied"


def test_one_that_steps_a_part_itself_is_not_passed_over() -> None:
    class Mixed(torch.optim.SGD):
        def __init__(self) -> None:
            mine, other = weight(), weight()
            super().__init__([mine, other], lr=0.1)
            self.aside = sgd(other)

    mixed = Mixed()
    assert innermost(mixed) == [mixed]


def test_optimizers_by_name_are_all_scaled(pair: Callable[..., Any]) -> None:
    parts = {"generator": sgd(), "discriminator": sgd()}
    ends = pair(parts)
    ends.send(0.5)
    ends.client.step()
    for part in parts.values():
        part.step()
    ends.client.step()
    assert ends.observed.effective_lr == {"0.0": 0.05, "1.0": 0.05}


@pytest.mark.parametrize(
    ("given", "what"),
    [(torch.nn.Linear(1, 1), "a model, Linear"), (torch.optim.SGD, "the class SGD")],
    ids=["model", "class"],
)
def test_what_can_be_called_and_takes_no_scale_is_refused(given: Any, what: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=f"found {what}"):
        lrwatch.attach(given, tmp_path)


def test_a_registration_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    class Broken(torch.optim.Optimizer):
        def __init__(self) -> None:
            self.param_groups = [{"params": [weight()], "lr": 0.1}]

    first, second = sgd(), sgd()
    with pytest.raises(TypeError, match="attach the optimizer inside it"):
        lrwatch.attach([first, second, Broken()], tmp_path)
    for optimizer in (first, second):
        assert not optimizer._optimizer_step_pre_hooks
        assert not optimizer._optimizer_step_post_hooks
        assert "step" not in vars(optimizer)
    with lrwatch.attach([first, second], tmp_path):
        pass
