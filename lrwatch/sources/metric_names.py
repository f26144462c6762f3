"""How many metrics a log may have, and how long their names may be: a hostile log has as many names as lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lrwatch.core.checkpoint import Checkpointed
from lrwatch.core.names import LONGEST_NAME, role
from lrwatch.core.sample import Batch

# Real runs log tens of metrics, those that log each parameter's norm some hundreds. Losses, learning rates and epochs are
# counted apart, so that noise does not push them out.
MAX_NAMES = 1000
# Names beyond it whose number is known: a log with more has no use for the exact one.
_MAX_COUNTED = 100_000

LEFT_OUT = f"metric left out: more than {MAX_NAMES:,} in one log"
TOO_LONG = f"metric left out: name of more than {LONGEST_NAME} characters"

ESSENTIAL = frozenset({"train_loss", "val_loss", "lr", "epoch"})
"""Roles of the metrics that matter most."""


class MetricNames(Checkpointed):
    """The metrics of one log that are read: the first MAX_NAMES, and as many losses, rates and epochs."""

    SAVED = ("_essential", "_others")

    def __init__(self) -> None:
        self._essential: set[str] = set()
        self._others: set[str] = set()
        self._left_out: set[int] = set()  # hashes

    def bounded(self, batch: Batch) -> Batch:
        """Return the batch without the metrics that are left out; each of them is counted as one error, once."""
        if all(name in self._others or name in self._essential for name in batch.columns):
            return batch
        out: dict[str, str] = {}
        for name, _ in batch.by_first_row():  # so that it is the same however the log was cut into reads
            if len(name) > LONGEST_NAME:
                out[name] = TOO_LONG
                continue
            names = self._essential if role(name) in ESSENTIAL else self._others
            if name not in names:
                if len(names) < MAX_NAMES:
                    names.add(name)
                else:
                    out[name] = LEFT_OUT
        return self._without(batch, out) if out else batch

    def _without(self, batch: Batch, out: Mapping[str, str]) -> Batch:
        errors = dict(batch.errors)
        for name, reason in out.items():
            if (key := hash(name)) not in self._left_out and len(self._left_out) < _MAX_COUNTED:
                self._left_out.add(key)
                errors[reason] = errors.get(reason, 0) + 1
        return replace(
            batch,
            columns={name: column for name, column in batch.columns.items() if name not in out},
            smoothing={name: how for name, how in batch.smoothing.items() if name not in out},
            errors=errors,
        )
