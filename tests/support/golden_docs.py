"""Blocks of pages that are made by code; `make golden` writes them.

A block stands between `<!-- NAME: made by `make golden` -->` and `<!-- end of NAME -->`.
"""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from support import golden_reference
from support.first_commands import first_commands
from test_layers import EDGES, INNER, LEAVES, RINGS

from lrwatch.cli import cli
from lrwatch.core.command import EVENTS, TRANSITIONS, CommandInput, Fork, Status
from lrwatch.core.events import KINDS
from lrwatch.notify.options import SEVERITIES

ROOT = Path(__file__).parents[2]


def _next(status: Status, event: type[CommandInput]) -> list[tuple[Status, str]]:
    """Return the statuses that may follow, each with the condition under which it does."""
    match TRANSITIONS[status].get(event):
        case None:
            return []
        case Fork(left, done):
            return [(left, "something left"), (done, "nothing left")]
        case Status() as following:
            return [(following, "")]


def state_diagram() -> str:
    """Return the life of a command as a Mermaid diagram. Events that leave the status as it is are not drawn."""

    def edges() -> Iterator[str]:
        for status in TRANSITIONS:
            labels: dict[tuple[Status, str], list[str]] = {}
            for event in EVENTS:
                for following, condition in _next(status, event):
                    if following is not status:
                        labels.setdefault((following, condition), []).append(event.__name__)
            for (following, condition), names in labels.items():
                guard = f" [{condition}]" if condition else ""
                yield f"    {status.name} --> {following.name}: {', '.join(names)}{guard}"

    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {Status.IDLE.name}", *edges(), "```"])


def transition_table() -> str:
    """Return `TRANSITIONS` as a table: an event a row, a status a column, and a dash where a pair cannot happen."""

    def cell(status: Status, event: type[CommandInput]) -> str:
        found = _next(status, event)
        names = ["same" if following is status else following.name for following, _ in found]
        return " / ".join(dict.fromkeys(names)) or "-"

    head = f"| event | {' | '.join(status.name for status in TRANSITIONS)} |\n|{'---|' * (len(TRANSITIONS) + 1)}"
    rows = [f"| `{event.__name__}` | {' | '.join(cell(status, event) for status in TRANSITIONS)} |" for event in EVENTS]
    return "\n".join([head, *rows])


def ring_table() -> str:
    """Return `RINGS` as a table."""

    def cell(rooms: set[str]) -> str:
        names: list[str] = []
        for group, word in ((INNER, "*inner*"), (EDGES, "*edges*")):
            if group <= rooms:
                names.append(word)
                rooms = rooms - group
        return ", ".join([*names, *(f"`{room}`" for room in sorted(rooms))]) or "nothing"

    def listed(rooms: set[str]) -> str:
        return ", ".join(f"`{room}`" for room in sorted(rooms))

    groups = f"*Inner* rooms are {listed(INNER)}; *edges* are {listed(EDGES)}. Every room may import itself and {listed(LEAVES)}."
    edges = iter(sorted(EDGES))  # they stand together in RINGS, in the order of a set
    rooms = [next(edges) if room in EDGES else room for room in RINGS if room not in LEAVES]
    rows = [f"| `{room}` | {cell(RINGS[room])} |" for room in rooms]
    return "\n".join([groups, "", "| room | may import |", "|---|---|", *rows])


def state_table() -> str:
    """Return the states of a metric, each in the words of `replay --states` about a made-up log."""
    steps, noise = np.arange(1, 4001), np.random.default_rng(0).standard_normal(4000)
    falling, rests = 4 * steps**-0.25, 1 + 3 * np.exp(-steps / 150)
    curves = {
        "improving": falling + 0.01 * noise,
        "plateau": rests + 0.02 * noise,
        "cannot tell yet": rests + 0.4 * noise,
        "rising": rests + 0.02 * noise + 3e-4 * np.maximum(0, steps - 1000),
        "not judged": np.where(steps < 3990, falling, np.nan),
    }

    def said(losses: np.ndarray[tuple[int], np.dtype[np.float64]]) -> str:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder, "log.jsonl")
            records = zip(steps.tolist(), losses.round(5).tolist(), strict=True)
            log.write_text("".join(json.dumps({"step": step, "loss": loss}) + "\n" for step, loss in records))
            ended = CliRunner().invoke(cli, ["replay", str(log), "--states", "--format", "json"])
            return str(json.loads(ended.stdout.splitlines()[-1])["message"])

    rows = [f"| {state} | `{said(curve)}` |" for state, curve in curves.items()]
    return "\n".join(["| state | for example |", "|---|---|", *rows])


def finding_table() -> str:
    """Return the kinds of findings by their severity, the worst first."""
    of = {severity: [kind for kind, about in KINDS.items() if about.severity == severity] for severity in SEVERITIES}
    rows = [f"| {', '.join(f'`{kind}`' for kind in kinds)} | {severity} |" for severity, kinds in reversed(of.items())]
    return "\n".join(["| kind | severity |", "|---|---|", *rows])


def framework_reference() -> str:
    """Return what each integration but torch's offers, for mkdocstrings: the names in its `__all__`, or its callback."""

    def names(path: Path) -> list[str]:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            match node:
                case ast.Assign(targets=[ast.Name("__all__")], value=value):
                    return [str(name) for name in ast.literal_eval(value)]
                case _:
                    pass
        return ["LrwatchCallback"]

    def shown(path: Path) -> Iterator[str]:
        yield f"### lrwatch.{path.stem}"
        for name in names(path):
            yield f"::: lrwatch.integrations.{path.stem}.{name}\n    options: {{members: false, heading_level: 4}}"

    paths = sorted(path for path in (ROOT / "lrwatch/integrations").glob("[a-z]*.py") if path.stem != "torch")
    return "\n\n".join(line for path in paths for line in shown(path))


BLOCKS: dict[Path, dict[str, Callable[[], str]]] = {
    ROOT / "docs/architecture.md": {
        "rings": ring_table,
        "state diagram": state_diagram,
        "transitions": transition_table,
    },
    ROOT / "docs/python.md": {"frameworks": framework_reference},
    ROOT / "docs/notifications.md": {"findings": finding_table},
    ROOT / "docs/how-it-decides.md": {"states": state_table},
    ROOT / "README.md": {"first commands": first_commands},
}
"""The pages that have such blocks, and how each is made."""


def rendered(path: Path) -> str:
    """Return the page with every block as the code gives it.

    Raises:
        ValueError: A block does not stand on the page exactly once.
    """
    page = path.read_text(encoding="utf-8")
    for name, make in BLOCKS[path].items():
        begin, end = f"<!-- {name}: made by `make golden` -->", f"<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"{path} must have one block {name!r}")
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2]
        page = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return page


def without_numbers(page: str) -> str:
    """Return a page without its numbers and widths, which may differ in the last digit from machine to machine."""
    return re.sub(r" +|-{3,}", " ", re.sub(r"-?\d[\d,.]*(e[+-]?\d+)?", "#", page))


def write() -> None:
    """Write the pages with every block as the code gives it, and those that are made whole."""
    for path in BLOCKS:
        path.write_text(rendered(path), encoding="utf-8")
    golden_reference.write()
