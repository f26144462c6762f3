"""Doubles of the optimizer containers of DeepSpeed, Accelerate with it, Megatron-LM, torchtitan, Composer, Opacus and timm.

They do what the originals do with learning rates, parameter groups and events, and nothing else: the originals need GPUs, or packages that
are not installed here. Attributes have the names and the contents of the originals.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import torch


class Spy(torch.optim.SGD):
    """Notes the learning rates inside its own step."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.used: list[list[float]] = []
        super().__init__(*args, **kwargs)

    def step(self, closure: Any = None) -> Any:
        self.used.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def build(*rates: float) -> Spy:
    """One parameter group with a gradient for each rate."""
    groups = []
    for rate in rates:
        weight = torch.ones(2, requires_grad=True)
        weight.grad = torch.ones(2)
        groups.append({"params": [weight], "lr": rate})
    return Spy(groups, lr=rates[0])


class DeepSpeedZero:
    """No torch optimizer, though it looks like one: steps the base optimizer once a group, with that group alone in it."""

    def __init__(self, base: Spy) -> None:
        self.optimizer = base

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        return self.optimizer.param_groups

    def step(self) -> None:
        groups = self.optimizer.param_groups
        for group in groups:
            self.optimizer.param_groups = [group]
            self.optimizer.step()
            self.optimizer.param_groups = groups


class AcceleratedDeepSpeed(torch.optim.Optimizer):
    """Accelerate's wrapper around it: a torch optimizer by class, never initialised as one, whose step does nothing."""

    def __init__(self, inner: DeepSpeedZero) -> None:
        self.optimizer = inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self.optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        pass


class MegatronOptimizer:
    """Keeps a torch optimizer; one may be there for a rank that has no parameters, with none."""

    def __init__(self, inner: Spy | None) -> None:
        self.optimizer = inner

    def step(self) -> None:
        if self.optimizer is not None:
            self.optimizer.step()


class ChainedOptimizer:
    def __init__(self, chained: list[MegatronOptimizer]) -> None:
        self.chained_optimizers = chained

    def step(self) -> None:
        for optimizer in self.chained_optimizers:
            optimizer.step()


class MegatronScheduler:
    """Rewrites each group's rate at each step, from the values of the group."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        self.groups, self.steps = groups, 0
        for group in groups:
            group.update(max_lr=group["lr"], min_lr=group["lr"] / 10)

    def step(self) -> None:
        self.steps += 1
        for group in self.groups:
            group["lr"] = group["min_lr"] + (group["max_lr"] - group["min_lr"]) * 0.9**self.steps


class TitanContainer(torch.optim.Optimizer):
    """One optimizer for each part of the model, and an optimizer over all parameters that is never stepped itself."""

    def __init__(self, optimizers: list[Spy]) -> None:
        self.optimizers = optimizers
        super().__init__([p for o in optimizers for g in o.param_groups for p in g["params"]], {"lr": 99.0})

    def step(self, closure: Any = None) -> Any:
        for optimizer in self.optimizers:
            optimizer.step()


class OpacusDP(torch.optim.Optimizer):
    """`opacus.optimizers.DPOptimizer`: never initialised as an optimizer, shares groups, state and defaults; may skip the step."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.original_optimizer = optimizer
        self.noise_multiplier, self.max_grad_norm, self.step_hook = 0.0, 1.0, None
        self.param_groups = optimizer.param_groups
        self.defaults = optimizer.defaults
        self.state = optimizer.state
        self._step_skip_queue: list[bool] = []

    def signal_skip_step(self, do_skip: bool = True) -> None:
        self._step_skip_queue.append(do_skip)

    def step(self, closure: Any = None) -> Any:
        if self._step_skip_queue and self._step_skip_queue.pop(0):
            return None
        return self.original_optimizer.step()

    def zero_grad(self, set_to_none: bool = False) -> None:
        self.original_optimizer.zero_grad(set_to_none)

    def state_dict(self) -> Any:
        return self.original_optimizer.state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        self.original_optimizer.load_state_dict(state_dict)


class TimmLookahead(torch.optim.Optimizer):
    """`timm.optim.Lookahead`: never initialised as an optimizer; every k steps it moves the weights back towards slow ones."""

    def __init__(self, base_optimizer: torch.optim.Optimizer, alpha: float = 0.5, k: int = 6) -> None:
        self._base_optimizer = base_optimizer
        self.param_groups = base_optimizer.param_groups
        self.defaults = base_optimizer.defaults
        self.defaults.update(lookahead_alpha=alpha, lookahead_k=k, lookahead_step=0)
        self.state = defaultdict(dict)
        for group in self.param_groups:
            group.update(lookahead_alpha=alpha, lookahead_k=k, lookahead_step=0)

    def step(self, closure: Any = None) -> Any:
        loss = self._base_optimizer.step(closure)
        for group in self.param_groups:
            group["lookahead_step"] += 1
            if group["lookahead_step"] % group["lookahead_k"] == 0:
                for weight in group["params"]:
                    slow = self.state[weight].setdefault("lookahead_slow_buff", weight.detach().clone())
                    slow.lerp_(weight.detach(), group["lookahead_alpha"])
                    weight.data.copy_(slow)
        return loss

    def state_dict(self) -> Any:
        return self._base_optimizer.state_dict()

    def load_state_dict(self, state_dict: Any) -> None:
        self._base_optimizer.load_state_dict(state_dict)
        self.param_groups = self._base_optimizer.param_groups  # torch has made new ones


class ComposerState:
    """What Composer gives to callbacks, as far as they need it here."""

    def __init__(self, optimizers: list[Spy]) -> None:
        self.optimizers = tuple(optimizers)
        self.loss = torch.tensor(0.5)
        self.batch = 0

    @property
    def timestamp(self) -> Any:
        class Timestamp:
            batch = self.batch

        return Timestamp()


class ComposerCallback:
    """`composer.Callback`: a method for each event, and a state in the checkpoint."""

    def fit_start(self, state: Any, logger: Any) -> None:
        pass

    def batch_end(self, state: Any, logger: Any) -> None:
        pass

    def fit_end(self, state: Any, logger: Any) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class ComposerTrainer:
    """Loads callbacks when it is made, which is before `fit_start`; steps, then `batch_end`."""

    def __init__(self, callbacks: list[Any], optimizers: list[Spy], loaded: dict[str, Any] | None = None) -> None:
        self.state, self.callbacks = ComposerState(optimizers), callbacks
        if loaded is not None:
            self.state.batch = loaded["batch"]
            for callback in callbacks:
                callback.load_state_dict(loaded["callbacks"][type(callback).__qualname__])

    def fit(self, batches: int) -> None:
        for callback in self.callbacks:
            callback.fit_start(self.state, None)
        for _ in range(batches):
            for optimizer in self.state.optimizers:
                optimizer.step()
            self.state.batch += 1
            for callback in self.callbacks:
                callback.batch_end(self.state, None)
        for callback in self.callbacks:
            callback.fit_end(self.state, None)

    def checkpoint(self) -> dict[str, Any]:
        states = {type(callback).__qualname__: callback.state_dict() for callback in self.callbacks}
        return {"batch": self.state.batch, "callbacks": states}
