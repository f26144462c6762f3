"""A PyTorch scheduler for people without a daemon: used as `ReduceLROnPlateau`, with the decisions of the daemon.

::

    scheduler = lrwatch.torch.PlateauLR(optimizer)
    for batch in batches:
        loss = train_step(batch)  # yours: forward, backward, optimizer.step()
        scheduler.step(loss)      # once per step, or once per epoch with the validation loss

It reads the learning rate that other schedulers give, and leaves it alone while they move it, as in a warmup. Beside another
scheduler, or in a run that is resumed, `lrwatch.attach` is the exact way: it leaves the learning rates in the optimizer alone.
This one writes them, as the schedulers of PyTorch do.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from lrwatch.controller import Controller
from lrwatch.core.events import Command, Effect, Finding
from lrwatch.integrations._torch_arguments import mapped

_log = logging.getLogger("lrwatch.torch")


class PlateauLR(LRScheduler):
    """Multiplies the learning rate of every group by the scale of `lrwatch.Controller`.

    Args:
        optimizer: The optimizer.
        mode: "min" for a loss, "max" for a metric that should rise; "observe" and "suggest" decide and change nothing. Without
            it the metric is taken for a loss, and one that rises is warned of.
        factor, patience, threshold, threshold_mode, cooldown, min_lr, eps: As `ReduceLROnPlateau` takes them, in its order. They are
            mapped to settings of lrwatch, which one line of the log `lrwatch.torch` names. `patience` becomes the `horizon`, in
            calls, over which the mean must improve by `threshold`; noise does not use it up. All optional: without them
            the horizon is a tenth of the run so far, and `cooldown` is in horizons.
        **options: The arguments of `Controller`: `total_steps` (in calls of `step`), `warm_start`, `purpose`, and the keys of
            `[detect]` and `[policy]`, all optional. A warm start sets the learning rates here already, for the first step.

    Raises:
        TypeError: `optimizer` is no optimizer, an option is unknown, or stands beside the argument that is mapped to it.
        ValueError: An option is out of its range.

    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> scheduler = PlateauLR(optimizer)
    >>> noise = torch.Generator().manual_seed(0)
    >>> for step in range(2000):  # a loss that settles where the learning rate holds it
    ...     optimizer.step()
    ...     floor = 1 + 5 * optimizer.param_groups[0]["lr"]
    ...     scheduler.step(floor + 2 * 0.98**step + 0.01 * torch.randn((), generator=noise))
    >>> scheduler.get_last_lr()[0] < 0.1
    True
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        mode: str | None = None,
        factor: float | None = None,
        patience: int | None = None,
        threshold: float | None = None,
        threshold_mode: str | None = None,
        cooldown: float | None = None,
        min_lr: float | list[float] | None = None,
        eps: float | None = None,
        **options: Any,
    ) -> None:
        # The base class would take a first step here, without a metric; ReduceLROnPlateau leaves it out as well.
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}")
        if mode is not None:
            options[("direction" if mode in ("min", "max") else "mode")] = mode
        given = {
            "factor": factor, "patience": patience, "threshold": threshold, "threshold_mode": threshold_mode,
            "cooldown": cooldown, "min_lr": min_lr, "eps": eps,
        }  # fmt: skip
        base = [float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups]
        options, said = mapped({name: value for name, value in given.items() if value is not None}, options, base)
        if said:
            _log.warning("PlateauLR takes the arguments of ReduceLROnPlateau as its own: %s", "; ".join(said))
        self.optimizer = optimizer
        self.controller = Controller(**options)
        self.last_epoch = 0
        self._overwritten: set[int] = set()
        self._multiply([self.scale] * len(optimizer.param_groups))
        self._last_lr: list[float | torch.Tensor] = self.get_lr()

    @property
    def scale(self) -> float:
        """The product of all changes so far."""
        return self.controller.scale

    @property
    def findings(self) -> list[Finding]:
        """The findings so far."""
        return self.controller.findings

    @property
    def commands(self) -> list[Command]:
        """The decisions so far, with their reasons."""
        return self.controller.commands

    @property
    def effects(self) -> list[Effect]:
        """The effects of the cuts, as far as they are measured."""
        return self.controller.effects

    def step(self, metrics: float | torch.Tensor, epoch: int | None = None) -> None:  # type: ignore[override]
        """Take the metric of one step, or of one epoch, as long as every call is of the same kind.

        Args:
            metrics: The value, a number or a tensor of one element on any device. It may be NaN or infinite.
            epoch: Number of the step; the default is one more than the last.
        """
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        before = self.scale
        rates = self._rates()
        # A group that was added since has no rate before.
        overwritten = {
            i
            for i, (rate, left) in enumerate(zip(rates, self._last_lr, strict=False))
            if before != 1 and rate != left and (i in self._overwritten or self._is_overwritten(rate, float(left)))
        }
        if overwritten and not self._overwritten:
            warnings.warn(
                "another scheduler overwrites the learning rate that PlateauLR has set; call PlateauLR.step after each step of it, or "
                "use lrwatch.attach, which needs no order",
                UserWarning,
                stacklevel=2,
            )
        self._overwritten |= overwritten
        schedule = rates[0] if 0 in overwritten else rates[0] / before
        value = metrics.detach() if isinstance(metrics, torch.Tensor) else metrics
        after = self.controller.update(self.last_epoch, float(value), lr=schedule)
        self._multiply(after if i in overwritten else after / before for i in range(len(rates)))
        self._last_lr = self.get_lr()

    def _multiply(self, factors: Iterable[float]) -> None:
        """Multiply the learning rate of each group."""
        for group, factor in zip(self.optimizer.param_groups, factors, strict=True):
            if factor == 1:
                continue
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].mul_(factor)
            else:
                group["lr"] *= factor

    def _is_overwritten(self, rate: float, left: float) -> bool:
        """Whether `rate` is a schedule's own, without our scale, where `left` is what this scheduler left.

        A schedule that multiplies what is there keeps the scale; a closed form, as `LambdaLR`, drops it. What the rate is nearer
        to tells, because a schedule moves it by little from one step to the next.
        """
        if rate <= 0 or left <= 0:
            return False
        return abs(math.log(rate * self.scale / left)) < abs(math.log(rate / left))

    def get_lr(self) -> list[float | torch.Tensor]:
        """Return the present learning rates; only `step` changes them."""
        return list(self._rates())

    def _rates(self) -> list[float]:
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return JSON-plain state for a checkpoint. The learning rates themselves are in the optimizer's state."""
        return {"controller": self.controller.state_dict(), "last_epoch": self.last_epoch, "last_lr": self._last_lr}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the result of `state_dict` on a scheduler with the same options. Load the optimizer's state as well."""
        first = self.scale
        if self.last_epoch == 0 and first != 1 and self.get_lr() == self._last_lr:
            # The optimizer's state was loaded before this scheduler was made, whose warm start is not for a resume.
            self._multiply([1 / first] * len(self._last_lr))
        self.controller.load_state_dict(state_dict["controller"])
        self.last_epoch = state_dict["last_epoch"]
        self._last_lr = list(state_dict["last_lr"])
