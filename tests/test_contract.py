"""docs/contract.md against the code: a promised name is there, or in the page's table of what is not built yet."""

from __future__ import annotations

import inspect
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click
import pytest
from support.example_snapshots import CALM, FULL

import lrwatch
from lrwatch.cli import cli
from lrwatch.config import keys
from lrwatch.core.events import KINDS
from lrwatch.daemon.run_page import RunPages
from lrwatch.export import Exporter
from lrwatch.export.metrics import METRICS
from lrwatch.protocol import METRICS_NAME, Desired, Observed, ObservedStatus

ROOT = Path(__file__).parents[1]
TEXT, _, TABLE = (ROOT / "docs/contract.md").read_text(encoding="utf-8").partition("\n## Not built yet\n")
SECTIONS = dict(part.split("\n", 1) for part in TEXT.split("\n## ")[1:])

Promise = tuple[str, str]
"""Kind and name, as the first two cells of a row of the table."""

NOT_BUILT: set[Promise] = set(re.findall(r"^\| (\w+) \| `([^`]+)` \|", TABLE, re.MULTILINE))
# Verbs that print no data and so take no --format.
WITHOUT_DATA = {
    "demo", "report", "config check", "config schema", "schema", "mcp", "notify test", "service install",
    "assets", "completion",
}  # fmt: skip
# What sections say in prose: the sentence, and the promise in it.
IN_PROSE: dict[str, Promise] = {
    "`lrwatch PATH` alone is a live view": ("command", "lrwatch PATH"),
    "observed also carries `total_steps`": ("observed", "total_steps"),
    "`pid` with its start time": ("observed", "pid"),
    "and `life` (`running`, `ended`)": ("observed", "life"),
    "`metrics.jsonl` is bounded (default 64 MiB in two files)": ("behaviour", "metrics.jsonl is bounded"),
    "`/healthz`": ("page", "/healthz"),
    "`/readyz`": ("page", "/readyz"),
    "(`/metrics`;": ("page", "/metrics"),
    "all runs live at `/`": ("page", "/ live"),
    "one run live at `/runs/NAME`": ("page", "/runs/NAME"),
    "the labels of `[run] labels`": ("setting", "[run] labels"),
    "after `[export] keep_ended`": ("setting", "[export] keep_ended"),
}
BOUND_BYTES = 64 * 1024 * 1024


def section(heading: str) -> str:
    """Return the section whose heading begins with these words."""
    return next(text for title, text in SECTIONS.items() if title.startswith(heading))


def usages() -> dict[str, str]:
    """Return the verbs of the table of commands, `config show` as one of its own, with how each is called."""
    found: dict[str, str] = {}
    for row in re.findall(r"^\| (`.+?`) \|", section("Commands").replace("\\|", "/"), re.MULTILINE):
        for usage in re.findall(r"`([^`]+)`", row):
            verb, *rest = usage.split()
            if rest and re.fullmatch(r"[a-z/]+", rest[0]):
                found |= {f"{verb} {word}": usage for word in rest[0].split("/")}
            else:
                found[verb] = usage
    return found


def command(verb: str) -> click.Command | None:
    """Return the command of the program, or None where there is none."""
    found: click.Command | None = cli
    for word in verb.split():
        found = found.commands.get(word) if isinstance(found, click.Group) else None
    return found


def flags(verb: str) -> set[str]:
    """Return the flags that a command takes."""
    return {flag for parameter in getattr(command(verb), "params", []) for flag in parameter.opts}


def promised_commands() -> set[Promise]:
    found = set()
    for verb, usage in usages().items():
        found.add(("command", verb))
        if command(verb) is not None:
            written = re.findall(r"(?<=[ \[])--?[a-z]+", usage) + ["--format"] * (verb not in WITHOUT_DATA)
            found |= {("flag", f"{verb} {flag}") for flag in written}
    return found


def promised_python() -> set[Promise]:
    block = re.findall(r"```python\n(.*?)```", section("Python"), re.DOTALL)[0]
    found = {("python", name) for name in re.findall(r"lrwatch\.(?!torch\b)(\w+)", block)} | {
        ("python", "torch.PlateauLR")
    }
    found |= {("python", f"{thing}.{name}") for thing, name in re.findall(r"\b(watch|c)\.(\w+)", block)}
    for name, arguments in re.findall(r"lrwatch\.(attach|read_log|find_plateaus)\(([^)]*)\)", block):
        words = re.findall(r"(?:^|, )(\w+)(?==|,|$)", arguments)
        found |= {("python", f"{name}({word}=)") for word in words}
    return found


def promised_messages() -> set[Promise]:
    text = section("Control directory")
    found = set()
    for message in ("desired", "observed"):
        fields = re.findall(rf"^{message}: `([^`]+)`", text, re.MULTILINE)[0]
        found |= {(message, field) for field in fields.split(", ")}
    return found


def promised_metrics() -> set[Promise]:
    text = section("Metrics").split("Alerts:")[0]
    found = {("metric", f"lrwatch_run_improvement_ratio{end}") for end in re.findall(r"`(_\w+)`", text)}
    served = {metric.name for metric in METRICS}
    for name, labels in re.findall(r"`(lrwatch_[a-z_]+)(?:\{([^}]*)\})?", text):
        found.add(("metric", name))
        if name in served and labels:
            found |= {("label", f"{name}{{{label}}}") for label in labels.split(",")}
    return found


def promised_alerts() -> set[Promise]:
    text = section("Metrics").split("Alerts:")[1].split(".")[0]
    return {("alert", name) for name in re.findall(r"\b[A-Z]\w+", text)}


def promised_files() -> set[Promise]:
    text = section("Repository").split("\n\n`make demo`")[0]
    names = {name for words in re.findall(r"`([^`]+)`", text) for name in words.split()}
    return {("file", name) for name in names}


PROMISED: set[Promise] = {
    *promised_commands(), *promised_python(), *promised_messages(), *promised_metrics(), *promised_alerts(),
    *promised_files(), *IN_PROSE.values(),
}  # fmt: skip


# ---- what is there -------------------------------------------------------------------------------------------------


def _python(name: str) -> bool:
    if call := re.fullmatch(r"(\w+)\((\w+)=\)", name):
        return call[2] in inspect.signature(getattr(lrwatch, call[1])).parameters
    thing, _, attribute = name.rpartition(".")
    homes: dict[str, object] = {"": lrwatch, "torch": lrwatch.torch, "c": lrwatch.Controller(), "watch": lrwatch.Client}
    return hasattr(homes[thing], attribute)


def _label(name: str) -> bool:
    metric, label = name.removesuffix("}").split("{")
    return any(found.name == metric and label in found.labels for found in METRICS)


def _alert(name: str) -> bool:
    return f"alert: {name}\n" in (ROOT / "deploy/prometheus/rules.yml").read_text(encoding="utf-8")


def _setting(name: str) -> bool:
    part, key = name.removeprefix("[").split("] ")
    return f"{part}.{key}" in keys()


def _page(name: str) -> bool:
    exporter = Exporter("127.0.0.1:0")
    exporter.run_page = RunPages(dict, None)
    host, port = exporter.start()
    try:
        exporter.publish(FULL)
        path = name.removesuffix(" live").replace("NAME", CALM.name)
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=10) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        return False
    finally:
        exporter.close()
    return b"<script" in body or b"http-equiv=" in body if name.endswith(" live") else bool(body)


def _metrics_file_is_bounded(folder: Path) -> bool:
    """Whether a client moves on from a metrics file that has reached the bound."""
    folder.mkdir(mode=0o700)
    with (folder / METRICS_NAME).open("wb") as file:
        file.truncate(BOUND_BYTES)  # a hole: no byte of it lies on the disk
        file.seek(-1, 2)
        file.write(b"\n")
    with lrwatch.attach(None, folder) as watch:
        watch.step(loss=1.0)
    return (folder / METRICS_NAME).stat().st_size < BOUND_BYTES


THERE: dict[str, Callable[[str], bool]] = {
    "command": lambda name: command("live" if name == "lrwatch PATH" else name) is not None,
    "flag": lambda name: name.rpartition(" ")[2] in flags(name.rpartition(" ")[0]),
    "python": _python,
    "desired": lambda name: name == "v" or name in Desired.__annotations__,
    "observed": lambda name: name == "v" or name in Observed.__annotations__,
    "metric": lambda name: name in {metric.name for metric in METRICS},
    "label": _label,
    "alert": _alert,
    "setting": _setting,
    "page": _page,
    "file": lambda name: (ROOT / name).exists(),
}


# ---- tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sentence", "promise"), IN_PROSE.items())
def test_the_contract_says_what_is_tested_of_its_prose(sentence: str, promise: Promise) -> None:
    assert sentence in TEXT, promise


@pytest.mark.parametrize("kind", THERE)
def test_every_promised_name_is_there_or_in_the_table_and_never_both(kind: str) -> None:
    promised = {name for of, name in PROMISED if of == kind}
    assert promised
    missing = {name for name in promised if not THERE[kind](name)}
    assert missing == {name for of, name in NOT_BUILT if of == kind}


def test_the_bound_of_the_metrics_file_is_there_or_in_the_table(tmp_path: Path) -> None:
    is_in_table = ("behaviour", "metrics.jsonl is bounded") in NOT_BUILT
    assert _metrics_file_is_bounded(tmp_path / "lrwatch") is not is_in_table


def test_the_table_names_nothing_that_is_not_promised() -> None:
    assert NOT_BUILT <= PROMISED
    assert len(NOT_BUILT) == len(re.findall(r"^\| \w+ \| `", TABLE, re.MULTILINE))


def test_every_kind_of_finding_of_the_contract_is_there() -> None:
    listed = set(re.findall(r"`(\w+)`", section("Commands").split("`kind` is one of")[1].split(".")[0]))
    assert listed
    assert listed <= set(KINDS)


def test_the_contract_names_every_status_of_an_answer() -> None:
    listed = re.findall(r"`status` is (.+?);", section("Control directory"))[0]
    assert set(re.findall(r"`(\w+)`", listed)) == set(get_args(ObservedStatus))
