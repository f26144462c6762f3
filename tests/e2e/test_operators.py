"""Operators and a daemon, each a process of its own: found by themselves, known by the kernel, refused in words."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support.daemon_process import DaemonProcess, lrwatch
from support.quadratic import Training
from support.waiting import eventually

from lrwatch import attach
from lrwatch.daemon import rendezvous

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# A user and a group that no machine has.
STRANGER, GROUP = 54321, 54322

Start = Callable[..., DaemonProcess]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons, each on a state directory of its own, and ends them."""
    started: list[DaemonProcess] = []

    def run(*arguments: str | Path) -> DaemonProcess:
        home = tmp_path / f"daemon{len(started)}"
        started.append(DaemonProcess(home, "--poll-seconds", "0.05", *arguments))
        daemon = started[-1]
        assert daemon.address
        eventually(lambda: rendezvous.of_state(daemon.state, os.environ), what="a socket")
        return daemon

    yield run
    for daemon in started:
        daemon.end(signal.SIGKILL)


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with a home in which no daemon has ever run, and in which a name is claimed."""
    directory = tmp_path / "home"
    directory.mkdir()
    return {"HOME": str(directory), "XDG_STATE_HOME": "", "LOGNAME": "alice", "USER": "alice"}


def written(tmp_path: Path, name: str) -> Path:
    log = tmp_path / f"{name}.jsonl"
    log.write_text(Training().lines(50))
    return log


def watches(daemon: DaemonProcess, run: str) -> bool:
    return daemon.value("lrwatch_run_up", run=run) == 1


def as_stranger(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a user without a name, a home, or a right to anything."""
    command = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--groups", str(GROUP)]
    return subprocess.run(
        [*command, sys.executable, "-m", "lrwatch", *arguments],
        cwd="/", env={**os.environ, "PYTHONPATH": str(ROOT), **env}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def can_become_another() -> bool:
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        return False
    return as_stranger("--version", env={}).returncode == 0


def test_verbs_find_the_daemon_of_a_run_and_say_who_asked(start: Start, tmp_path: Path, home: dict[str, str]) -> None:
    """With several daemons, none of which has the default state."""
    daemon = start(written(tmp_path, "found-by-itself"))
    other = start(written(tmp_path, "of-another"))
    eventually(partial(watches, daemon, "found-by-itself"), what="a first turn")
    eventually(partial(watches, other, "of-another"), what="a first turn")
    done = lrwatch("hold", "found-by-itself", env=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("found-by-itself: held: ")
    refused = lrwatch("set", "found-by-itself", "--scale", "0.5", env=home)
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "`lrwatch resume found-by-itself` lets commands through again" in refused.stderr
    shown = [
        json.loads(line)
        for line in lrwatch("journal", "found-by-itself", "--format", "json", env=home).stdout.splitlines()
    ]
    events = [event for event in shown if event["event"] == "operator"]
    assert [(event["verb"], event["done"], event["uid"]) for event in events] == [
        ("hold", True, os.geteuid()), ("set", False, os.geteuid()),
    ]  # fmt: skip
    assert all(event["actor"].startswith(pwd.getpwuid(os.geteuid()).pw_name) for event in events)
    assert lrwatch("status", "of-another", env=home).stdout.splitlines()[1].split()[0] == "of-another"
    unknown = lrwatch("hold", "nobodys-run", env=home)
    assert unknown.returncode == 4
    assert "Known are " in unknown.stderr
    assert "found-by-itself" in unknown.stderr
    assert daemon.end() == 0
    assert rendezvous.of_state(daemon.state, os.environ) == []


def test_a_run_that_two_daemons_watch_is_ambiguous_until_a_state_is_named(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    log = written(tmp_path, "watched-twice")
    daemons = [start("--mode", "observe", log), start("--mode", "observe", log)]
    for daemon in daemons:
        eventually(partial(watches, daemon, "watched-twice"), what="a first turn")
    ended = lrwatch("hold", "watched-twice", env=home)
    assert ended.returncode == 4
    assert "expected one daemon that watches this run, found 2" in ended.stderr
    assert all(str(daemon.state) in ended.stderr for daemon in daemons)
    assert lrwatch("hold", "watched-twice", "--state", daemons[1].state, env=home).returncode == 0


def test_without_a_socket_verbs_go_through_the_state_and_name_the_user_of_the_process(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    daemon = start(written(tmp_path, "by-the-state"))
    eventually(partial(watches, daemon, "by-the-state"), what="a first turn")
    (path,) = rendezvous.of_state(daemon.state, os.environ)
    path.unlink()
    assert lrwatch("hold", "by-the-state", "--state", daemon.state, env=home).returncode == 0
    shown = lrwatch("journal", "by-the-state", "--state", daemon.state, "--format", "json").stdout
    (event,) = [event for event in map(json.loads, shown.splitlines()) if event["event"] == "operator"]
    assert event["actor"].startswith(pwd.getpwuid(os.geteuid()).pw_name)


@pytest.mark.skipif(
    not can_become_another(), reason="only root can become another user, who must be able to read this code"
)
def test_another_user_is_refused_with_5_until_a_list_names_user_or_group(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    config = tmp_path / "lrwatch.toml"
    config.write_text(f'[operators]\nhold = ["@{GROUP}"]\nset = ["{STRANGER}"]\nresume = []\n')
    log = written(tmp_path, "of-the-service")
    daemon = start("--config", config, "--control", tmp_path / "control", log)
    eventually(partial(watches, daemon, "of-the-service"), what="a first turn")
    used: list[float] = []
    with attach(used.append, tmp_path / "control", poll_seconds=0.01, metrics_file=False) as client:
        eventually(lambda: "a trainer listens" in daemon.stdout, what="a hello")
        for verb in ("undo", "resume"):
            refused = as_stranger(verb, "of-the-service", env=home)
            assert (refused.returncode, refused.stdout) == (5, "")
            assert refused.stderr.startswith(
                f"lrwatch: {verb} of-the-service: refused: uid {STRANGER} (uid {STRANGER}) is not "
            )
            assert f"[operators] {'allow' if verb == 'undo' else verb}" in refused.stderr
        done = as_stranger("set", "of-the-service", "--scale", "0.5", env=home)
        assert (done.returncode, done.stdout) == (0, "of-the-service: scale 0.5 is on its way\n"), done.stderr

        def applied() -> bool:
            client.step()
            return used == [0.5]

        eventually(applied, what="the scale")
        assert as_stranger("hold", "of-the-service", env=home).returncode == 0
    assert lrwatch("resume", "of-the-service", env=home).returncode == 0, "root and the daemon's own user always may"
    shown = lrwatch("journal", "--state", daemon.state, "--format", "json").stdout
    asked = [event for event in map(json.loads, shown.splitlines()) if event["event"] == "operator"]
    assert [(event["verb"], event["uid"], event["done"]) for event in asked] == [
        ("undo", STRANGER, False), ("resume", STRANGER, False), ("set", STRANGER, True), ("hold", STRANGER, True),
        ("resume", 0, True),
    ]  # fmt: skip


# ---- what happened, and why nothing does ------------------------------------------------------------------------------


def test_every_newest_decision_of_an_ordinary_run_is_explained_with_the_same_numbers(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    """In mode auto, without an ID, a state, or the settings that the daemon was started with."""
    directory = tmp_path / "explained-run"
    training = Training()

    def use(scale: float) -> None:
        training.scale = scale

    with attach(use, directory / "lrwatch", poll_seconds=0.01) as client:
        daemon = start("--mode", "auto", directory)

        def trained(word: str) -> bool:
            for _ in range(20):
                record = training.record()
                client.step(training.done, loss=record["loss"])
            return word in daemon.stdout

        eventually(partial(trained, "acknowledged: scale"), timeout=60, what="a command")
        ended = lrwatch("explain", "explained-run", env=home)
        assert ended.returncode == 0, ended.stderr
        assert "scale " in ended.stdout
        assert ended.stdout.endswith("Computed again: the same numbers.\n"), ended.stdout
        journal = lrwatch("journal", "explained-run", "--format", "json", env=home).stdout
        commands = [event for event in map(json.loads, journal.splitlines()) if event["event"] == "command"]
        newest = json.loads(lrwatch("explain", "explained-run", "--format", "json", env=home).stdout)
        assert newest["id"] >= commands[-1]["id"]


def test_a_decision_on_a_log_that_only_a_pattern_reads_is_explained_without_the_pattern(tmp_path: Path) -> None:
    training = Training()
    records = [training.record() for _ in range(900)]
    log = tmp_path / "odd.log"
    log.write_text("".join(f"it{record['step']}|obj={record['loss']}\n" for record in records))
    config = tmp_path / "lrwatch.toml"
    config.write_text("[watch]\npattern = ['it(?P<step>\\d+)[|]obj=(?P<obj>\\S+)']\nmetric = 'obj'\n")
    ended = lrwatch("run", "--once", "--config", config, "--state", tmp_path / "state", log)
    assert "scale 0.5 (suggested)" in ended.stdout, ended.stderr
    explained = lrwatch("explain", "odd", "--state", tmp_path / "state")
    assert explained.stdout.endswith("Computed again: the same numbers.\n"), explained.stdout


def test_a_run_without_a_decision_is_sent_to_the_doctor_who_knows(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    directory = tmp_path / "quiet-run"
    directory.mkdir()
    written(directory, "train")
    none = lrwatch("explain", "quiet-run", env=home)
    assert none.returncode == 4
    daemon = start("--mode", "auto", directory)
    eventually(partial(watches, daemon, "quiet-run"), what="a first turn")
    undecided = lrwatch("explain", "quiet-run", env=home)
    assert undecided.returncode == 4
    assert "`lrwatch doctor quiet-run`" in undecided.stderr
    assert lrwatch("hold", "quiet-run", env=home).returncode == 0
    for subject in ("quiet-run", str(directory), str(directory / "train.jsonl")):
        told = lrwatch("doctor", subject, "--format", "json", env=home)
        assert (told.returncode, told.stderr) == (0, "")
        causes = {cause["cause"]: cause for cause in map(json.loads, told.stdout.splitlines())}
        assert causes.keys() >= {"no_trainer", "held"}
        assert "no_daemon" not in causes
        assert all(cause.keys() == {"v", "run", "cause", "text", "remedy"} for cause in causes.values())
    lines = lrwatch("doctor", "--state", daemon.state, env=home).stdout.splitlines()
    assert any(line.startswith("quiet-run: held: ") and "`lrwatch resume quiet-run`" in line for line in lines)
    assert daemon.end() == 0
    assert "quiet-run: no daemon: " in lrwatch("doctor", "--state", daemon.state).stdout
    assert "no daemon watches this run" in lrwatch("doctor", directory, env=home).stdout
    missing = lrwatch("doctor", "no-such-run", env=home)
    assert (missing.returncode, missing.stdout) == (4, "")


def test_a_journal_is_followed_while_it_grows_and_shown_since_a_time_or_an_entry(
    start: Start, tmp_path: Path, home: dict[str, str]
) -> None:
    daemon = start(written(tmp_path, "followed-run"))
    eventually(partial(watches, daemon, "followed-run"), what="a first turn")
    assert lrwatch("hold", "followed-run", env=home).returncode == 0
    out = tmp_path / "followed"
    command = [sys.executable, "-m", "lrwatch", "journal", "followed-run", "--follow", "--format", "json"]
    with out.open("w") as file:
        following = subprocess.Popen(command, stdout=file, stderr=subprocess.PIPE, env={**os.environ, **home})
    try:
        eventually(lambda: '"verb": "hold"' in out.read_text(), what="what was there")
        assert lrwatch("resume", "followed-run", env=home).returncode == 0
        eventually(lambda: '"verb": "resume"' in out.read_text(), what="what came")
        following.send_signal(signal.SIGINT)
        assert following.wait(20) == 130
        assert following.stderr is not None
        assert following.stderr.read().strip() == b""
    finally:
        following.kill()
        following.wait()
        following.stderr.close()  # type: ignore[union-attr]
    events = [json.loads(line) for line in out.read_text().splitlines()]
    assert [event["id"] for event in events] == sorted({event["id"] for event in events})
    last = events[-1]
    show = partial(lrwatch, "journal", "followed-run", "--state", daemon.state)
    since = show("--since", str(last["id"] - 1), "--format", "json").stdout
    assert [json.loads(line)["id"] for line in since.splitlines()] == [last["id"]]
    assert show("--since", "1h").stdout == show().stdout
    assert show("--since", "2099-01-01").stdout == ""
    wrong = show("--since", "yesterday")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "a time ago (10m, 2h, 3d)" in wrong.stderr


def test_a_report_has_a_name_by_itself_and_says_where_it_lies(tmp_path: Path) -> None:
    log = written(tmp_path, "reported run")
    ended = lrwatch("report", log, cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "")
    assert ended.stderr == "written to lrwatch-reported-run.jsonl.html\n"
    assert "<svg" in (tmp_path / "lrwatch-reported-run.jsonl.html").read_text()
    for missing in ("missing.log", "no/such/file"):
        wrong = lrwatch("report", missing, cwd=tmp_path)
        assert wrong.returncode == 4
        assert f"{missing}: expected a log file, or the name of a run, found neither" in wrong.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["run", "--mode", "autom", "x.log"],
            "expected one of observe, suggest, approve, auto, found 'autom'. Did you mean 'auto'?",
        ),
        (["status", "--format", "jsn"], "expected one of table, json, found 'jsn'. Did you mean 'json'?"),
        (["strategy", "a", "cosin"], "found 'cosin'. Did you mean 'cosine'?"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(arguments: list[str], words: str) -> None:
    ended = lrwatch(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr


def test_one_long_name_does_not_widen_the_rows_of_the_others(tmp_path: Path) -> None:
    for name in ("a", "b", "n" * 200):
        (tmp_path / "runs" / name).mkdir(parents=True)
        written(tmp_path / "runs" / name, "train")
    assert lrwatch("run", "--once", "--state", tmp_path / "state", tmp_path / "runs").returncode == 0
    lines = {line.split()[0]: line for line in lrwatch("status", "--state", tmp_path / "state").stdout.splitlines()}
    assert len(lines["n" * 200]) > 200
    assert max(len(lines["a"]), len(lines["b"])) < 120
    assert lines["a"].index("loss") == lines["b"].index("loss") == lines["run"].index("metric")


def test_settings_are_checked_by_the_option_and_the_argument_alike(tmp_path: Path) -> None:
    config = tmp_path / "lrwatch.toml"
    config.write_text('[watch]\nformat = "jsno"\n')
    for arguments in (["--config", str(config)], [str(config)]):
        for verb in ("check", "show", "schema"):
            wrong = lrwatch("config", verb, *arguments)
            assert wrong.returncode == 3, (verb, arguments)
            assert "'jsno'" in wrong.stderr
            assert "Did you mean json" in wrong.stderr
    config.write_text('[policy]\nmode = "approve"\n')
    assert lrwatch("config", "check", "--config", config).stdout == f"{config}: valid\n"
    assert lrwatch("config", "check", "--config", config, tmp_path / "other.toml").returncode == 2
