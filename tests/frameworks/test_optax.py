"""optax: what the link of the chain does to the updates themselves."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frameworks.plan import OPTIONS, PLAN, STEPS, CommandSender, scale_at

import lrwatch

pytestmark = pytest.mark.frameworks

jax: Any = pytest.importorskip("jax")
jnp: Any = pytest.importorskip("jax.numpy")
optax: Any = pytest.importorskip("optax")

SCHEDULES: dict[str, Any] = {
    "constant": 0.05,
    "cosine": optax.cosine_decay_schedule(0.05, STEPS, alpha=0.1),
    "warmup": optax.warmup_cosine_decay_schedule(0.0, 0.05, 5, STEPS, 0.001),
    "exponential": optax.exponential_decay(0.05, 5, 0.7),
    "piecewise": optax.piecewise_constant_schedule(0.05, {6: 0.5, 12: 0.1}),
    "linear": optax.linear_schedule(0.05, 0.0, STEPS),
    "one cycle": optax.cosine_onecycle_schedule(STEPS, 0.05),
    "restarts": optax.sgdr_schedule([{"init_value": 0.0, "peak_value": 0.05, "warmup_steps": 2, "decay_steps": 8}] * 3),
}
KINDS: dict[str, Callable[..., Any]] = {
    "sgd": optax.sgd,
    "momentum": lambda rate: optax.sgd(rate, momentum=0.9, nesterov=True),
    "adamw": lambda rate: optax.adamw(rate, weight_decay=0.1),
    "lion": optax.lion,
    "adafactor": optax.adafactor,
}


class Loop:
    """A loop as users write it, with one compiled step, that keeps the updates."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer
        self.params = {"w": jnp.ones((3,)), "b": jnp.zeros((), jnp.bfloat16)}
        self.state = self.optimizer.init(self.params)
        self.updates: list[Any] = []
        self.traces = 0
        self.compiled = jax.jit(self._step)

    def _step(self, params: Any, state: Any, gradients: Any) -> Any:
        self.traces += 1
        updates, state = self.optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state, updates

    def run(
        self, watch: Any = None, sender: Any = None, first: int = 1, last: int = STEPS, frozen: bool = True
    ) -> list[Any]:
        for step in range(first, last + 1):
            if sender is not None:
                sender.before(step, watch)
                watch.step(step - 1)
            if watch is not None:
                self.state = lrwatch.optax.follow(watch, self.state)
            gradients = {"w": jnp.asarray([1.0, -0.5, step / 7]), "b": jnp.asarray(0.25, jnp.bfloat16)}
            params, self.state, updates = self.compiled(self.params, self.state, gradients)
            self.params = (
                self.params if frozen else params
            )  # frozen: the updates depend on nothing but schedule and step
            self.updates.append(jax.tree.map(np.asarray, updates))
        if watch is not None:
            watch.step(last)
        return self.updates


def planned(schedule: Any, plan: Mapping[int, float]) -> Callable[[Any], Any]:
    """The schedule with a plan of scales in it: what a training without lrwatch is given."""
    begins = jnp.asarray([1, *plan])
    scales = jnp.asarray([1.0, *plan.values()], jnp.float32)

    def rate(count: Any) -> Any:
        scale = scales[jnp.sum(begins <= count + 1) - 1]
        return (schedule(count) if callable(schedule) else schedule) * scale

    return rate


def multiplied(updates: list[Any], plan: Mapping[int, float]) -> list[Any]:
    return [
        {
            name: value * np.asarray(scale_at(step, plan), np.float32).astype(value.dtype)
            for name, value in update.items()
        }
        for step, update in enumerate(updates, start=1)
    ]


def same(found: list[Any], wanted: list[Any]) -> bool:
    return len(found) == len(wanted) and all(
        np.array_equal(a[name], b[name]) for a, b in zip(found, wanted, strict=True) for name in a
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_scaled_rate_is_the_schedules_times_the_scale_exactly(kind: str, schedule: str, tmp_path: Path) -> None:
    plain = Loop(KINDS[kind](planned(SCHEDULES[schedule], PLAN)))
    plain.run(frozen=False)
    loop = Loop(lrwatch.optax.scaled(KINDS[kind])(SCHEDULES[schedule]))
    with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
        loop.run(watch, CommandSender(tmp_path, PLAN), frozen=False)
    assert same(loop.updates, plain.updates)
    assert same([jax.tree.map(np.asarray, loop.params)], [jax.tree.map(np.asarray, plain.params)])
    assert loop.traces == 1
    assert lrwatch.optax.get_scale(loop.state) == 1.0


@pytest.mark.parametrize(
    ("kind", "schedule"),
    # A constant rate is folded into the other constants of Adafactor when it is compiled, a scaled one cannot be.
    [(k, s) for k in KINDS for s in ("constant", "cosine", "one cycle") if (k, s) != ("adafactor", "constant")],
)
def test_attached_and_at_scale_one_the_weights_are_bit_identical(kind: str, schedule: str, tmp_path: Path) -> None:
    plain, loop = (Loop(make(SCHEDULES[schedule])) for make in (KINDS[kind], lrwatch.optax.scaled(KINDS[kind])))
    plain.run(frozen=False)
    with lrwatch.attach(None, tmp_path) as watch:
        loop.run(watch, CommandSender(tmp_path, {}), frozen=False)
    assert same(loop.updates, plain.updates)
    assert same([jax.tree.map(np.asarray, loop.params)], [jax.tree.map(np.asarray, plain.params)])


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", ["adamw", "lion"])
def test_the_link_multiplies_the_updates_exactly(kind: str, schedule: str, tmp_path: Path) -> None:
    plain = Loop(KINDS[kind](SCHEDULES[schedule]))
    loop = Loop(optax.chain(KINDS[kind](SCHEDULES[schedule]), lrwatch.optax.scale_by_lrwatch()))
    for each in (plain, loop):
        each.compiled = each._step  # uncompiled, each operation is rounded for itself
    with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
        assert same(loop.run(watch, CommandSender(tmp_path, PLAN)), multiplied(plain.run(), PLAN))


def test_the_link_compiles_once(tmp_path: Path) -> None:
    loop = Loop(optax.chain(optax.adamw(SCHEDULES["cosine"]), lrwatch.optax.scale_by_lrwatch()))
    with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
        loop.run(watch, CommandSender(tmp_path, PLAN), frozen=False)
    assert loop.traces == 1


@pytest.mark.parametrize("with_client", [True, False], ids=["client state saved", "opt_state alone"])
@pytest.mark.parametrize("checkpoint", [6, 8, 9, 12])
def test_a_resume_goes_on_at_the_scale_of_its_checkpoint(checkpoint: int, with_client: bool, tmp_path: Path) -> None:
    plan = {4: 0.5, 9: 0.1}
    held = scale_at(checkpoint + 1, plan)
    # A training without lrwatch, whose rate stays what it was after the checkpoint.
    plain = Loop(optax.adam(planned(SCHEDULES["cosine"], {s: v for s, v in plan.items() if s <= checkpoint + 1})))
    plain.run()
    loop = Loop(lrwatch.optax.scaled(optax.adam)(SCHEDULES["cosine"]))
    with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
        sender = CommandSender(tmp_path, plan)
        loop.run(watch, sender, last=checkpoint)
        sender.before(checkpoint + 1, watch)
        watch.step(checkpoint)
        state = lrwatch.optax.follow(watch, loop.state)
        saved = pickle.dumps((jax.tree.map(np.asarray, state), watch.state_dict()))
    resumed = Loop(lrwatch.optax.scaled(optax.adam)(SCHEDULES["cosine"]))
    values, client_state = pickle.loads(saved)
    resumed.state = jax.tree.map(jnp.asarray, values)
    with lrwatch.attach(None, tmp_path, start_step=checkpoint, **OPTIONS) as watch:
        if with_client:
            watch.load_state_dict(client_state)
        found = resumed.run(watch, CommandSender(tmp_path, {}), first=checkpoint + 1)
        assert same(found, plain.updates[checkpoint:])
        assert watch.scale == lrwatch.optax.get_scale(resumed.state) == held
    assert resumed.traces == 1


def test_a_new_run_in_the_same_directory_begins_at_scale_one(tmp_path: Path) -> None:
    plans: list[dict[int, float]] = [{4: 0.5}, {}]
    for plan in plans:
        loop = Loop(lrwatch.optax.scaled(optax.sgd)(0.05))
        with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
            loop.run(watch, CommandSender(tmp_path, plan))
            assert watch.scale == lrwatch.optax.get_scale(loop.state) == scale_at(STEPS, plan)


def test_going_back_to_a_checkpoint_within_the_loop(tmp_path: Path) -> None:
    loop = Loop(lrwatch.optax.scaled(optax.sgd)(0.05))
    with lrwatch.attach(None, tmp_path, **OPTIONS) as watch:
        sender = CommandSender(tmp_path, {4: 0.5, 9: 0.1})
        loop.run(watch, sender, last=6)
        saved = loop.state, watch.state_dict()
        loop.run(watch, sender, first=7, last=12)
        loop.state = saved[0]
        watch.load_state_dict(saved[1])
        assert lrwatch.optax.get_scale(lrwatch.optax.follow(watch, loop.state)) == 0.5


def test_the_link_is_found_wherever_it_is_and_said_to_be_missing_where_it_is_not(tmp_path: Path) -> None:
    params = {"w": jnp.ones(2), "b": jnp.ones(1)}
    inner = optax.chain(optax.adam(0.1), lrwatch.optax.scale_by_lrwatch())
    for optimizer in (
        optax.MultiSteps(inner, 2).gradient_transformation(),
        optax.masked(inner, {"w": True, "b": False}),
        optax.multi_transform({"a": inner, "c": optax.chain(optax.sgd(0.1), inner)}, {"w": "a", "b": "c"}),
        optax.apply_if_finite(inner, 3),
    ):
        state = lrwatch.optax.set_scale(optimizer.init(params), 0.25)
        assert lrwatch.optax.get_scale(state) == 0.25
        optimizer.update(params, state, params)
    state = optax.adam(0.1).init(params)
    with lrwatch.attach(None, tmp_path) as watch:
        with pytest.raises(ValueError, match="no scale in this optimizer"):
            lrwatch.optax.follow(watch, state)
        with pytest.raises(ValueError, match="no scale in this optimizer"):
            lrwatch.optax.set_scale(state, 0.5)
