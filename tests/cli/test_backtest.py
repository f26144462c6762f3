"""`lrwatch backtest`: many logs, several settings, any executor, and always the same bytes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import pytest
import trustme
from click.testing import CliRunner
from support.daemon_process import lrwatch, on_a_terminal
from support.quadratic import Training
from support.waiting import eventually

from lrwatch.cli import cli
from lrwatch.config import Config
from lrwatch.errors import LrwatchError
from lrwatch.offline import backtest

pytestmark = pytest.mark.slow

LENGTHS = (900, 1300, 2000, 3000)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories of finished runs, with what else lies there."""
    top = tmp_path_factory.mktemp("backtest") / "runs"
    for length in LENGTHS:
        run = top / f"{length}"
        run.mkdir(parents=True)
        (run / "train.jsonl").write_text(Training(lr=1 / length).lines(length))
        (run / "config.json").write_text('{"lr": 0.1}\n')
        (run / "model.bin").write_bytes(bytes(range(256)))
    return top


@pytest.fixture(scope="module")
def configs(runs: Path) -> list[str]:
    """Two configurations, as options."""
    options = []
    for name, settings in {"shy": "min_improvement = 0.001", "keen": 'min_improvement = 0.05\nhorizon = "20%"'}.items():
        file = runs.parent / f"{name}.toml"
        file.write_text(f"[detect]\n{settings}\n")
        options += ["--config", str(file)]
    return options


@pytest.fixture(scope="module")
def serial(runs: Path, configs: list[str]) -> str:
    """What one process prints."""
    ended = lrwatch("backtest", f"{runs}/**", *configs, "--jobs", "1", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


# What a slow machine prints meanwhile.
PROGRESS = re.compile(r"lrwatch: \d+ of \d+ replays done.*")


def records(printed: str, event: str) -> list[dict[str, Any]]:
    """The JSON objects of one kind."""
    return [record for record in map(json.loads, printed.splitlines()) if record["event"] == event]


def test_each_log_and_configuration_is_what_replay_says(serial: str, runs: Path, configs: list[str]) -> None:
    rows = records(serial, "backtest")
    logs = [str(path) for path in sorted(runs.glob("*/train.jsonl"))]
    assert [(row["log"], row["config"]) for row in rows] == [(log, name) for log in logs for name in ("shy", "keen")]
    assert any(row["reports"] for row in rows)
    for row in rows:
        config = runs.parent / f"{row['config']}.toml"
        ended = lrwatch("replay", row["log"], "--config", config, "--format", "json")
        events = [json.loads(line) for line in ended.stdout.splitlines()]
        findings = [event for event in events if event["event"] == "finding"]
        commands = [event for event in events if event["event"] == "command"]
        assert row["reports"] == Counter(finding["kind"] for finding in findings)
        assert row["commands"] == len(commands)
        assert row["plateau"] == next((f["step"] for f in findings if f["kind"] == "plateau"), None)
        assert row["command"] == (commands[0]["step"] if commands else None)


def test_configurations_are_compared(serial: str) -> None:
    rows = records(serial, "backtest")
    shy, keen = records(serial, "summary")
    assert (shy["config"], keen["config"]) == ("shy", "keen")
    for total in (shy, keen):
        mine = [row for row in rows if row["config"] == total["config"]]
        assert total["logs"] == len(mine) == len(LENGTHS)
        assert total["with_plateau"] == sum(row["plateau"] is not None for row in mine)
        assert total["commands"] == sum(row["commands"] for row in mine) / len(mine)
    assert keen["with_plateau"] == len(LENGTHS)
    for log in {row["log"] for row in rows}:
        of_log = [row for row in rows if row["log"] == log and row["plateau"] is not None]
        earliest = min(row["plateau"] for row in of_log)
        assert [row["delay"] for row in of_log] == [row["plateau"] - earliest for row in of_log]
    assert keen["first_plateau"] < shy["first_plateau"]


def test_more_processes_print_the_same_bytes(serial: str, runs: Path, configs: list[str]) -> None:
    ended = lrwatch("backtest", runs, *configs, "--jobs", "3", "--format", "json")
    assert ended.stdout == serial
    assert [line for line in ended.stderr.splitlines() if not PROGRESS.fullmatch(line)] == []


class Cluster:
    """A Dask scheduler and its workers, each a process of its own.

    Args:
        home: Where the scheduler's file and the log lie.
        tls: Options of all of them for a cluster with TLS.
        workers: How many workers.
    """

    def __init__(self, home: Path, tls: Sequence[str] = (), workers: int = 2) -> None:
        self.file = home / "scheduler.json"
        self._tls = tls
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start(
            "scheduler",
            *(["--protocol", "tls"] if tls else []),
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--no-show",
            "--dashboard-address",
            "127.0.0.1:0",
        )
        self.address: str = eventually(self._address, what="the scheduler's address")
        for _ in range(workers):
            self._start("worker", self.address, "--nthreads", "1", "--no-nanny", "--dashboard-address", "127.0.0.1:0")

    def _start(self, what: str, *arguments: str) -> None:
        given = [*self._tls, *(["--scheduler-file", str(self.file)] if what == "scheduler" else [])]
        with (self.file.parent / "cluster.log").open("ab") as log:
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-m", f"distributed.cli.dask_{what}", *given, *arguments],
                    stdout=log, stderr=log, cwd=self.file.parent,
                )
            )  # fmt: skip

    def _address(self) -> str:
        try:
            return str(json.loads(self.file.read_text())["address"])
        except (FileNotFoundError, ValueError):
            return ""

    def worker_in(self, directory: Path) -> int:
        """The process id of a worker that has a file of `directory` open, or 0."""
        for worker in self.processes[1:]:
            if any(_leads_into(link, directory) for link in Path(f"/proc/{worker.pid}/fd").iterdir()):
                return worker.pid
        return 0

    def close(self) -> None:
        """End all of it."""
        for process in reversed(self.processes):
            process.kill()
            process.wait(20)


def _leads_into(link: Path, directory: Path) -> bool:
    try:
        return link.readlink().is_relative_to(directory)
    except FileNotFoundError:  # closed meanwhile
        return False


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster on this machine."""
    local = Cluster(tmp_path)
    try:
        yield local
    finally:
        local.close()


def test_a_dask_cluster_that_loses_a_worker_says_the_same(
    serial: str, runs: Path, configs: list[str], cluster: Cluster
) -> None:
    command = ["backtest", str(runs), *configs, "--dask", cluster.address, "--format", "json"]
    with subprocess.Popen(
        [sys.executable, "-m", "lrwatch", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        os.kill(eventually(lambda: cluster.worker_in(runs), what="a worker that reads a log"), signal.SIGKILL)
        printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert printed == serial


@pytest.fixture
def certificates(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Files of an authority, and of a certificate that all of a cluster have."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    with (
        authority.cert_pem.tempfile(str(tmp_path)) as ca,
        issued.cert_chain_pems[0].tempfile(str(tmp_path)) as cert,
        issued.private_key_pem.tempfile(str(tmp_path)) as key,
    ):
        yield {"ca": ca, "cert": cert, "key": key}


def test_a_cluster_with_tls_is_found_by_the_file_of_its_scheduler(
    serial: str, runs: Path, configs: list[str], certificates: dict[str, str], tmp_path: Path
) -> None:
    of_cluster = [
        word for name, file in certificates.items() for word in (f"--tls-{name}{'-file' if name == 'ca' else ''}", file)
    ]
    of_client = [word for name, file in certificates.items() for word in (f"--tls-{name}", file)]
    cluster = Cluster(tmp_path, of_cluster, workers=1)
    try:
        assert cluster.address.startswith("tls://127.0.0.1:")
        log = runs / "900/train.jsonl"
        command = ["backtest", str(log), *configs, "--scheduler-file", str(cluster.file), "--format", "json"]
        ended = lrwatch(*command, *of_client)
        assert ended.returncode == 0, ended.stderr
        alone = [row for row in records(serial, "backtest") if row["log"] == str(log)]
        assert records(ended.stdout, "backtest") == alone
    finally:
        cluster.close()


def test_a_scheduler_that_does_not_answer_is_an_error_within_seconds(runs: Path) -> None:
    ended = lrwatch("backtest", runs, "--dask", "tcp://127.0.0.1:1")
    assert ended.returncode == 4
    assert "expected a Dask scheduler, found Timed out trying to connect to tcp://127.0.0.1:1 after 5 s" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--dask", "tcp://127.0.0.1:1", "--scheduler-file", "{file}"], 2, "expected --dask or --scheduler-file, found both"),
        (["--dask", "tls://127.0.0.1:1", "--tls-ca", "{file}"], 2, "--tls-ca, --tls-cert and --tls-key together"),
        (["--tls-ca", "{file}", "--tls-cert", "{file}", "--tls-key", "{file}"], 2, "expected a cluster, found none"),
        (["--scheduler-file", "{file}"], 4, "expected the address of a Dask scheduler, found something else"),
        (["--scheduler-file", "{file}.none"], 2, "does not exist"),
    ],
)  # fmt: skip
def test_options_of_a_cluster_that_do_not_go_together(
    options: list[str], code: int, said: str, runs: Path, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text("{}")
    result = CliRunner().invoke(cli, ["backtest", str(runs), *(option.format(file=file) for option in options)])
    if isinstance(result.exception, LrwatchError):
        assert (result.exception.exit_code, said in str(result.exception)) == (code, True), result.exception
    else:
        assert (result.exit_code, said in result.output) == (code, True), result.output


def _die(_log: str, _name: str, _config: Config) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_dies_is_an_error_and_no_silence(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backtest, "replay_one", _die)
    logs = sorted(runs.glob("*/train.jsonl"))
    with ProcessPoolExecutor(1) as pool, pytest.raises(BrokenProcessPool):
        backtest.backtest(logs, {"defaults": Config()}, pool)


def test_the_table_is_for_people(runs: Path, configs: list[str]) -> None:
    ended = lrwatch("backtest", f"{runs}/*", *configs, "--jobs", "1")
    lines = ended.stdout.splitlines()
    assert lines[0].startswith(f"log in {runs}")
    assert lines[1].startswith("1300/train.jsonl")
    assert [line.split()[0] for line in lines[-2:]] == ["shy", "keen"]
    assert "% of the run" in lines[-1]


def test_what_cannot_be_read_is_told_and_the_rest_is_judged(runs: Path) -> None:
    ended = lrwatch("backtest", runs / "900" / "train.jsonl", runs / "900" / "model.bin", "--format", "json")
    assert ended.returncode == 0
    good, bad = records(ended.stdout, "backtest")
    assert good["problem"] == ""
    assert bad["problem"]
    assert records(ended.stdout, "summary")[0]["unread"] == 1


def test_errors_have_their_codes(runs: Path, tmp_path: Path) -> None:
    config = tmp_path / "a.toml"
    config.write_text("[detect]\nhorizont = 3\n")
    ended = lrwatch("backtest", runs, "--config", config)
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "'horizon'" in ended.stderr
    config.write_text("")
    assert lrwatch("backtest", runs, "--config", config, "--config", config).returncode == 3
    ended = lrwatch("backtest", f"{tmp_path}/none/**")
    assert (ended.returncode, ended.stdout) == (4, "")
    assert "no file or directory matches" in ended.stderr
    assert lrwatch("backtest", runs, "--jobs", "0").returncode == 2
    assert lrwatch("backtest", runs, "--jobs", "2", "--dask", "tcp://127.0.0.1:1").returncode == 2
    ended = lrwatch("backtest", runs, "--dask", "nowhere", env={"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "1s"})
    assert ended.returncode == 4
    assert "a Dask scheduler" in ended.stderr


def test_on_a_terminal_there_is_a_bar(runs: Path) -> None:
    assert b"4/4" in on_a_terminal("backtest", runs, "--jobs", "2")
