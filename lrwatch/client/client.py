"""`Client`, the object in a training script: the half of lrwatch that runs in the training thread.

One file because a command passes through all of it: what the training calls, and the states of a command, share every attribute.
"""

from __future__ import annotations

import contextlib
import operator
import os
import time
import weakref
from collections.abc import Callable, Mapping

from lrwatch.client import again
from lrwatch.client.adapter import Adapter, NotAppliedError
from lrwatch.client.handoff import (
    QUEUE_HALF,
    QUEUE_LIMIT,
    CommandResult,
    Handoff,
    News,
    Resumed,
    WarmStartOver,
    draw_incarnation,
)
from lrwatch.client.interlock import Limits, ScaleState, forbidden
from lrwatch.client.judge import Rules
from lrwatch.client.message import floats
from lrwatch.client.metrics import METRICS_BYTES
from lrwatch.client.mover import Mover
from lrwatch.client.opaque import opaque
from lrwatch.client.ranks import DEFAULT_SYNC_EVERY, Agreement, Ranks
from lrwatch.client.saved import SavedState, check_total_steps, read_saved
from lrwatch.client.worker import MAX_FAILURES, Worker, goodbye_after
from lrwatch.protocol import MAX_INT, Desired, Goodbye, ObservedStatus, RejectionCode, asdict, replace
from lrwatch.protocol.lean import TYPE_CHECKING, final

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from lrwatch.client.average import Average

_now = time.time


@final
class Client:
    """The training's end of lrwatch, made by `attach`.

    Two threads: the training thread calls `step`, which reads an attribute and appends to a queue; the worker thread
    does everything that could wait. A command travels through these states::

        nothing to do --(worker accepts)--> accepted --(its step has come)--> under way --(an optimizer step
        used its scale, or the first one of its ramp)--> applied, nothing to do

    A ramp goes on after that, step by step. A newer command replaces an accepted one, or continues from the scale that a ramp
    has reached.
    """

    def __init__(
        self,
        adapter: Adapter,
        directory: str,
        *,
        run: str,
        limits: Limits,
        key: bytes | None,
        poll_seconds: float,
        metrics_file: bool,
        metrics_bytes: int = METRICS_BYTES,
        start_step: int,
        reload: Callable[[], object] | None = None,
        ranks: Ranks | None = None,
        sync_every: int = DEFAULT_SYNC_EVERY,
        override_file: str = "",
        total_steps: int | None = None,
        warm_steps: int = 0,
        average: Average | None = None,
    ) -> None:
        self._adapter = adapter
        self._reload = reload
        self._limits = limits
        self._incarnation = draw_incarnation()
        self._directory = directory
        self._box = Handoff(start_step)
        self._box.room = QUEUE_LIMIT if metrics_file else 0
        self._box.total_steps = self._given_total_steps = total_steps
        self._queue = self._box.queue
        adapter.box = self._box
        self._box.look_at(adapter.check(0))
        self._mover = Mover(self._box, adapter, limits)
        self._warm_steps = warm_steps
        self._average = average
        self._restored_token = 0
        self._settled: Desired | None = None
        self._under_way: Desired | None = None
        self._from_scale = 1.0
        self._worker = Worker(
            self._box, adapter, directory,
            incarnation=self._incarnation, rules=Rules(run, limits, key), poll_seconds=poll_seconds,
            resumed_from_step=start_step or None, override_file=override_file, metrics_bytes=metrics_bytes,
        )  # fmt: skip
        self._agreement: Agreement | None = None
        self._leads = True
        if ranks is not None:
            self._agreement = Agreement(
                ranks, sync_every, limits,
                incarnation=self._incarnation, errors=self._box.errors, warn=self._worker.warn,
            )  # fmt: skip
            self._leads = self._agreement.leads
        if not self._leads:
            self._box.room = 0

    def start(self) -> None:
        """Start, as `attach` does. With ranks, wait for all of them; only rank 0 gets a worker thread.

        Raises:
            ValueError: The bounds differ between the ranks.
        """
        self._warm_up()
        if self._leads:
            self._worker.start()
        again.opened(self._directory, self)
        # The worker of a client without references ends by itself; at exit the worker flushes on its own.
        weakref.finalize(self, _abandon, self._worker, self._adapter, self._directory).atexit = False
        _clients.add(self)

    def _warm_up(self) -> None:
        """Begin the warm start, if there is one; with ranks, once they agree."""
        steps = self._warm_steps
        stepped = bool(steps) and self._adapter.stepped()
        if self._agreement is not None:
            stepped = self._agreement.check(self._box.step, steps, stepped=stepped)
        if stepped:
            self._worker.warn(
                "warm_start", "no warm start: the optimizer has stepped before, so the run is not a fresh one"
            )
        elif steps:
            self._mover.warm_up(steps)
            self._worker.state = replace(self._worker.state, warm_until=steps)

    @property
    def scale(self) -> float:
        """The multiplier in force for the next optimizer step, warm start included."""
        return self._mover.scale

    @property
    def incarnation(self) -> str:
        """The random name of this start of the training, or of its newest `load_state_dict`."""
        return self._incarnation

    @property
    def lr(self) -> dict[str, float]:
        """The learning rates that the last optimizer step used, by parameter group; empty where they cannot be known."""
        return floats(self._adapter.rates())

    @property
    def _max_token(self) -> int:
        """Highest token seen, also by the run before the resume, which the worker may not know yet."""
        return max(self._box.max_token, self._restored_token)

    @property
    def dropped(self) -> int:
        """Number of metrics records that found no room or could not be written."""
        return self._box.dropped

    @property
    def errors(self) -> Mapping[str, int]:
        """Errors that were survived, by reason."""
        return self._worker.survived()

    @opaque
    def step(self, step: int | None = None, **metrics: object) -> None:
        """Report that an optimizer step is done. Never raises, never waits, does no input or output.

        Args:
            step: Number of the step, where the script counts itself.
            **metrics: Values for the metrics file: numbers, or scalars of any library. Tensors are copied on their
                device and turned into numbers in the worker thread, so that the training does not wait for a device.
                `averaged_loss` is the loss of `averaged()` beside `loss`, both on the same data: what the average gains is what a
                lower learning rate is worth before it is tried.
        """
        try:
            box = self._box
            following = box.step + 1
            if step is None:
                step = following
            elif step.__class__ is not int or step != following:
                step = self._whole(step)
                box.leap(step - 1)
            box.step = step
            order = box.order if self._agreement is None else self._meet(self._agreement, step)
            if metrics:
                queue = self._queue
                waiting = len(queue)
                if waiting < box.room:
                    try:
                        for name, value in metrics.items():
                            if value.__class__ is not float:
                                metrics[name] = _own(value)
                    except Exception:  # noqa: BLE001  a metric of any type is no reason to miss commands
                        box.errors["metric"] += 1
                    queue.append((step, _now(), metrics, self._adapter.lr, self._mover.scale))
                    if waiting == QUEUE_HALF:
                        box.wake.set()
                elif box.room:
                    box.dropped += 1
            if order is not self._settled:
                self._follow(order, step)
                self._attend(step)
            elif step == box.due:
                self._attend(step)
        except Exception as error:  # noqa: BLE001  nothing may reach the training; the error is counted
            self._broken(error)

    def state_dict(self) -> dict[str, Any]:
        """Return the JSON-plain state for a checkpoint, so that a resume continues at this scale.

        An average of the weights is no part of it: see `average_state`.
        """
        try:
            self._adapter.repair()
        except Exception:  # noqa: BLE001
            self._box.errors["repair"] += 1
        box = self._box
        max_token = self._max_token if self._agreement is None else self._agreement.max_token
        saved = SavedState(box.step, max_token, box.scale_state, box.total_steps, self._given_total_steps)
        return saved.as_plain()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a checkpoint, under a new incarnation: commands for the run before it no longer count.

        Never raises: with an unusable state the training continues at the scale in force, which is logged and counted.

        Args:
            state: From `state_dict`.
        """
        try:
            saved = read_saved(state, self._limits)
            self._adapter.repair()
            self._mover.restore(saved.scale_state, saved.step)
        except Exception as error:  # noqa: BLE001
            self._box.errors["state"] += 1
            self._worker.warn("state", f"load_state_dict: {error!r}; the training continues at scale {self.scale}")
            return
        self._incarnation = draw_incarnation()
        self._under_way = None
        self._restored_token = saved.max_token
        self._box.leap(saved.step)
        # A script that gives another length than before means it; else what `extend` said holds.
        if self._given_total_steps in (None, saved.given_total_steps):
            self._box.total_steps = saved.total_steps or self._box.total_steps
        if self._agreement is not None:
            self._agreement.resume(self._incarnation, saved.max_token)
        scale_state = self._box.scale_state
        self._report(
            Resumed(self._incarnation, saved.step, scale_state.generation, saved.max_token, scale_state.warm_until)
        )

    def go_on(self, state: Mapping[str, Any], start_step: int) -> None:
        """Go on where an earlier client of this process left the same training, before `start`, and say so.

        Args:
            state: From `state_dict` of that client.
            start_step: Optimizer steps done, where the script says so, or 0.
        """
        self.load_state_dict({**state, "step": start_step or state["step"]})
        scale_state = self._box.scale_state
        if scale_state != ScaleState(generation=scale_state.generation):
            self._worker.warn(
                "again",
                f"attached again: this training goes on at scale {self.scale:g} from step {self._box.step}, with "
                f"{scale_state.commands} of {self._limits.max_commands} changes used",
            )

    def extend(self, total_steps: int | None) -> None:
        """Correct the length of the run: it goes on longer than `attach` was told, or ends earlier.

        Never raises: a length that is none is logged and counted, and the one before stays.

        Args:
            total_steps: The whole length in optimizer steps, those that are done included; None where it is unknown.
        """
        try:
            self._box.total_steps = check_total_steps(total_steps)
        except (TypeError, ValueError) as error:
            self._box.errors["total_steps"] += 1
            self._worker.warn("total_steps", f"extend: {error}; the length stays {self._box.total_steps}")
        self._box.wake.set()

    def averaged(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the weights of the optimizer hold their average: to evaluate, or to save the model.

        The weights come back at its end, bit for bit; a step within it brings them back before, and is counted as an error.
        The buffers of a model, such as the statistics of a batch normalisation, are not averaged.
        """
        if self._average is None:
            self._box.errors["no_average"] += 1
            self._worker.warn("average", "averaged: there is none, give attach(..., average=0.125); the weights stay")
            return contextlib.nullcontext()
        if self._average.failure is not None:
            self._worker.warn("average", f"averaged: the average ended, the last one holds: {self._average.failure!r}")
        return self._average.in_place()

    def average_state(self) -> dict[str, Any]:
        """Return the average of the weights for a checkpoint of its own: a dict of tensors, for `torch.save`.

        The next step updates the tensors; copy them where they are kept in memory.
        """
        return {} if self._average is None else self._average.state()

    def load_average_state(self, state: Mapping[str, Any]) -> None:
        """Continue with the average of a checkpoint, bit for bit. Call it after the model was loaded.

        Never raises: with an unusable state the average goes on as it is, which is logged and counted.

        Args:
            state: From `average_state`.
        """
        if self._average is None:
            return
        try:
            self._average.load(state)
        except Exception as error:  # noqa: BLE001  of a dict from outside
            self._box.errors["average_state"] += 1
            self._worker.warn("average_state", f"load_average_state: {error!r}; the average goes on as it is")

    def close(self, goodbye: Goodbye = "close") -> None:
        """Say goodbye, write the waiting metrics and the last state, and end the thread, within two seconds.

        The scale stays in force; a warm start ends. A training that forgets to close says goodbye when the interpreter ends.

        Args:
            goodbye: Why the training has ended; the daemon says so.
        """
        self._worker.stop(goodbye)
        self._end()

    def retire(self) -> None:
        """End because a newer client uses the control directory: this one keeps its scale, and says and does nothing more."""
        self._worker.retire()
        self._end()

    def _end(self) -> None:
        self._box.room = 0
        self._mover.stop()
        if self._adapter.open:
            self._adapter.open = False
            again.left(self._directory, self, self._adapter, self.state_dict())

    def __reduce__(self) -> tuple[object, ...]:
        """Return how a copy is made: an inert client, which knows the state and leaves optimizer, files and threads alone."""
        return _inert, (self.state_dict(), asdict(self._limits))

    def __enter__(self) -> Client:  # noqa: PYI034  the class is final
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(goodbye_after(error))

    def _attend(self, step: int) -> None:
        """Do what is due after this step: look whether the optimizer steps, and move the scale."""
        box = self._box
        if box.looks():
            box.look_at(self._adapter.check(box.calls))
        if box.moves and self._mover.advance(step):
            self._report(WarmStartOver())
        box.plan()

    def _meet(self, agreement: Agreement, step: int) -> Desired | None:
        """Meet the other ranks if it is time, and return the command that all of them follow."""
        box = self._box
        proposal = box.order  # of the worker, so None on every rank but 0
        if agreement.due():
            if proposal is not None and proposal.incarnation != self._incarnation:  # of the time before a resume
                proposal = None
            elif proposal is not None and proposal is not agreement.taken and proposal.token < self._max_token:
                agreement.taken = proposal
                self._report(CommandResult(proposal, "rejected", "stale_token"))
            agreement.meet(proposal, step, box.scale_state, self._max_token, self._adapter.steps)
        elif agreement.failed and proposal is not agreement.taken and proposal is not None:
            agreement.taken = proposal
            self._report(CommandResult(proposal, "rejected", "apply_failed"))
        return agreement.order

    def _report(self, news: News) -> None:
        if self._leads:  # the other ranks have no worker
            self._box.news.append(news)
            self._box.wake.set()

    def _broken(self, error: Exception) -> None:
        """Count an unexpected error of the training thread; after some of them the client only counts steps."""
        box = self._box
        box.errors["step"] += 1
        if box.errors["step"] >= MAX_FAILURES:
            box.room = 0
            box.order = self._settled
            self._mover.stop()
            self._worker.give_up(error)

    def _follow(self, desired: Desired | None, step: int) -> None:
        """Continue with a command that is not settled; `step` optimizer steps are done."""
        if desired is None or desired.incarnation != self._incarnation:  # of the time before a resume
            self._settled = desired
        elif desired is not self._under_way:
            self._begin(desired, step)
        else:
            try:
                used = self._adapter.used()
            except Exception as error:  # noqa: BLE001
                self._take_back(desired, error)
            else:
                if used:
                    self._settle(desired, "applied", step=step)

    def _begin(self, desired: Desired, step: int) -> None:
        if step + 1 < (desired.apply_at_step or 0):
            return
        scale_state = self._box.scale_state
        # Checked for the second time: the worker judged by the state at that time, this thread has the present one. All
        # ranks must judge an agreed command alike, so by nothing that only rank 0 knows.
        code: RejectionCode | None = "stale_token"
        if self._agreement is not None or desired.token >= self._max_token:
            code = forbidden(desired, step=step + 1, scale_state=scale_state, limits=self._limits)
        if code is not None:
            self._settle(desired, "rejected", code)
            return
        if desired.reload and self._reload is not None and self._reloads(self._reload, desired):
            return
        self._under_way = desired
        self._from_scale = scale_state.scale
        if desired.scale == scale_state.scale:
            self._mover.rest(desired.generation)
            return
        try:
            self._mover.begin(desired, step)
        except Exception as error:  # noqa: BLE001  the user's own callable may raise anything
            self._box.errors["apply"] += 1
            self._settle(desired, "rejected", _code_of(error))

    def _reloads(self, reload: Callable[[], object], desired: Desired) -> bool:
        """Let the training load its last checkpoint, and return whether it called `load_state_dict`.

        If so, it continues under a new incarnation, for which the command is not meant. The scale of the command is used all
        the same, or the training would run into the same wall at the same speed. The hello of the new incarnation informs
        the daemon.
        """
        incarnation = self._incarnation
        try:
            reload()
        except Exception as error:  # noqa: BLE001  the user's own function may raise anything
            self._box.errors["reload"] += 1
            self._worker.warn("reload", f"reload: {error!r}; the training continues from where it is")
        if incarnation == self._incarnation:
            return False
        box = self._box
        first_step, scale_state = box.step + 1, box.scale_state
        at_once = replace(desired, ramp_steps=0)  # the training has just left the curve that a ramp was meant for
        if forbidden(at_once, step=first_step, scale_state=scale_state, limits=self._limits) is None:
            changes = scale_state.commands + (desired.scale != scale_state.scale)
            self._mover.restore(ScaleState(desired.scale, scale_state.generation, changes, first_step), box.step)
        return True

    def _take_back(self, desired: Desired, error: Exception) -> None:
        """Return to the scale before, because an optimizer did not take the new one."""
        self._mover.restore(replace(self._box.scale_state, scale=self._from_scale, ramp=None), self._box.step)
        self._settle(desired, "rejected", _code_of(error))

    def _settle(
        self, desired: Desired, status: ObservedStatus, code: RejectionCode | None = None, step: int | None = None
    ) -> None:
        self._settled, self._under_way = desired, None
        self._report(CommandResult(desired, status, code, step, self._adapter.sample()))

    def _whole(self, step: object) -> int:
        """Return the number that the script passed, or the next one if it is none."""
        try:
            number = operator.index(step)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if 0 <= number <= MAX_INT:
            return number
        self._box.errors["step_number"] += 1
        return self._box.step + 1

    def _after_fork(self) -> None:
        """Keep the scale in a forked child, and do nothing more."""
        self._box.room = 0
        self._box.queue.clear()
        self._box.order = self._settled = self._agreement = None
        self._box.move(False)
        self._worker.forget()


# Clients with a worker, for the one handler that a fork calls.
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _inert(state: Mapping[str, Any], limits: Mapping[str, Any]) -> Client:
    """Return the copy of a client."""
    copy = Client(
        Adapter(), "", run="", limits=Limits(**limits), key=None, poll_seconds=1.0, metrics_file=False, start_step=0
    )
    copy._leads = False
    copy.load_state_dict(state)
    return copy


def _abandon(worker: Worker, adapter: Adapter, directory: str) -> None:
    if adapter.open and adapter.box is not None:
        box = adapter.box
        saved = SavedState(box.step, box.max_token, box.scale_state, box.total_steps)
        again.left(directory, None, adapter, saved.as_plain())
    adapter.open = False
    worker.ask_to_stop("released")


def _code_of(error: Exception) -> RejectionCode:
    return error.code if isinstance(error, NotAppliedError) else "apply_failed"


def _own(value: Any) -> object:
    """Return the metric without its graph, safe from later changes in place; None if it is no scalar."""
    if not hasattr(value, "detach"):
        return value
    return value.detach().clone() if value.numel() == 1 else None
