"""optax: the scale is a scalar in the state of the optimizer, and so an input of the compiled step.

::

    optimizer = lrwatch.optax.scaled(optax.adamw)(schedule, weight_decay=0.1)
    watch = lrwatch.attach(None, "runs/a/lrwatch")
    ...
    opt_state = lrwatch.optax.follow(watch, opt_state)  # before each step, outside of what is compiled
    params, opt_state, loss = train_step(params, opt_state, batch)
    watch.step(loss=loss)

A new scale compiles nothing. It is in every checkpoint of `opt_state`; save `watch.state_dict()` too to keep the rest of the
client's state.

`scaled` multiplies the learning rate, one number, before the optimizer uses it. For an optimizer without a learning rate there is
a link for the chain, `optax.chain(optimizer, lrwatch.optax.scale_by_lrwatch())`, after everything that depends on the learning
rate. It multiplies the updates; compiled, it may change their last bit even at scale 1, because XLA then joins other
multiplications and additions into one rounding.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrwatch.client import Client

# The two that a training needs; docs/python.md shows them.
__all__ = ["follow", "scaled"]

_MISSING = (
    "no scale in this optimizer; make it with scaled(...), or put scale_by_lrwatch() at the end of its optax.chain"
)


class LrwatchState(NamedTuple):
    """State of the link.

    Attributes:
        scale: Factor of all updates, a scalar array.
    """

    scale: Any


class ScaledState(NamedTuple):
    """State of a `scaled` optimizer.

    Attributes:
        link: The scale.
        inner: State of the optimizer itself.
    """

    link: LrwatchState
    inner: Any


def scaled(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap an optimizer factory so that its learning rate is multiplied by the scale.

    Args:
        factory: Factory of an optimizer, such as `optax.adamw`, whose first argument is the learning rate or a schedule.

    Returns:
        A factory with the arguments of `factory`; the learning rate may be a number or a schedule.
    """

    def make(learning_rate: Any, *args: Any, **kwargs: Any) -> Any:
        def optimizer(scale: Any) -> Any:
            # Always a schedule: optax lets a rate that is an array change the type of updates in lower precision.
            def rate(count: Any) -> Any:
                return (learning_rate(count) if callable(learning_rate) else learning_rate) * scale

            return optax.with_extra_args_support(factory(rate, *args, **kwargs))

        def init(params: Any) -> ScaledState:
            link = LrwatchState(jnp.ones((), jnp.float32))
            return ScaledState(link, optimizer(link.scale).init(params))

        def update(updates: Any, state: ScaledState, params: Any = None, **extra: Any) -> tuple[Any, ScaledState]:
            updates, inner = optimizer(state.link.scale).update(updates, state.inner, params, **extra)
            return updates, ScaledState(state.link, inner)

        return optax.GradientTransformationExtraArgs(init, update)

    return make


def scale_by_lrwatch() -> Any:
    """Return an `optax.GradientTransformation` that multiplies the updates by the scale, which is 1 until it is set."""

    def init(params: Any) -> LrwatchState:
        del params
        return LrwatchState(jnp.ones((), jnp.float32))

    def update(updates: Any, state: LrwatchState, params: Any = None) -> tuple[Any, LrwatchState]:
        del params
        return jax.tree.map(lambda update: update * state.scale.astype(update.dtype), updates), state

    return optax.GradientTransformation(init, update)


def set_scale(opt_state: Any, scale: float) -> Any:
    """Return `opt_state` with another scale, at any depth.

    Raises:
        ValueError: It has no link.
    """
    if not _links(opt_state):
        raise ValueError(_MISSING)
    return jax.tree.map(lambda node: _with(node, scale) if _is_link(node) else node, opt_state, is_leaf=_is_link)


def get_scale(opt_state: Any) -> float:
    """Return the scale in `opt_state`; waits for the device.

    Raises:
        ValueError: It has no link.
    """
    for link in _links(opt_state):
        # The shortest number that is equal in single precision: 0.1 and not 0.10000000149.
        return float(str(np.float32(link.scale)))
    raise ValueError(_MISSING)


def follow(watch: Client, opt_state: Any) -> Any:
    """Return `opt_state` with the scale of the client.

    Without a new scale this compares two numbers, and reads neither `opt_state` nor the device. The first call reads it: a
    restored `opt_state` passes its scale on to a client without any command or state yet.

    Args:
        watch: Client of `lrwatch.attach(None, ...)`.
        opt_state: State of the optimizer.

    Returns:
        The same object if the scale is not new, else a copy.

    Raises:
        ValueError: The optimizer is not `scaled`, and has no link.
    """
    written = _written.get(watch)
    # Another incarnation means load_state_dict, which belongs to an opt_state that was restored too.
    if written is None or written[0] != watch.incarnation:
        held, state = get_scale(opt_state), watch.state_dict()
        if written is None and state["scale"] == 1.0 and not state["generation"]:
            # One that is not 1 is of a checkpoint: the run goes on, and its warm start is over or unknown.
            warm_until = state["warm_until"] if held == 1.0 else None
            watch.load_state_dict({**state, "scale": held, "warm_until": warm_until})
        written = (watch.incarnation, held)
    scale = watch.scale
    _written[watch] = (written[0], scale)
    return opt_state if scale == written[1] else set_scale(opt_state, scale)


# Client -> its incarnation, and the scale that was written for it.
_written: weakref.WeakKeyDictionary[Client, tuple[str, float]] = weakref.WeakKeyDictionary()


def _is_link(node: Any) -> bool:
    return isinstance(node, LrwatchState)


def _links(opt_state: Any) -> list[LrwatchState]:
    return [node for node in jax.tree.leaves(opt_state, is_leaf=_is_link) if _is_link(node)]


def _with(link: LrwatchState, scale: float) -> LrwatchState:
    """Return a link with another scale, of the same type and on the same devices, or the step would be compiled again."""
    old = link.scale
    new = jnp.full(jnp.shape(old), scale, old.dtype)
    return LrwatchState(jax.device_put(new, old.sharding) if getattr(old, "committed", False) else new)
