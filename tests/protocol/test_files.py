"""The files of a control directory, whole or refused."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lrwatch.protocol import Desired, ProtocolError, encode, open_directory, publish, read_control_file, read_key, sweep

KEY = b"0123456789abcdef"
DESIRED = Desired(run="a", incarnation="i1", generation=3, token=2, scale=0.5)


def test_a_key_is_read_without_the_newline_and_a_short_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"short\n")
    with pytest.raises(ProtocolError, match="16"):
        read_key(tmp_path / "key")
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(tmp_path / "key") == KEY


def test_a_published_file_is_read_back_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    publish(tmp_path, "desired.json", b"one")
    publish(tmp_path, "desired.json", b"two")
    assert read_control_file(tmp_path, "desired.json") == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["desired.json"]
    assert (tmp_path / "desired.json").stat().st_mode & 0o777 == 0o600


def test_a_directory_can_be_given_as_a_descriptor(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        publish(folder, "x", b"one")
        assert read_control_file(folder, "x") == b"one"
    finally:
        os.close(folder)


def test_a_failed_publication_leaves_the_old_state(tmp_path: Path) -> None:
    (tmp_path / "desired.json").mkdir()
    with pytest.raises(IsADirectoryError):
        publish(tmp_path, "desired.json", b"one")
    assert [p.name for p in tmp_path.iterdir()] == ["desired.json"]
    with pytest.raises(FileNotFoundError):
        publish(tmp_path / "missing", "desired.json", b"one")


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_control_file(tmp_path, "desired.json") is None
    assert read_control_file(tmp_path / "missing", "desired.json") is None


def test_files_that_others_could_have_made_are_not_read(tmp_path: Path) -> None:
    good = tmp_path / "good"
    good.write_bytes(encode(DESIRED))
    good.chmod(0o600)

    def code(make: Callable[[Path], object]) -> str:
        path = tmp_path / "desired.json"
        make(path)
        with pytest.raises(ProtocolError) as caught:
            read_control_file(tmp_path, path.name)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        return caught.value.code

    def sparse(path: Path) -> None:
        path.touch(0o600)
        os.truncate(path, 2**40)

    def serve(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))

    def writable(path: Path) -> None:
        path.touch()
        path.chmod(0o620)

    def strange(path: Path) -> None:
        path.touch(0o600)
        os.chown(path, 12345, -1)

    assert code(lambda path: path.symlink_to(good)) == "not_regular"
    assert code(lambda path: path.symlink_to(tmp_path / "nowhere")) == "not_regular"
    assert code(lambda path: os.mkfifo(path, 0o600)) == "not_regular"
    assert code(lambda path: path.mkdir()) == "not_regular"
    assert code(serve) == "not_regular"
    assert code(lambda path: os.link(good, path)) == "linked"
    assert code(writable) == "mode"
    assert code(sparse) == "too_large"
    if os.geteuid() == 0:
        assert code(strange) == "owner"


@pytest.mark.skipif(shutil.which("strace") is None, reason="kills the process at each system call with strace")
@pytest.mark.parametrize("call", ["write", "fsync", "rename,renameat,renameat2"])
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_a_reader_finds_the_old_file_or_the_new_one_wherever_the_writer_dies(
    tmp_path: Path, call: str, fault: str
) -> None:
    publish(tmp_path, "desired.json", b"old")
    script = f"from lrwatch.protocol import publish; publish({str(tmp_path)!r}, 'desired.json', b'new')"
    for when in (1, 2):
        command = ["strace", "-qq", "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={when}"]
        trace = ["-o", str(tmp_path / "trace")]
        ended = subprocess.run([*command, *trace, sys.executable, "-c", script], capture_output=True, timeout=60)
        if b"PTRACE" in ended.stderr:
            pytest.skip("tracing is not allowed here")
        found = read_control_file(tmp_path, "desired.json")
        assert found in (b"old", b"new")
        hit = "INJECTED" in (tmp_path / "trace").read_text() or "killed" in (tmp_path / "trace").read_text()
        assert hit == (ended.returncode != 0)
        if ended.returncode == 0:
            assert found == b"new"
        if "error" in fault:
            assert not list(tmp_path.glob(".*.tmp"))
        publish(tmp_path, "desired.json", b"old")


def test_a_directory_in_which_others_may_write_is_not_used(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir(0o700)
    publish(control, "x", b"one")
    for mode in (0o770, 0o707, 0o777):
        control.chmod(mode)
        uses: list[Callable[[], object]] = [
            lambda: read_control_file(control, "x"),
            lambda: publish(control, "x", b"two"),
        ]
        for use in uses:
            with pytest.raises(ProtocolError, match="others may write there") as caught:
                use()
            assert caught.value.code == "mode"
    for mode in (0o755, 0o1777):
        control.chmod(mode)
        assert read_control_file(control, "x") == b"one"
    (tmp_path / "link").symlink_to(control)
    with pytest.raises(NotADirectoryError):
        read_control_file(tmp_path / "link", "x")
    if os.geteuid() == 0:
        os.chown(control, 12345, -1)
        with pytest.raises(ProtocolError, match="belongs to user 12345"):
            read_control_file(control, "x")


def test_a_directory_that_is_swapped_while_it_is_open_leads_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir(0o700)
    (tmp_path / "other").mkdir(0o700)
    folder = open_directory(tmp_path / "control")
    try:
        (tmp_path / "control").rename(tmp_path / "moved")
        (tmp_path / "control").symlink_to(tmp_path / "other")
        publish(folder, "x", b"one")
        assert read_control_file(folder, "x") == b"one"
    finally:
        os.close(folder)
    assert not list((tmp_path / "other").iterdir())


def test_the_temporary_files_of_killed_processes_are_swept_each_side_its_own(tmp_path: Path) -> None:
    random = "0123456789abcdef"
    of_client = [f".observed.json.{random}.tmp", f".desired.warmup.rejected.{random}.tmp"]
    of_daemon = f".desired.json.{random}.tmp"
    others = [
        "metrics.jsonl", "observed.json", f"observed.json.{random}.tmp", ".observed.json.tmp", f".{random}.tmp",
        ".observed.json.0123456789abcdeg.tmp", f".observed.json.{random}.tmp.bak",
    ]  # fmt: skip
    for name in [*of_client, of_daemon, *others]:
        (tmp_path / name).touch()
    sweep(tmp_path, of_commands=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([of_daemon, *others])
    sweep(tmp_path, of_commands=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
