"""Finds the optimizers that really step inside wrappers and containers, by the parameters that they share.

A wrapper is scaled through what is inside: its own step may never be called (SAM's `first_step` and `second_step`), or it may lack
what hooks need because it never called the constructor of torch's base class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from lrwatch.protocol.lean import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from typing import Any, TypeAlias, TypeGuard

    Hook: TypeAlias = Callable[..., None]
    Group: TypeAlias = dict[str, Any]

# Attributes in which containers that have no parameters of their own keep the optimizers: Accelerate and DeepSpeed;
# Megatron-LM; torchtitan. They may be properties.
_INSIDE = ("optimizer", "chained_optimizers", "optimizers")


class Handle(Protocol):
    """Registration of a hook."""

    def remove(self) -> None:
        """Remove the hook."""


class Optimizer(Protocol):
    """The part of `torch.optim.Optimizer` that is used here."""

    param_groups: list[Group]

    def register_step_pre_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` before each step."""

    def register_step_post_hook(self, hook: Hook) -> Handle:
        """Call `hook(optimizer, args, kwargs)` after each step that did not raise."""


def is_optimizer(value: object) -> TypeGuard[Optimizer]:
    """Return whether `value` is a torch optimizer, by its shape."""
    return all(hasattr(value, name) for name in ("param_groups", "register_step_pre_hook", "register_step_post_hook"))


def innermost(value: object) -> list[Optimizer]:
    """Return the optimizers that really step, each once, out of wrappers and containers; an empty list if there are none.

    A wrapper may look like an optimizer, as those of Accelerate and torchtitan do, or not, as that of DeepSpeed. What it holds is
    inside if it stands in an attribute of a known name, or if it trains all parameters of the wrapper.
    """
    found: list[Optimizer] = []
    _collect(value, found, set())
    return found


def parameters(optimizer: object) -> Iterator[Any]:
    """Yield the parameters of an optimizer, or of what looks like one."""
    groups = getattr(optimizer, "param_groups", None)
    for group in groups if isinstance(groups, (list, tuple)) else ():
        inside = group.get("params", ()) if isinstance(group, Mapping) else ()
        yield from inside if isinstance(inside, (list, tuple)) else ()


def _collect(value: object, found: list[Optimizer], visited: set[int]) -> bool:
    """Return whether `value` holds an optimizer, now or on an earlier visit; append the new ones to `found`."""
    if id(value) in visited:
        return True
    visited.add(id(value))
    for name in _INSIDE:
        inside = getattr(value, name, None)
        parts = inside if isinstance(inside, (list, tuple)) else [inside]
        if inside is not None and sum(
            [_collect(part, found, visited) for part in parts]
        ):  # unlike any(), looks at each
            return True
    inner = _sharing(value)
    if inner and sum([_collect(part, found, visited) for part in inner]):
        return True
    if not is_optimizer(value):
        visited.discard(id(value))
        return False
    found.append(value)
    return True


def _sharing(value: object) -> list[object]:
    """Return what `value` holds that looks like an optimizer, if it trains all parameters of `value` together."""
    own = {id(parameter) for parameter in parameters(value)}
    if not own:
        return []
    held: list[object] = []
    for part in _held(value, 0 if is_optimizer(value) else 1):
        if part is not value and hasattr(part, "param_groups") and callable(getattr(part, "step", None)):
            ids = {id(parameter) for parameter in parameters(part)}
            if ids and ids <= own and part not in held:
                held.append(part)
    covered = {id(parameter) for part in held for parameter in parameters(part)}
    return held if covered == own else []


def _held(value: object, depth: int) -> Iterator[object]:
    """Yield what stands in the attributes of an object, and in those of the objects there down to a depth; models are left out."""
    for part in _flat(_attributes(value)):
        yield part
        if depth and not hasattr(part, "param_groups") and not callable(part):
            yield from _held(part, depth - 1)


def _attributes(value: object) -> Iterator[object]:
    yield from getattr(value, "__dict__", {}).values()
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in [slots] if isinstance(slots, str) else slots:
            yield getattr(value, name, None)


def _flat(values: Iterable[object]) -> Iterator[object]:
    for value in values:
        if isinstance(value, (list, tuple, set, frozenset)):
            yield from value
        elif isinstance(value, dict):
            yield from value.values()
        else:
            yield value
