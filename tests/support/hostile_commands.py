"""Millions of hostile contents of `desired.json` for a client with a real optimizer; used by a test and a benchmark."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import torch

from lrwatch.client.attach import _adapter_for
from lrwatch.client.client import Client
from lrwatch.client.interlock import Limits
from lrwatch.protocol import MAX_BYTES, MAX_INT, Desired, encode, replace, sign

KEY = b"0123456789abcdef"
# Contents for one client, until the next one with other bounds: one that took the highest generation hears nothing more.
PER_CLIENT = 500
LR = 0.1

NUMBERS: tuple[object, ...] = (
    0, -0.0, 1, -1, 0.5, 1e-3, 1e-300, 5e-324, 1e308, 10**400, -(10**400), MAX_INT, MAX_INT + 1, 2**63, True, None, "0.5",
    "NaN", [], {}, [0.5], {"a": 0.5}, "\ud800", "\0", "x" * 200,
)  # fmt: skip
LITERALS = (
    b"NaN",
    b"-Infinity",
    b"Infinity",
    b"1e999",
    b"-1e999",
    b"-0.5",
    b"1e-400",
    b"9" * 5000,
    b"0.5e",
    b"00.5",
    b"+0.5",
)


class Target:
    """One client without a thread, its optimizer, and what became of every content."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        low = chance.choice([1e-3, 0.1, 0.5])
        self.limits = Limits(
            min_scale=low, max_scale=chance.choice([1.0, 1.5, 4.0]), min_steps_between=chance.choice([0, 0, 3]),
            warmup_steps=chance.choice([0, 0, 20]), max_commands=chance.choice([100, 1000]),
        )  # fmt: skip
        self.key = KEY if chance.random() < 0.2 else None
        weight = torch.ones(1, requires_grad=True)
        weight.grad = torch.zeros(1)
        self.optimizer = torch.optim.SGD([weight], lr=LR)
        self.client = Client(
            _adapter_for(self.optimizer), "/nowhere", run="a", limits=self.limits, key=self.key, poll_seconds=1.0,
            metrics_file=False, start_step=0,
        )  # fmt: skip
        self.worker = self.client._worker
        self.worker._commands.first = False
        self.used: list[float] = []
        self.optimizer.register_step_pre_hook(lambda optimizer, *_: self.used.append(optimizer.param_groups[0]["lr"]))
        self.generation = 0
        self.earlier = [self.valid()]

    def valid(self) -> bytes:
        """Make a command that the client may accept."""
        chance, client = self.chance, self.client
        self.generation = min(max(self.generation, client._box.scale_state.generation) + 1, MAX_INT)
        step = client._box.step
        desired = Desired(
            run="a", incarnation=client._incarnation, generation=self.generation,
            token=client._box.max_token, scale=client.scale * chance.choice([0.5, 0.9, 1.0, 1.1, 2.0]),
            apply_at_step=step + chance.randrange(5) if chance.random() < 0.3 else None,
            not_after_step=step + chance.randrange(5) if chance.random() < 0.2 else None,
            ramp_steps=chance.choice([0, 0, 3, MAX_INT]), actor="test", reason="plateau",
        )  # fmt: skip
        return encode(desired if self.key is None else sign(desired, self.key))

    def step(self) -> None:
        """Take a real optimizer step, and check that its learning rate is within the bounds."""
        self.optimizer.step()
        self.client.step()
        used = self.used.pop()
        assert LR * self.limits.min_scale <= used <= LR * self.limits.max_scale, (used, self.limits)
        assert self.optimizer.param_groups[0]["lr"] == LR

    def consider(self, raw: bytes) -> str:
        """Give it to the client, and return the answer or the reason under which it was counted."""
        state, errors = self.worker.state, self.worker.errors.copy()
        self.worker.consider(raw)
        counted = list((self.worker.errors - errors).elements())
        after = self.worker.state
        answered = [] if after is state else [after.code or after.status]
        assert len(counted) + len(answered) == 1, (raw[:300], counted, answered)
        return (counted + answered)[0]


def _changed(target: Target, change: Callable[[dict[str, Any]], object]) -> bytes:
    content: dict[str, Any] = json.loads(target.valid())
    change(content)
    return json.dumps(content).encode()


def _bit_flips(target: Target) -> bytes:
    forged = bytearray(target.valid())
    for _ in range(target.chance.choice([1, 1, 2, 8])):
        place = target.chance.randrange(len(forged) * 8)
        forged[place // 8] ^= 1 << (place % 8)
    return bytes(forged)


def _prefix(target: Target) -> bytes:
    raw = target.valid()
    return raw[: target.chance.randrange(len(raw) - 1)]  # the last byte is the newline, which says nothing


def _strange_value(target: Target) -> bytes:
    chance = target.chance
    return _changed(
        target, lambda content: content.update({chance.choice(sorted(content)): chance.choice(NUMBERS)})
    )  # fmt: skip


def _strange_literal(target: Target) -> bytes:
    chance = target.chance
    marked = _changed(target, lambda content: content.update({chance.choice(["scale", "generation", "token"]): "MARK"}))
    return marked.replace(b'"MARK"', chance.choice(LITERALS))


def _any_scale(target: Target) -> bytes:
    chance = target.chance
    desired = Desired(
        run="a", incarnation=target.client._incarnation, generation=chance.randrange(1, 2**chance.randrange(1, 54)),
        token=chance.randrange(2 ** chance.randrange(1, 54)), scale=abs(chance.lognormvariate(0, 100)) or 1.0,
        ramp_steps=chance.randrange(2 ** chance.randrange(1, 54)),
    )  # fmt: skip
    return encode(desired)


def _anothers(target: Target) -> bytes:
    which = target.chance.choice(["run", "incarnation"])
    return _changed(target, lambda content: content.update({which: "b"}))


def _replayed(target: Target) -> bytes:
    return target.chance.choice(target.earlier)


def _forged(target: Target) -> bytes:
    desired = Desired(run="a", incarnation=target.client._incarnation, generation=MAX_INT - 1, token=0, scale=0.5)
    return encode(replace(sign(desired, b"another key, not theirs"), token=target.chance.randrange(3)))


def _deep(target: Target) -> bytes:
    opening = target.chance.choice([b"[", b'{"a":'])
    return opening * target.chance.randrange(2, 5000)


def _huge(target: Target) -> bytes:
    return target.valid() + b" " * (MAX_BYTES + target.chance.randrange(1000))


def _doubled(target: Target) -> bytes:
    raw = target.valid()
    return target.chance.choice(
        [raw + raw, raw.replace(b'"v":1', b'"v":1,"scale":0.5'), raw.replace(b'"v":1', b'"v":2')]
    )


def _noise(target: Target) -> bytes:
    return target.chance.randbytes(target.chance.randrange(400))


KINDS: dict[Callable[[Target], bytes], int] = {
    Target.valid: 4, _bit_flips: 6, _prefix: 4, _strange_value: 4, _strange_literal: 3, _any_scale: 3, _anothers: 2,
    _replayed: 3, _forged: 1, _deep: 1, _huge: 1, _doubled: 1, _noise: 2,
}  # fmt: skip


def _contents(target: Target) -> Iterator[tuple[str, bytes]]:
    kinds, weights = list(KINDS), list(KINDS.values())
    for kind in target.chance.choices(kinds, weights, k=PER_CLIENT):
        raw = kind(target)
        if target.chance.random() < 0.05:
            target.earlier = [*target.earlier[-20:], raw]
        yield kind.__name__.strip("_"), raw


def assault(count: int, seed: int) -> Counter[tuple[str, str]]:
    """Give `count` contents to clients, with optimizer steps between them. Return how often each kind had each outcome.

    Raises:
        AssertionError: A learning rate was out of bounds, a content was neither answered nor counted, or the training
            thread ran into an error.
    """
    chance = random.Random(seed)
    outcomes: Counter[tuple[str, str]] = Counter()
    done = 0
    while done < count:
        target = Target(chance)
        for kind, raw in _contents(target):
            outcomes[kind, target.consider(raw)] += 1
            for _ in range(chance.choice([0, 1, 1, 3])):
                target.step()
            if chance.random() < 0.1:
                target.worker._take_news(0)
            if chance.random() < 0.002:
                target.client.load_state_dict(json.loads(json.dumps(target.client.state_dict())))
        done += PER_CLIENT
        assert not target.client._box.errors, target.client._box.errors
        assert not target.worker.errors["internal"]
        target.client.close()
        outcomes["", "changes of the scale"] += target.client._box.scale_state.commands
    return outcomes
