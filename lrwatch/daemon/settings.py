"""The settings by which a run is judged, as the journal holds them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from lrwatch._version import __version__
from lrwatch.config import Config
from lrwatch.core.options import Horizon
from lrwatch.core.run_length import RunLength
from lrwatch.core.standing import asked_in_words


def settings_event(config: Config, length: RunLength) -> dict[str, Any]:
    """Return the journal's event of the settings, without run and step.

    Args:
        config: The settings.
        length: Length of the run.
    """
    known = f"{length.total_steps} ({length.source})" if length.total_steps else "unknown"
    detect, policy = config.detect, config.policy
    return {
        "detect": asdict(detect),
        "policy": asdict(policy),
        # What the run is called decides nothing.
        "run_options": {k: v for k, v in asdict(config.run).items() if not k.startswith(("name", "labels"))},
        "watch_metric": config.metric,
        "format": config.watch.reading,
        "length": list(length),
        "versions": {"lrwatch": __version__, "numpy": np.__version__},
        "message": (
            f"lrwatch {__version__} in mode {policy.mode}, strategy {policy.strategy}; a plateau is an improvement of less than "
            f"{asked_in_words(detect)} over {Horizon.parse(detect.horizon)}; length {known}; "
            f"{config.metric or 'a training loss, by its name,'} decides"
        ),
    }
