"""The configuration that `lrwatch init` proposes: which paths, which metric, and every other key as a comment."""

from __future__ import annotations

import inspect
import json
import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lrwatch.cli.output import safe
from lrwatch.config import SECTIONS, Config
from lrwatch.core.names import primary, role
from lrwatch.explain.scan import ScannedFile
from lrwatch.sources.discover import discover
from lrwatch.sources.log_identity import is_client_log
from lrwatch.sources.source import Rank, rank_of

# Rows that a log without a loss has at least: fewer are numbers in a text.
_LEAST_ROWS = 2
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class WatchProposal:
    """The paths and the metric to watch.

    Attributes:
        paths: Relative to the directory of the configuration.
        spare: Logs of the same runs that are not needed.
        metric: The metric, where the names leave it open; "" otherwise.
        loss: The metric that will be watched.
    """

    paths: tuple[str, ...]
    spare: tuple[str, ...]
    metric: str
    loss: str


def choose(directory: Path, scanned: Sequence[ScannedFile]) -> WatchProposal | None:
    """Choose what to watch of the scanned files; None where there is no log.

    That is the directory, where watching it finds the right logs, so that later logs are found too. Of one run each metric is
    taken from the best log that has it: see `lrwatch.sources.ownership`.
    """
    nameable = [log for log in scanned if str(log.path).isprintable()]
    logs = [log for log in nameable if log.loss is not None]
    if not logs:
        logs = [log for log in nameable if log.rows >= _LEAST_ROWS and _candidate(log) is not None]
    if not logs:
        return None
    logs.sort(key=lambda log: (_order(log), str(log.path)))
    names = {os.path.abspath(log.path): log for log in scanned}  # noqa: PTH100 - as `discover` spells them
    runs: dict[str, list[ScannedFile | None]] = {}
    for found in discover([directory]).logs:
        runs.setdefault(found.run, []).append(names.get(str(found.path)))
    best = {log.path.parent: log for log in reversed(logs)}
    if runs and all(_reads_well(run, logs) for run in runs.values()):
        paths = ["."]
        used = [log for run in runs.values() for log in run if log is not None]
    else:
        used = [log for log in logs if best[log.path.parent] is log]
        paths = [str(log.path.relative_to(directory)) for log in used]
    spare = [str(log.path.relative_to(directory)) for log in logs if log not in used]
    losses = [log.loss for log in used if log.loss is not None]
    loss = primary(losses)
    metric = loss or _candidate(logs[0]) or ""
    named = loss is not None and role(loss) != "other"
    return WatchProposal(tuple(paths), tuple(spare), "" if named else metric, metric)


def _order(log: ScannedFile) -> tuple[Any, ...]:
    """Finer first: a training loss, steps rather than epochs or records, more rows."""
    is_training = log.loss is not None and role(log.loss) == "train_loss"
    return not is_training, {"step": 0, "epoch": 1, "record": 2}[log.axis], -log.rows


def _candidate(log: ScannedFile) -> str | None:
    """Return the metric to watch in a log without a loss: the one with most samples that is not about time."""
    order = {"other": 0, "lr": 1}
    named = [(order[role(name)], -count, name) for name, count in log.metrics.items() if role(name) in order]
    return min(named)[2] if named else None


def _reads_well(run: Sequence[ScannedFile | None], logs: Sequence[ScannedFile]) -> bool:
    """Whether these files, in this order, give the run what its finest log gives."""
    usable = [log for log in run if log is not None and log in logs]
    if not usable or len(usable) < len(run):
        return False
    loss = primary(name for log in usable for name in log.metrics)
    if loss is None:
        return len({_candidate(log) for log in usable}) == 1
    have_it = [log for log in usable if loss in log.metrics]
    best = min(have_it, key=_rank)
    return best is min((log for log in have_it if _rank(log) == _rank(best)), key=_order)


def _rank(log: ScannedFile) -> Rank:
    return rank_of(log.axis, log.format, client=is_client_log(log.path))


# ---- the file -------------------------------------------------------------------------------------------------------


def toml(directory: Path, scanned: Sequence[ScannedFile], proposal: WatchProposal) -> str:
    """Return the text of the configuration. A key that is not set is a comment with its default."""
    lines = [
        "# lrwatch: what is watched here, and what is done about it. Flags and LRWATCH_SECTION_KEY come before it.",
        "#",
    ]
    lines += [f"# {line}" for line in _found(directory, scanned)]
    settings: dict[str, Any] = {
        "watch.paths": list(proposal.paths), "watch.format": "auto", "policy.mode": Config().policy.mode,
    }  # fmt: skip
    if proposal.metric:
        settings["run.metric"] = proposal.metric
    stated = sorted({log.total_steps for log in scanned if log.total_steps})
    for section, options in SECTIONS.items():
        title, texts = _documented(options)
        lines += ["", f"# {title}", f"[{section}]"]
        for field in fields(options):
            name = f"{section}.{field.name}"
            lines += [f"# {line}" for line in texts.get(field.name, [])]
            lines += [f"# {line}" for line in _remarks(name, proposal)]
            if name == "run.total_steps" and stated:
                lines.append(
                    f"# The logs here say {', '.join(map(str, stated))}, which is followed: set it only to correct them."
                )
            default = getattr(getattr(Config(), section), field.name)
            is_set = name in settings
            lines += [f"{'' if is_set else '# '}{field.name} = {_value(settings[name] if is_set else default)}"]
    return "\n".join(lines) + "\n"


def _remarks(name: str, proposal: WatchProposal) -> Iterator[str]:
    if name == "watch.paths":
        yield from (safe(f"Not needed, of the same run: {path}") for path in proposal.spare)
    if name == "run.metric":
        yield safe(
            "Nothing here is called a loss; this is what there is."
            if proposal.metric
            else f"Here that is {proposal.loss!r}."
        )


def _found(directory: Path, scanned: Sequence[ScannedFile]) -> Iterator[str]:
    yield "Found were:"
    for log in scanned:
        if log.metrics:
            loss = f", {log.loss}" if log.loss else ""
            name = log.path.relative_to(directory)
            yield safe(f"  {name}: {log.format}, {log.rows} rows by {log.axis}, {len(log.metrics)} metrics{loss}")


def _documented(options: type) -> tuple[str, dict[str, list[str]]]:
    """Return the first line of the docstring of `options`, and its text on each attribute, in lines of a comment."""
    text = inspect.getdoc(options) or ""
    texts: dict[str, list[str]] = {}
    for names, text_of in re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
        for name in names.split(","):
            texts[name.strip()] = _wrapped(text_of)
    return text.partition("\n")[0], texts


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), _WIDTH)


def _value(value: object) -> str:
    if value is None:  # TOML has no null
        return "[]"
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False).replace("\x7f", "\\u007f")
