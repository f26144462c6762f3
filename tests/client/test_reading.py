"""An optimizer that does not read the rate of its groups cannot be scaled: a command on it is never applied, and the training is told so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lrwatch.client.reading import RateReading
from lrwatch.client.step_hooks import PATIENCE


class Own(torch.optim.Optimizer):
    """Gradient descent that takes its rate from wherever a subclass says."""

    def __init__(self, rate: Any = 0.1) -> None:
        self.weight = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        super().__init__([self.weight], {"lr": rate})
        self.own = 0.1

    def rate(self, group: dict[str, Any]) -> float:
        raise NotImplementedError

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            if self.weight.grad is not None:
                self.weight.data.sub_(float(self.rate(group)) * self.weight.grad)

    def used(self) -> float:
        before = self.weight.item()
        self.weight.grad = torch.ones_like(self.weight)
        self.step()
        return before - self.weight.item()


class Attribute(Own):
    def rate(self, group: dict[str, Any]) -> float:
        return self.own


class Defaults(Own):
    def rate(self, group: dict[str, Any]) -> float:
        return float(self.defaults["lr"])


class Constant(Own):
    def rate(self, group: dict[str, Any]) -> float:
        assert group["params"]
        return 0.1


@pytest.mark.parametrize("kind", [Attribute, Defaults, Constant])
def test_a_rate_that_no_step_reads_is_unknown_and_no_command_on_it_is_applied(
    kind: type[Own], pair: Callable[..., Any]
) -> None:
    optimizer = kind()
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    for _ in range(PATIENCE - 1):
        assert optimizer.used() == pytest.approx(0.1)
        ends.client.step()
        assert ends.observed.status == "pending"
    for _ in range(2):
        optimizer.used()
        ends.client.step()
    said = ends.observed
    assert (said.status, said.code, said.not_acting, said.scale) == ("rejected", "apply_failed", "no_lr", 1.0)
    assert (said.effective_lr, ends.client.lr) == ({}, {})
    ends.send(0.25)
    for _ in range(2):
        ends.client.step()
        optimizer.used()
    ends.client.step()
    assert ends.observed.status == "rejected", "another command does not wait as long again"


def test_a_tensor_that_the_step_has_from_elsewhere_is_scaled(pair: Callable[..., Any]) -> None:
    optimizer = Defaults(torch.tensor(0.1, dtype=torch.float64))
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    assert optimizer.used() == pytest.approx(0.05)
    ends.client.step()
    assert (ends.observed.status, ends.observed.not_acting) == ("applied", None)


class Getter(Own):
    def rate(self, group: dict[str, Any]) -> float:
        return float(group.get("lr", 7.0))


class Copied(Own):
    def rate(self, group: dict[str, Any]) -> float:
        return float(dict(group)["lr"])


class Unpacked(Own):
    def rate(self, group: dict[str, Any]) -> float:
        def of(*, lr: float, **_: Any) -> float:
            return lr

        return of(**group)


class Searched(Own):
    def rate(self, group: dict[str, Any]) -> float:
        return float(next(value for name, value in group.items() if name == "lr"))


class Skipped(Own):
    def rate(self, group: dict[str, Any]) -> float:
        for name, value in group.items():
            if name != "lr":
                continue
            return float(value)
        raise LookupError


@pytest.mark.parametrize("kind", [Getter, Copied, Unpacked, Searched, Skipped])
@pytest.mark.parametrize("tensor", [False, True])
def test_a_rate_that_is_read_in_any_way_is_scaled(kind: type[Own], tensor: bool, pair: Callable[..., Any]) -> None:
    optimizer = kind(torch.tensor(0.1, dtype=torch.float64) if tensor else 0.1)
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    assert optimizer.used() == pytest.approx(0.05)
    ends.client.step()
    assert (ends.observed.status, ends.observed.not_acting) == ("applied", None)
    assert ends.client.errors == {}
    assert [type(name) for name in optimizer.param_groups[0]] == [str] * len(optimizer.param_groups[0])


class Late(Own):
    """Looks for its rate where there is a gradient, as many do."""

    def rate(self, group: dict[str, Any]) -> float:
        return float(group["lr"])


def test_steps_without_gradients_apply_nothing_and_the_first_one_with_them_does(pair: Callable[..., Any]) -> None:
    optimizer = Late()
    ends = pair(optimizer)
    ends.send(0.5)
    for _ in range(2 * PATIENCE):
        ends.client.step()
        optimizer.step()
    ends.client.step()
    assert (ends.observed.status, ends.observed.not_acting) == ("pending", None)
    assert optimizer.used() == pytest.approx(0.05)
    ends.client.step()
    assert (ends.observed.status, ends.observed.not_acting) == ("applied", None)


class Stages(Own):
    """Begins with a rate of its own."""

    second = False

    def rate(self, group: dict[str, Any]) -> float:
        return float(group["lr"]) if self.second else self.own


def test_one_that_reads_its_rate_later_is_believed_from_there_on(pair: Callable[..., Any]) -> None:
    optimizer = Stages()
    ends = pair(optimizer)
    ends.send(0.5)
    for _ in range(2 * PATIENCE):
        ends.client.step()
        optimizer.used()
    assert ends.observed.not_acting == "no_lr"
    optimizer.second = True
    assert optimizer.used() == pytest.approx(0.1)
    ends.client.step()
    assert ends.observed.not_acting is None
    ends.send(0.5)
    ends.client.step()
    assert optimizer.used() == pytest.approx(0.05)
    ends.client.step()
    assert ends.observed.status == "applied"


def test_a_step_that_raises_leaves_its_groups_as_they_were(pair: Callable[..., Any]) -> None:
    class Failing(Own):
        def rate(self, group: dict[str, Any]) -> float:
            raise ArithmeticError

    optimizer = Failing()
    ends = pair(optimizer)
    ends.send(0.5)
    ends.client.step()
    with pytest.raises(ArithmeticError):
        optimizer.used()
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert {type(name) for name in optimizer.param_groups[0]} == {str}


def test_a_group_keeps_its_identity_its_type_and_its_values_while_it_is_watched() -> None:
    group: dict[str, Any] = {"params": [1], "lr": 0.1, "eps": 0.5}
    before = dict(group)
    reading = RateReading([group, {"params": [2]}])
    assert not reading.trains
    assert type(group) is dict
    assert list(group.values()) == [[1], 0.5, 0.1]
    assert not reading.end()
    reading = RateReading([group])
    group["lr"] = 0.2
    assert reading.end()
    assert group == {**before, "lr": 0.2}
    reading = RateReading([group])
    del group["lr"]
    reading.end()
    assert group == {"params": [1], "eps": 0.5}
