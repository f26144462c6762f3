"""`attach` checks every argument at once, with an error in words, and starts a client."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence

from lrwatch.client import again
from lrwatch.client.adapter import Adapter, CallableAdapter
from lrwatch.client.client import Client
from lrwatch.client.inner import innermost, is_optimizer
from lrwatch.client.interlock import Limits
from lrwatch.client.metrics import LEAST_METRICS_BYTES, METRICS_BYTES
from lrwatch.client.ranks import DEFAULT_SYNC_EVERY, Ranks, TorchRanks, is_group, is_ranks
from lrwatch.client.saved import check_total_steps
from lrwatch.client.torch_hooks import TorchAdapter
from lrwatch.protocol import MAX_INT, MAX_NAME, read_key
from lrwatch.protocol.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from lrwatch.client.average import Average


def attach(
    optimizer: object,
    control_dir: str | os.PathLike[str],
    *,
    run: str | None = None,
    total_steps: int | None = None,
    warm_start: float | None = None,
    average: float | None = None,
    poll_seconds: float = 1.0,
    min_scale: float = 1e-3,
    max_scale: float = 1.0,
    max_factor_down: float = 0.1,
    max_factor_up: float = 2.0,
    min_steps_between: int = 0,
    warmup_steps: int = 0,
    max_commands: int = 100,
    key_file: str | os.PathLike[str] | None = None,
    metrics_file: bool = True,
    metrics_bytes: int = METRICS_BYTES,
    start_step: int = 0,
    reload: Callable[[], object] | None = None,
    ranks: object = None,
    sync_every: int = DEFAULT_SYNC_EVERY,
    override_file: str | os.PathLike[str] | None = None,
) -> Client:
    """Let lrwatch scale the learning rate of this training, within bounds.

    A second call in the same process for the same training, as in a notebook cell or a second stage, keeps the scale and the
    budget. A client that is still open on the same directory becomes inert.

    Args:
        optimizer: A torch optimizer, a list, tuple or dict of them, a callable that takes each new scale, or None; with None read
            `Client.scale`. Inside wrappers and containers, lrwatch finds the optimizers that really step.
        control_dir: Control directory, shared with the daemon. Made (mode 0700) where it is missing; it may also come and
            go.
        run: Name of the run; commands for another run are refused. None accepts any.
        total_steps: Length of the run in optimizer steps, or None where it is unknown. `Client.extend` corrects it.
        warm_start: Share of `total_steps` over which the client itself raises the learning rate, geometrically from 0.1 to 1 of
            what it would be, from the first optimizer step of a fresh run on; 0.04 is a good value. A resume within the warm start
            continues it; any other resume has none. Commands are refused until it is over. None is no warm start.
        average: Half-life of an exponential moving average of the weights: a whole number of optimizer steps from 2, or a share of
            the steps so far, such as 0.125. It needs as much memory as the weights, and `Client.averaged` gives it. Torch optimizers
            only; where one trains copies of the weights, as ZeRO and Megatron-LM do, the copies are averaged. None is no average.
        poll_seconds: Interval at which a thread looks for a command.
        min_scale: Lower bound of the multiplier on the learning rate.
        max_scale: Upper bound of the multiplier.
        max_factor_down: Smallest factor by which one command may multiply the scale at once. A command with a ramp may go further:
            for it this is the factor from one step to the next.
        max_factor_up: Largest factor by which one command may multiply the scale at once.
        min_steps_between: Optimizer steps from one change to the next.
        warmup_steps: Number of optimizer steps at the start in which the scale stays.
        max_commands: Number of changes in the whole life of the run.
        key_file: File with the key that commands must be signed with.
        metrics_file: Whether `step` writes its metrics to `metrics.jsonl`.
        metrics_bytes: Limit in bytes of `metrics.jsonl` and `metrics.jsonl.1`, the older half, together. The oldest lines are dropped.
        start_step: Optimizer steps done before, for a script that knows them and has no state to load.
        reload: Function without arguments that loads the last checkpoint, `Client.load_state_dict` included. It is called in
            the training thread, between two optimizer steps, when the loss is no longer finite and lrwatch requests to
            continue from the last checkpoint (strategy "rescue"). The smaller scale of that command holds afterwards. An
            exception of the function is logged and counted.
        ranks: The processes that train together: a `torch.distributed` process group, or an object like
            `lrwatch.client.ranks.Ranks`. Then call `attach` on all of them, with the same bounds; it waits for them. Call
            `step` and `load_state_dict` equally often on all of them. Only rank 0 uses `control_dir`.
        sync_every: Optimizer steps from one exchange between the ranks to the next. A command takes effect one to two times
            as many steps after its arrival.
        override_file: File by which people set the learning rate, as `echo 0.5x > lr_override.txt`: `0.5x` is a multiplier of
            the schedule, a bare number a learning rate for the first parameter group. The bounds above hold for it too. See
            `lrwatch.client.override`. None, the default, reads no such file.

    Returns:
        The client. From here on nothing is ever raised into the training.

    Raises:
        TypeError: An argument is of the wrong kind, or an optimizer takes no hooks.
        ValueError: An argument is out of range, the optimizer is attached already, or the bounds differ between the ranks.
        RuntimeError: The ranks cannot be reached.
    """
    limits = Limits(
        min_scale, max_scale, max_factor_down, max_factor_up, min_steps_between, warmup_steps, max_commands
    )  # fmt: skip
    check_total_steps(total_steps)
    warm_steps = _warm_steps(warm_start, total_steps)
    _check_average(average)
    if run is not None and not isinstance(run, str):
        raise TypeError(f"run is a name or None, found {run!r}")
    if run is not None and not 1 <= len(run) <= MAX_NAME:
        raise ValueError(f"run has 1 to {MAX_NAME} characters, found {len(run)}")
    if isinstance(poll_seconds, bool) or not isinstance(poll_seconds, (int, float)):
        raise TypeError(f"poll_seconds is a number, found {poll_seconds!r}")
    if not (math.isfinite(poll_seconds) and poll_seconds > 0):
        raise ValueError(f"poll_seconds is finite and greater than 0, found {poll_seconds!r}")
    if type(metrics_bytes) is not int:
        raise TypeError(f"metrics_bytes is a whole number, found {metrics_bytes!r}")
    if metrics_bytes < LEAST_METRICS_BYTES:
        raise ValueError(f"metrics_bytes is {LEAST_METRICS_BYTES} or more, found {metrics_bytes}")
    if type(start_step) is not int:
        raise TypeError(f"start_step is a whole number, found {start_step!r}")
    if not 0 <= start_step <= MAX_INT:
        raise ValueError(f"start_step is 0 or more, found {start_step}")
    if reload is not None and not callable(reload):
        raise TypeError(f"reload is a callable without arguments or None, found {reload!r}")
    if type(sync_every) is not int:
        raise TypeError(f"sync_every is a whole number, found {sync_every!r}")
    if sync_every < 1:
        raise ValueError(f"sync_every is 1 or more, found {sync_every}")
    processes = _ranks_for(ranks)
    leads = processes is None or processes.rank == 0
    directory = _absolute(control_dir, "control_dir")
    override = "" if override_file is None else _absolute(override_file, "override_file")
    try:
        key = None if key_file is None or not leads else read_key(key_file)
    except OSError as error:
        raise ValueError(f"key_file cannot be read: {error}") from error
    before = again.in_use(directory)
    if before is not None:  # a notebook keeps the client of a cell that is run again
        before.retire()
    adapter = _adapter_for(optimizer)
    state = again.state_of(directory, adapter)
    averages = None if average is None else _average_for(adapter, average)
    client = Client(
        adapter, directory,
        run=run or "", limits=limits, key=key, poll_seconds=float(poll_seconds), metrics_file=metrics_file,
        metrics_bytes=metrics_bytes,
        start_step=start_step, reload=reload, override_file=override, ranks=processes, sync_every=sync_every,
        total_steps=total_steps, warm_steps=warm_steps if start_step == 0 and state is None else 0, average=averages,
    )  # fmt: skip
    if state is not None:
        client.go_on(state, start_step)
    client.start()
    return client


def _absolute(path: object, name: str) -> str:
    """Return the absolute path, fixed now, because the script may change its directory.

    Raises:
        TypeError: It is no path.
    """
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"{name} is a path, found {type(path).__name__}; call attach(optimizer, control_dir)")
    return os.path.abspath(os.fsdecode(path))  # noqa: PTH100


def _warm_steps(warm_start: object, total_steps: int | None) -> int:
    """Return the length of the warm start in optimizer steps, 0 for none.

    Raises:
        TypeError: `warm_start` is no number.
        ValueError: It is no share, or the length of the run is unknown.
    """
    if warm_start is None:
        return 0
    if isinstance(warm_start, bool) or not isinstance(warm_start, (int, float)):
        raise TypeError(f"warm_start is a share of the run, such as 0.04, or None; found {warm_start!r}")
    if not 0 < warm_start < 1:
        raise ValueError(f"warm_start is a share of the run, greater than 0 and less than 1; found {warm_start!r}")
    if total_steps is None:
        raise ValueError("warm_start is a share of the run, so it needs the length of the run: give total_steps too")
    return max(round(warm_start * total_steps), 1)


def _check_average(half_life: object) -> None:
    """Check the half-life of an average.

    Raises:
        TypeError: It is no number.
        ValueError: It is neither a number of steps nor a share.
    """
    if half_life is None:
        return
    if isinstance(half_life, bool) or not isinstance(half_life, (int, float)):
        raise TypeError(
            f"average is a half-life: a whole number of steps, a share of the run, or None; found {half_life!r}"
        )
    if not (half_life > 1 if isinstance(half_life, int) else 0 < half_life < 1):
        raise ValueError(
            "average is a whole number of optimizer steps from 2, or a share of the steps so far between 0 and 1; "
            f"found {half_life!r}"
        )


def _average_for(adapter: Adapter, half_life: float) -> Average:
    if not isinstance(adapter, TorchAdapter):
        raise TypeError(
            f"average needs the weights of a torch optimizer; this optimizer is of the kind {adapter.name!r}"
        )
    from lrwatch.client.average import Average  # most trainings have none

    adapter.average = Average(adapter.optimizers(), half_life, adapter.errors)
    return adapter.average


def _ranks_for(ranks: object) -> Ranks | None:
    if is_group(ranks):
        return TorchRanks(ranks) if ranks.size() > 1 else None
    if ranks is None or is_ranks(ranks):
        return ranks
    raise TypeError(
        "ranks is a torch.distributed process group (torch.distributed.group.WORLD), an object with rank and largest(), "
        f"or None; found {type(ranks).__name__}"
    )


def _adapter_for(optimizer: object) -> Adapter:
    if optimizer is None:
        return Adapter()
    if isinstance(optimizer, Adapter):
        return optimizer
    if isinstance(optimizer, type) or hasattr(optimizer, "forward"):  # both can be called, and would be with each scale
        what = (
            f"the class {optimizer.__name__}" if isinstance(optimizer, type) else f"a model, {type(optimizer).__name__}"
        )
        raise TypeError(f"optimizer is the object that steps, or a callable that takes the scale; found {what}")
    if isinstance(optimizer, Mapping):
        optimizer = list(optimizer.values())
    if callable(optimizer) and not is_optimizer(optimizer):
        function: Callable[[float], object] = optimizer
        return CallableAdapter(function)
    if innermost(optimizer):
        return TorchAdapter([optimizer])
    if isinstance(optimizer, (list, tuple)):
        optimizers: Sequence[object] = optimizer
        if not optimizers:
            raise ValueError("the list of optimizers is empty; give at least one, or None")
        if all(innermost(one) for one in optimizers):
            return TorchAdapter(optimizers)
    raise TypeError(
        "optimizer is a torch optimizer (with param_groups and step hooks), a wrapper or container of such, a list, "
        f"tuple or dict of them, a callable that takes the scale, or None; found {type(optimizer).__name__}"
    )
