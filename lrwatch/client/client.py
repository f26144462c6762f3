"""`Client`: what a training script holds, and the half of it that runs in the training thread."""

from __future__ import annotations

import operator
import os
import time
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, final

from lrwatch.client.adapter import Adapter
from lrwatch.client.handoff import QUEUE_HALF, QUEUE_LIMIT, Answer, Handoff, Resumed, draw_incarnation
from lrwatch.client.interlock import Limits, Standing, forbidden
from lrwatch.client.ranks import DEFAULT_SYNC_EVERY, Agreement, Ranks
from lrwatch.client.worker import MAX_FAILURES, Worker
from lrwatch.protocol import MAX_INT, Desired, RejectionCode, Status

# Version of what `Client.state_dict` gives.
STATE_VERSION = 1

_now = time.time


@final
class Client:
    """The training's end of lrwatch; made by `attach`.

    Two threads: the training thread calls `step`, which reads an attribute and appends to a queue; the worker thread
    does everything that could wait. A command travels in these states::

        nothing to do --(worker accepts)--> accepted --(its step has come)--> under way --(an optimizer step
        used the wanted scale)--> applied, nothing to do

    A newer command takes the place of an accepted one, or goes on from the scale that a ramp has reached.
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
        start_step: int,
        reload: Callable[[], object] | None = None,
        ranks: Ranks | None = None,
        sync_every: int = DEFAULT_SYNC_EVERY,
        override_file: str = "",
    ) -> None:
        self._adapter = adapter
        self._reload = reload
        self._limits = limits
        self._incarnation = draw_incarnation()
        self._box = Handoff(start_step)
        self._box.room = QUEUE_LIMIT if metrics_file else 0
        self._queue = self._box.queue
        self._restored_token = 0
        self._settled: Desired | None = None
        self._under_way: Desired | None = None
        self._from_scale = 1.0
        self._first_step = 0
        self._worker = Worker(
            self._box, adapter, directory,
            incarnation=self._incarnation, run=run, limits=limits, key=key, poll_seconds=poll_seconds,
            resumed_from_step=start_step or None, override_file=override_file,
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
        """Start; `attach` has done it. With ranks it waits for them all, and only rank 0 gets a worker thread.

        Raises:
            ValueError: The ranks were given different bounds.
        """
        if self._agreement is not None:
            self._agreement.check(self._box.step)
        if self._leads:
            self._worker.start()
        # A client that nobody holds any more lets its worker end by itself; at exit the worker sees to that.
        weakref.finalize(self, _abandon, self._worker, self._adapter).atexit = False
        _clients.add(self)

    @property
    def scale(self) -> float:
        """The multiplier in force for the next optimizer step."""
        return self._box.standing.scale

    @property
    def _max_token(self) -> int:
        """Highest token seen, also by the run before the resume, of which the worker may not have heard yet."""
        return max(self._box.max_token, self._restored_token)

    @property
    def dropped(self) -> int:
        """Records of metrics that found no room or could not be written."""
        return self._box.dropped

    @property
    def errors(self) -> Mapping[str, int]:
        """What was survived, by reason."""
        return self._worker.survived()

    def step(self, step: int | None = None, **metrics: object) -> None:
        """Say that an optimizer step is done. Never raises, never waits, does no input or output.

        Args:
            step: Number of the step, where the script counts itself.
            metrics: Values for the metrics file: numbers, or scalars of any library. Tensors are copied where they
                are and turned into numbers in the worker thread, so that the training does not wait for a device.
        """
        try:
            box = self._box
            if step is None:
                step = box.step + 1
            elif step.__class__ is not int or not 0 <= step <= MAX_INT:
                step = self._whole(step)
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
                    except Exception:  # noqa: BLE001  a metric of any type is no reason not to hear commands
                        box.errors["metric"] += 1
                    # A bare tuple, a third cheaper to make than the Record that the worker makes of it.
                    queue.append((step, _now(), metrics, self._adapter.lr, box.standing.scale))
                    if waiting == QUEUE_HALF:
                        box.wake.set()
                elif box.room:
                    box.dropped += 1
            if order is not self._settled:
                self._follow(order, step)
        except Exception as error:  # noqa: BLE001  nothing may reach the training; what happened is counted
            self._broken(error)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs so that a resume goes on at this scale; plain enough for JSON."""
        try:
            self._adapter.repair()
        except Exception:  # noqa: BLE001
            self._box.errors["repair"] += 1
        standing = self._box.standing
        return {
            "version": STATE_VERSION,
            "step": self._box.step,
            "max_token": self._max_token if self._agreement is None else self._agreement.max_token,
            **standing._asdict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, under a new incarnation: commands for the run before it no longer count.

        Never raises: with a state that cannot be used the training goes on at the scale that is in force, which is
        logged and counted.

        Args:
            state: From `state_dict`.
        """
        try:
            step, max_token, standing = _read_state(state, self._limits)
            self._adapter.repair()
            self._adapter.set(standing.scale)
        except Exception as error:  # noqa: BLE001
            self._box.errors["state"] += 1
            self._worker.warn("state", f"load_state_dict: {error!r}; the training goes on at scale {self.scale}")
            return
        self._incarnation = draw_incarnation()
        self._under_way = None
        self._restored_token = max_token
        self._box.step = step
        self._box.standing = standing
        if self._agreement is not None:
            self._agreement.resume(self._incarnation, max_token)
        self._tell(Resumed(self._incarnation, step, standing.generation, max_token))

    def close(self) -> None:
        """Write what waits, say the last state, and end the thread, within two seconds. The scale stays in force."""
        self._worker.stop()
        self._box.room = 0
        self._adapter.open = False

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _meet(self, agreement: Agreement, step: int) -> Desired | None:
        """Meet the other ranks if it is time. -> what all of them follow."""
        box = self._box
        proposal = box.order  # of the worker, so None on every rank but 0
        if agreement.due():
            if proposal is not None and proposal.incarnation != self._incarnation:  # of the time before a resume
                proposal = None
            elif proposal is not None and proposal is not agreement.taken and proposal.token < self._max_token:
                agreement.taken = proposal
                self._tell(Answer(proposal, "rejected", "stale_token"))
            agreement.meet(proposal, step, box.standing, self._max_token, self._adapter.steps)
        elif agreement.failed and proposal is not agreement.taken and proposal is not None:
            agreement.taken = proposal
            self._tell(Answer(proposal, "rejected", "apply_failed"))
        return agreement.order

    def _tell(self, news: Answer | Resumed) -> None:
        if self._leads:  # a rank without a worker tells nobody
            self._box.news.append(news)
            self._box.wake.set()

    def _broken(self, error: Exception) -> None:
        """An error nobody foresaw, in the training thread: after some of them the client only counts steps."""
        box = self._box
        box.errors["step"] += 1
        if box.errors["step"] >= MAX_FAILURES:
            box.room = 0
            box.order = self._settled
            self._worker.give_up(error)

    def _follow(self, desired: Desired | None, step: int) -> None:
        """Go on with a command that is not settled; `step` optimizer steps are done."""
        if desired is None or desired.incarnation != self._incarnation:  # of the time before a resume
            self._settled = desired
        elif desired is not self._under_way:
            self._begin(desired, step)
        elif self.scale != desired.scale:
            self._move(desired, step)
        else:
            try:
                used = self._adapter.used()
            except Exception:  # noqa: BLE001
                self._take_back(desired)
            else:
                if used:
                    self._settle(desired, "applied", step=step)

    def _begin(self, desired: Desired, step: int) -> None:
        if step + 1 < (desired.apply_at_step or 0):
            return
        standing = self._box.standing
        # Asked for the second time: the worker judged by what it saw then, this thread knows. What ranks agreed on
        # is judged alike by all of them, so by nothing that only rank 0 knows.
        code: RejectionCode | None = "stale_token"
        if self._agreement is not None or desired.token >= self._max_token:
            code = forbidden(desired, step=step + 1, standing=standing, limits=self._limits)
        if code is not None:
            self._settle(desired, "rejected", code)
            return
        if desired.reload and self._reload is not None and self._reloads(self._reload, desired):
            return
        self._under_way = desired
        self._from_scale = standing.scale
        self._first_step = step + 1
        if desired.scale == standing.scale:
            self._box.standing = standing._replace(generation=desired.generation)
        else:
            self._box.standing = Standing(standing.scale, desired.generation, standing.commands + 1, step + 1)
            self._move(desired, step)

    def _reloads(self, reload: Callable[[], object], desired: Desired) -> bool:
        """Let the training load its last checkpoint. -> whether it did that with `load_state_dict`.

        Then it goes on under a new incarnation, which the command is not for; its scale is used all the same, or the training
        would run into the same wall at the same speed. The hello of the new incarnation tells the daemon.
        """
        incarnation = self._incarnation
        try:
            reload()
        except Exception as error:  # noqa: BLE001  it is the user's own, and may raise anything
            self._box.errors["reload"] += 1
            self._worker.warn("reload", f"reload: {error!r}; the training goes on from where it is")
        if incarnation == self._incarnation:
            return False
        box = self._box
        first_step, standing = box.step + 1, box.standing
        if forbidden(desired, step=first_step, standing=standing, limits=self._limits) is None:
            self._adapter.set(desired.scale)
            changes = standing.commands + (desired.scale != standing.scale)
            box.standing = Standing(desired.scale, standing.generation, changes, first_step)
        return True

    def _move(self, desired: Desired, step: int) -> None:
        """Set the scale for the next optimizer step, on the way to the wanted one."""
        scale = desired.scale
        done = max(step + 2 - self._first_step, 1)
        if done < desired.ramp_steps:
            between = self._from_scale + (scale - self._from_scale) * (done / desired.ramp_steps)
            scale = min(max(between, min(self._from_scale, scale)), max(self._from_scale, scale))
        try:
            self._adapter.set(scale)
        except Exception:  # noqa: BLE001  the user's own callable may raise anything
            self._box.errors["apply"] += 1
            self._settle(desired, "rejected", "apply_failed")
        else:
            self._box.standing = self._box.standing._replace(scale=scale)

    def _take_back(self, desired: Desired) -> None:
        """An optimizer did not take the scale: go back to the one before."""
        self._adapter.set(self._from_scale)
        self._box.standing = self._box.standing._replace(scale=self._from_scale)
        self._settle(desired, "rejected", "apply_failed")

    def _settle(
        self, desired: Desired, status: Status, code: RejectionCode | None = None, step: int | None = None
    ) -> None:
        self._settled, self._under_way = desired, None
        self._tell(Answer(desired, status, code, step, self._adapter.sample()))

    def _whole(self, step: object) -> int:
        """The number that the script gave, or the next one."""
        try:
            number = operator.index(step)  # type: ignore[arg-type]
        except TypeError:
            number = -1
        if 0 <= number <= MAX_INT:
            return number
        self._box.errors["step_number"] += 1
        return self._box.step + 1

    def _after_fork(self) -> None:
        """In a forked child: keep the scale, and do nothing more."""
        self._box.room = 0
        self._box.queue.clear()
        self._box.order = self._settled = self._agreement = None
        self._worker.forget()


# Clients with a worker, for the one handler that a fork calls.
_clients: weakref.WeakSet[Client] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for client in list(_clients):
        client._after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _abandon(worker: Worker, adapter: Adapter) -> None:
    adapter.open = False
    worker.ask_to_stop()


def _own(value: Any) -> object:
    """The metric without its graph, and so that later changes in place do not show; None for what is no scalar."""
    if not hasattr(value, "detach"):
        return value
    return value.detach().clone() if value.numel() == 1 else None


def _read_state(state: Mapping[str, Any], limits: Limits) -> tuple[int, int, Standing]:
    if state["version"] != STATE_VERSION:
        raise ValueError(f"version {state['version']!r}, this client knows {STATE_VERSION}")
    standing = Standing(
        float(state["scale"]), state["generation"], state["commands"], state["last_step"],
    )  # fmt: skip
    if not limits.min_scale <= standing.scale <= limits.max_scale:
        raise ValueError(f"scale {standing.scale} is outside {limits.min_scale} to {limits.max_scale}")
    numbers = [state["step"], state["max_token"], standing.generation, standing.commands]
    if standing.last_step is not None:
        numbers.append(standing.last_step)
    for number in numbers:
        if type(number) is not int or not 0 <= number <= MAX_INT:
            raise ValueError(f"a count is a whole number from 0, found {number!r}")
    return state["step"], state["max_token"], standing
