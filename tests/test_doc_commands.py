"""Every command that a document tells people to type is executed as it is written, or says why not (tests/support/doc_commands.py)."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.daemon_process import DaemonProcess
from support.doc_commands import COMMANDS, PAGES, ROOT, DocCommand
from support.quadratic import Training
from support.waiting import eventually

from lrwatch import attach
from lrwatch.cli import cli

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("doc_commands")]

# Named in a sentence, a command may find nothing to do: a run that is not held, a strategy without a decay.
NOTHING_TO_DO = {4, 5}


class World:
    """A directory with what the commands name: a log, a run with a trainer and a daemon that proposes."""

    def __init__(self, home: Path) -> None:
        self.home = home
        training = Training()
        (home / "train.log").write_text(training.lines(900))
        (home / "runs" / "a").mkdir(parents=True)
        (home / "runs" / "a" / "log.jsonl").write_text(Training().lines(700))
        (home / "train.py").write_text(f"#!/bin/sh\nhead -n 50 {home}/train.log\nexec sleep 60\n")
        (home / "train.py").chmod(0o755)
        self.daemon = DaemonProcess(home / "daemon", "--mode", "approve", home / "runs" / "a")

    def environment(self, state: Path) -> dict[str, str]:
        """The environment in which commands are typed: `lrwatch` is on the PATH, and takes a port that is free."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{self.home}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
            "LRWATCH_DAEMON_STATE": str(state), "LRWATCH_DAEMON_LISTEN": "127.0.0.1:0", "RUN_DIR": str(self.home / "runs" / "a"),
        }  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    try:
        with attach(None, made.home / "runs" / "a" / "lrwatch", poll_seconds=0.05, metrics_file=False):
            eventually(lambda: made.daemon.value("lrwatch_controller_token", run="a"), what="a trainer that listens")
            yield made
    finally:
        made.daemon.end()


def of_kind(*programs: str) -> list[DocCommand]:
    """The commands of these programs that can be executed here, each once, those to be typed first."""
    found = [one for one in COMMANDS if one.program in programs and not one.not_here]
    return list({one.text: one for one in sorted(found, key=lambda one: one.typed)}.values())


VERBS = [one for one in of_kind("lrwatch", "train.py") if not one.names_a_verb]


def words(command: DocCommand) -> str:
    return command.text


@pytest.mark.parametrize("command", [one for one in VERBS if not one.goes_on], ids=words)
def test_a_command_does_what_it_is_typed_for(
    command: DocCommand, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.home)
    for name, value in world.environment(world.daemon.state).items():
        monkeypatch.setenv(name, value)
    ended = CliRunner().invoke(cli, command.filled()[1:])
    code = getattr(ended.exception, "exit_code", ended.exit_code)
    assert code == 0 or (not command.typed and code in NOTHING_TO_DO), (ended.output, ended.exception)


@pytest.mark.parametrize("command", [one for one in VERBS if one.goes_on], ids=words)
def test_a_command_that_goes_on_begins(command: DocCommand, world: World, tmp_path: Path) -> None:
    state = tmp_path / "state" if "lrwatch run" in command.text else world.daemon.state
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = subprocess.Popen(
            ["bash", "-c", f"{command.text if command.needs_a_shell else shlex.join(command.filled())}\nwait"],
            cwd=world.home, env={**os.environ, **world.environment(state)}, stdin=subprocess.PIPE, stdout=to_out, stderr=to_err,
            start_new_session=True,
        )  # fmt: skip
    assert process.stdin is not None
    try:
        if "lrwatch run" in command.text:
            eventually(lambda: "listening on http://127.0.0.1:" in err.read_text(), what=f"{command.text} listens")
        elif "lrwatch mcp" in command.text:
            process.stdin.close()
            assert process.wait(60) == 0, err.read_text()
        else:
            eventually(out.read_text, what=f"{command.text} prints something")
    finally:
        process.stdin.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def test_every_verb_that_a_page_names_exists() -> None:
    named = {one.text.split()[1] for one in of_kind("lrwatch") if one.names_a_verb}
    assert named
    for verb in named - {"--help"}:
        assert verb in cli.commands, verb


@pytest.mark.parametrize("command", of_kind("promtool", "amtool"), ids=lambda one: one.text)
def test_a_file_for_prometheus_is_checked_as_the_page_says(command: DocCommand) -> None:
    if shutil.which(command.program) is None:
        pytest.skip(f"{command.program} is not installed")
    ended = subprocess.run(command.filled(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("target", sorted({one.filled()[1] for one in COMMANDS if one.program == "make"}))
def test_make_knows_what_to_do_for_a_target(target: str) -> None:
    ended = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout


def test_a_kustomization_that_a_page_applies_can_be_rendered() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    folders = {
        one.filled()[one.filled().index("-k") + 1]
        for one in COMMANDS
        if one.program == "kubectl" and "-k" in one.filled()
    }
    assert folders
    for folder in folders:
        ended = subprocess.run(["kubectl", "kustomize", folder], cwd=ROOT, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_not_executed_says_why_and_names_files_that_exist(page: Path) -> None:
    executed = ("lrwatch", "train.py", "promtool", "amtool")
    for command in COMMANDS:
        if command.page == str(page.relative_to(ROOT)):
            assert command.not_here or command.program in executed, f"{command.text}: a reason belongs into ELSEWHERE"
            for file in command.files():
                assert (ROOT / file).exists(), f"{command.text}: {file}"


@pytest.mark.parametrize(
    "page", [page for page in PAGES if "```toml" in page.read_text(encoding="utf-8")], ids=lambda page: page.name
)
def test_settings_on_a_page_are_valid(page: Path, tmp_path: Path) -> None:
    for block in re.findall(r"^ *```toml\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        file = tmp_path / "lrwatch.toml"
        file.write_text(textwrap.dedent(block), encoding="utf-8")
        checked = CliRunner().invoke(cli, ["config", "check", str(file)])
        assert checked.exit_code == 0, (block, checked.exception)


def test_the_pages_have_commands_of_each_kind() -> None:
    assert {one.program for one in COMMANDS} >= {"lrwatch", "make", "pip", "docker", "kubectl", "promtool"}
    assert {one.text for one in COMMANDS if one.typed} >= {
        "lrwatch run train.log",
        "lrwatch report train.log -o page.html",
    }
