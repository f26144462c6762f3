"""The lean dataclass behaves as the real one, as far as it goes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from lrwatch.protocol import lean


class _Fields:
    name: str
    size: float = 1.0
    parts: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is {self.size}")


@lean.dataclass(frozen=True)
class Lean(_Fields):
    name: str
    size: float = 1.0
    parts: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Real(_Fields):
    name: str
    size: float = 1.0
    parts: tuple[int, ...] = ()


BOTH = pytest.mark.parametrize("kind", [Lean, Real])


@BOTH
@pytest.mark.parametrize(
    "make",
    [
        lambda kind: kind("a", 2.0, (1,)),
        lambda kind: kind("a", parts=(1,), size=2.0),
        lambda kind: kind(parts=(1,), size=2.0, name="a"),
    ],
)
def test_fields_are_given_by_place_or_name_and_keep_their_order(kind: Any, make: Callable[[Any], Any]) -> None:
    made = make(kind)
    assert (made.name, made.size, made.parts) == ("a", 2.0, (1,))
    assert list(vars(made)) == list(kind.__match_args__) == ["name", "size", "parts"]
    assert repr(made) == f"{kind.__name__}(name='a', size=2.0, parts=(1,))"
    assert made == kind("a", 2.0, (1,))
    assert hash(made) == hash(kind("a", 2.0, (1,)))
    assert made != kind("b", 2.0, (1,))
    assert (kind("a").size, kind("a").parts) == (1.0, ())


@BOTH
@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1.0, (), 4), {}), (("a",), {"name": "b"}), (("a",), {"colour": 1})],
)
def test_wrong_arguments_are_type_errors(kind: Any, values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        kind(*values, **named)


@BOTH
def test_a_value_is_checked_and_never_changes(kind: Any) -> None:
    with pytest.raises(ValueError, match="size is -1"):
        kind("a", -1)
    made = kind("a")
    with pytest.raises(AttributeError):
        made.size = 2.0
    with pytest.raises(AttributeError):
        made.new = 1
    with pytest.raises(AttributeError):
        del made.size
    assert made == kind("a")


@BOTH
def test_copies_are_equal(kind: Any) -> None:
    made = kind("a", 2.0)
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == made


def test_a_subclass_is_another_kind_of_value() -> None:
    class Special(Lean):
        pass

    assert Special("a") != Lean("a")


def test_replace_checks_again_and_asdict_copies() -> None:
    made = Lean("a", 2.0)
    assert lean.replace(made, size=3.0) == Lean("a", 3.0)
    with pytest.raises(ValueError, match="size is -1"):
        lean.replace(made, size=-1.0)
    fields = lean.asdict(made)
    fields["size"] = 9.0
    assert made == Lean("a", 2.0)
