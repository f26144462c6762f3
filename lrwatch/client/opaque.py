"""Keeps `torch.compile` out of the client."""

from __future__ import annotations

from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    F = TypeVar("F", bound=Callable[..., object])


def opaque(function: F) -> F:
    """Mark a function that compiled code calls and never contains.

    It is what `torch.compiler.disable` does, without torch. The worker changes what such a function reads, at any time: a trace of it
    that begins again finds something else, and then the compiler raises an exception into the training.
    """
    setattr(function, "_torchdynamo_disable", True)  # noqa: B010  a function has no such attribute for a type checker
    return function
