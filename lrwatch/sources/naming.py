"""What the path of a log says about its content."""

from __future__ import annotations

import os
import re
from pathlib import PurePath

_DIRECTORY = "metrics"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def metric_name(path: str | os.PathLike[str]) -> str | None:
    """The metric that a path names, or None.

    MLflow keeps each metric in a file of its own below the directory `metrics` of a run; slashes in the name of the metric
    are directories. A run is called by 32 hexadecimal digits; where none is in the path, the last `metrics` counts.

    >>> metric_name("mlruns/0/ea71e54bc850434eaa5170c17d564de6/metrics/train/loss")
    'train/loss'
    >>> metric_name("metrics/run.log"), metric_name("runs/a/metrics.csv")
    ('run.log', None)
    """
    parts = PurePath(path).parts
    places = [i for i, part in enumerate(parts[:-1]) if part == _DIRECTORY]
    if not places:
        return None
    of_a_run = [i for i in places if i and _RUN_ID.fullmatch(parts[i - 1])]
    return "/".join(parts[(of_a_run[:1] or places[-1:])[0] + 1 :])
