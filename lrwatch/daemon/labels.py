"""The labels of a run: those of the settings, of the Pod that the daemon is in, and of its Slurm job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lrwatch import settings_file
from lrwatch.config import Config
from lrwatch.core.options import OWN_LABELS
from lrwatch.errors import ConfigError

# What Slurm puts into the environment of a job, and what an operator of a cluster asks for first.
SLURM = (
    "SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_JOB_USER", "SLURM_JOB_ACCOUNT", "SLURM_JOB_PARTITION", "SLURM_CLUSTER_NAME",
    "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID",
)  # fmt: skip

_SETTING = "[run] labels_file"
_LINE = re.compile(r"(?P<key>[^=\s]+)=(?P<value>\".*\")")


def labelled(config: Config, environ: Mapping[str, str]) -> Config:
    """Return the settings with all labels of the run in `[run] labels`; the settings come before the Pod, and that before Slurm.

    Args:
        config: The settings.
        environ: The environment of the daemon.

    Raises:
        ConfigError: The file with labels cannot be read, or there are too many of them.
    """  # noqa: DOC501  # `_cannot` makes it
    labels = {name.lower(): environ[name] for name in SLURM if environ.get(name)}
    if config.run.labels_file:
        labels |= _of_file(Path(config.run.labels_file))
    labels |= config.run.labels
    try:
        return replace(config, run=replace(config.run, labels=labels))
    except ValueError as error:
        raise _cannot(config.run.labels_file, "labels that can be served", str(error)) from error


def _of_file(path: Path) -> dict[str, str]:
    """Return the labels of a file of the Downward API: `key="value"`, the value quoted as a string of Go.

    Raises:
        ConfigError: It cannot be read, or a line is not of that form.
    """  # noqa: DOC501  # `_cannot` makes it
    labels = {}
    try:
        content = settings_file.read(
            path, expected="labels", where=f"{_SETTING} = {path}", hint="Name the file with the labels, not a log."
        )
        lines = content.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _cannot(str(path), "a file that can be read", getattr(error, "strerror", None) or str(error)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = _LINE.fullmatch(line.strip())
        try:
            value = json.loads(found["value"]) if found else None
        except ValueError:
            value = None
        if found is None or value is None:
            raise _cannot(f"{path}, line {number}", 'key="value"', repr(line[:80]))
        key = re.sub(r"[^a-zA-Z0-9_]", "_", found["key"]).lstrip("_")
        if not key or key[0].isdigit() or key in OWN_LABELS:
            key = f"exported_{key}"
        labels[key] = value
    return labels


def _cannot(where: str, expected: str, found: str) -> ConfigError:
    return ConfigError(
        expected=expected, found=found, where=f"{_SETTING} = {where}",
        hint="Mount metadata.labels of the Pod there with a downwardAPI volume, or take the setting out.",
    )  # fmt: skip
