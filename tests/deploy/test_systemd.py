"""The units: understood by systemd, and their command run with the mounts, the user and the environment that they give it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.daemon_process import lrwatch
from support.golden import UNITS, unit_files
from support.notify_socket import NotifySocket
from support.quadratic import Training
from support.sandbox import Sandbox, needs_bubblewrap
from support.waiting import eventually

from lrwatch.cli import cli
from lrwatch.cli.service import UnitKind, unit
from lrwatch.config import load
from lrwatch.errors import InputError

# On systemd's scale from 0 (safe) to 10; a unit without any hardening has 9.6.
HIGHEST_EXPOSURE = 2.0

PROGRAM = str(Path(sys.executable).with_name("lrwatch"))

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)"
)

both = pytest.mark.parametrize("name", ["lrwatch.service", "lrwatch@.service"])


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


def values(text: str, key: str) -> list[str]:
    """What a unit says of a key, each time."""
    return re.findall(rf"^{key}=(.*)$", text, re.MULTILINE)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a machine on which `lrwatch service install` ran, with a key and a directory of runs."""
    root = tmp_path_factory.mktemp("machine")
    (root / "key").write_text("a secret of more than sixteen bytes")
    command = [PROGRAM, "service", "install", "--root", str(root), "--key-file", str(root / "key")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.splitlines()[-1] == "next: systemctl daemon-reload && systemctl enable --now lrwatch"
    return root


def test_the_units_in_deploy_are_those_that_are_installed() -> None:
    assert {path: path.read_text(encoding="utf-8") for path in UNITS.iterdir()} == unit_files(), "make golden"


@needs_systemd
@pytest.mark.parametrize("kind", ["system", "template", "user"])
def test_systemd_understands_every_line(kind: UnitKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = unit(kind, [PROGRAM], config=tmp_path / 'of "me" at 100%.toml', key_file=tmp_path / "key")
    file = (
        tmp_path / {"system": "lrwatch.service", "template": "lrwatch@alice.service", "user": "lrwatch.service"}[kind]
    )
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))  # which a user's manager has
    result = analyze("verify", "--man=no", *(["--user"] if kind == "user" else []), file)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_systemd
@both
def test_the_exposure_is_low(name: str) -> None:
    result = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={HIGHEST_EXPOSURE * 10:.0f}", UNITS / name
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", result.stdout)
    assert found, result
    assert float(found[1]) <= HIGHEST_EXPOSURE
    assert result.returncode == 0


def test_the_daemon_of_a_user_leaves_that_user_s_shared_memory_alone() -> None:
    text = (UNITS / "lrwatch@.service").read_text(encoding="utf-8")
    assert "\nRemoveIPC=no\n" in text
    assert "\nUser=%i\n" in text


@both
def test_errors_that_stay_are_not_retried(name: str) -> None:
    assert "\nRestartPreventExitStatus=2 3\n" in (UNITS / name).read_text(encoding="utf-8")


def test_what_is_installed_starts_the_program_that_installed_it(installed: Path) -> None:
    for name in ("lrwatch.service", "lrwatch@.service"):
        text = (installed / "etc/systemd/system" / name).read_text()
        assert values(text, "ExecStart")[0].startswith(f"{PROGRAM} run --config /etc/lrwatch/")
    load(installed / "etc/lrwatch/lrwatch.toml")


def test_installing_again_updates_the_units_and_leaves_the_settings(tmp_path: Path) -> None:
    assert CliRunner().invoke(cli, ["service", "install", "--root", str(tmp_path)]).exit_code == 0
    settings = tmp_path / "etc/lrwatch/lrwatch.toml"
    settings.write_text('[watch]\npaths = ["/data"]\n')
    (tmp_path / "etc/systemd/system/lrwatch.service").write_text("old")
    again = CliRunner().invoke(cli, ["service", "install", "--root", str(tmp_path), "/other"])
    assert f"{settings} stays as it is; PATH is not added to it" in again.output
    assert settings.read_text() == '[watch]\npaths = ["/data"]\n'
    assert "ExecStart=" in (tmp_path / "etc/systemd/system/lrwatch.service").read_text()


def test_a_user_installs_without_root_what_watches_their_runs(tmp_path: Path) -> None:
    ended = lrwatch(
        "service", "install", "--user", "runs/*", "a 'b'", cwd=tmp_path, env={"XDG_CONFIG_HOME": str(tmp_path)}
    )
    assert ended.returncode == 0, ended.stderr
    assert (
        ended.stderr.splitlines()[-1] == "next: systemctl --user daemon-reload && systemctl --user enable --now lrwatch"
    )
    config = load(tmp_path / "lrwatch/lrwatch.toml")
    assert config.watch.paths == (f"{tmp_path}/runs/*", f"{tmp_path}/a 'b'")
    assert config.policy.mode == "suggest"
    text = (tmp_path / "systemd/user/lrwatch.service").read_text()
    assert values(text, "ExecStart") == [f"{sys.executable} -m lrwatch run --config {tmp_path}/lrwatch/lrwatch.toml"]
    assert values(text, "WantedBy") == ["default.target"]


def test_who_may_not_write_there_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("")
    result = CliRunner().invoke(cli, ["service", "install", "--root", str(tmp_path)])
    assert isinstance(result.exception, InputError)
    assert "Run it as root, or install for your own runs with --user." in str(result.exception)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    ended = CliRunner().invoke(cli, ["service", "install", "--root", str(tmp_path), "--dry-run"])
    assert f"# {tmp_path}/etc/lrwatch/lrwatch.toml\n" in ended.output
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
@needs_bubblewrap
def test_the_installed_unit_runs_with_its_mounts_its_user_and_its_environment(installed: Path, tmp_path: Path) -> None:
    text = (installed / "etc/systemd/system/lrwatch.service").read_text()
    runs, state, runtime = tmp_path / "runs", tmp_path / "state", tmp_path / "runtime"
    for directory in (runs / "a", state, runtime):
        directory.mkdir(parents=True)
    log = runs / "a/train.jsonl"
    log.write_text(Training().lines(100))
    credential = tmp_path / "key"
    shutil.copy(values(text, "LoadCredential")[0].partition(":")[2], credential)
    credential.chmod(0o400)
    specifiers = {"%S": "/var/lib", "%d": "/run/credentials/lrwatch.service"}
    environ = dict(line.split("=", 1) for line in values(text, "Environment"))
    environ = {name: re.sub("%[Sd]", lambda found: specifiers[found[0]], value) for name, value in environ.items()}
    (watchdog,) = values(text, "WatchdogSec")
    assert watchdog == "2min"
    with closing(NotifySocket(tmp_path / "notify")) as systemd:
        daemon = Sandbox(
            values(text, "ExecStart")[0].split(),
            user=61184,
            mounts={
                "/etc/lrwatch": installed / "etc/lrwatch", "/srv/runs": runs, f"/var/lib/{values(text, 'StateDirectory')[0]}": state,
                f"/run/{values(text, 'RuntimeDirectory')[0]}": runtime, "/run/systemd/notify": systemd.path,
                "/run/credentials/lrwatch.service/key": credential,
            },
            writable={"/var/lib/lrwatch", "/run/lrwatch", "/run/systemd/notify"},
            environ={
                **environ, "NOTIFY_SOCKET": "/run/systemd/notify", "WATCHDOG_USEC": "4000000",
                "RUNTIME_DIRECTORY": "/run/lrwatch", "STATE_DIRECTORY": "/var/lib/lrwatch", "PATH": "/usr/bin:/bin",
            },
            home=tmp_path,
        )  # fmt: skip
        try:
            eventually(lambda: systemd.hears("READY=1"), what=f"ready: {daemon.stderr}")
            eventually(lambda: systemd.hears("STATUS=runs watched: 1"))
            eventually(lambda: daemon.value("lrwatch_run_step", run="a") == 100)
            assert daemon.value("lrwatch_run_info", run="a", mode="observe") == 1
            (socket,) = runtime.glob("*.sock")
            assert socket.is_socket()
            eventually(lambda: systemd.hears("WATCHDOG=1", times=2))
            daemon.send(signal.SIGHUP)
            eventually(lambda: "settings read again" in daemon.stderr)
        finally:
            code = daemon.end()
        assert systemd.hears("STOPPING=1")
    assert code == 0, daemon.stderr
    assert "lrwatch: " not in daemon.stderr.replace("lrwatch: settings read again: nothing has changed", "")
    assert (state / "lrwatch.sqlite").exists()
    assert sorted(path.name for path in runs.rglob("*")) == ["a", "train.jsonl"]
