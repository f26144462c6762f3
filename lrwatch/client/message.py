"""The bytes of `observed.json`: with as many learning rates as have room, and without them rather than not at all."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections import Counter
from collections.abc import Mapping

from lrwatch.client.adapter import LearningRates
from lrwatch.protocol import MAX_GROUPS, Observed, ProtocolError, encode, replace


def message_of(observed: Observed, sample: LearningRates | None, errors: Counter[str]) -> bytes:
    """Return the message with the learning rates of a sample.

    Of more than `MAX_GROUPS` groups it holds the first. Where the rest of the message is right and the rates cannot be sent, it
    has none, which is counted once: a daemon that hears nothing would take the training for lost.

    Args:
        observed: All but the rates.
        sample: The rates, or None where they are unknown.
        errors: Counter of the errors that were survived.

    Raises:
        ProtocolError: It cannot be sent even so.
    """
    if sample is not None:
        try:
            return encode(replace(observed, schedule_lr=_first(sample.schedule), effective_lr=_first(sample.effective)))
        except ProtocolError:
            errors["rates"] = 1
    return encode(observed)


def _first(rates: Mapping[str, object]) -> dict[str, float]:
    return dict(itertools.islice(floats(rates).items(), MAX_GROUPS))


def floats(rates: Mapping[str, object]) -> dict[str, float]:
    """Return those rates that are finite numbers; the message cannot hold the others."""
    found: dict[str, float] = {}
    for group, rate in rates.items():
        with contextlib.suppress(
            Exception
        ):  # the optimizer steps with any type of rate; skip those that are no numbers
            found[group] = float(rate)  # type: ignore[arg-type]
    return {group: rate for group, rate in found.items() if math.isfinite(rate)}
