"""Each thing that happens to a log, followed or not followed at the time, judged by the tail's own counters.

One file because the tests share one file and what may happen to it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrwatch.sources.tail
from lrwatch.formats.lines import Lines
from lrwatch.sources.fd_pool import FdPool
from lrwatch.sources.file_identity import HEAD_BYTES
from lrwatch.sources.tail import Tail


@dataclass
class Follower:
    """Reads lines as the daemon does; `streams` has the lines before, between and after the resets."""

    tail: Tail
    streams: list[list[str]] = field(default_factory=lambda: [[]])
    reasons: list[str] = field(default_factory=list)

    def read(self, limit: int = 1 << 20) -> list[list[str]]:
        """Read until there is nothing new."""
        while True:
            chunk = self.tail.read(limit)
            if chunk.reset:
                self.streams.append([])
                self.reasons.append(chunk.reason)
            used = len(chunk.data) if chunk.last else chunk.data.rfind(b"\n") + 1
            self.streams[-1].extend(chunk.data[:used].decode().splitlines())
            self.tail.consume(used)
            if not used and not chunk.reset:
                return self.streams

    def restart(self) -> Follower:
        """The same follower in another process, from what a database would hold."""
        state = json.loads(json.dumps(self.tail.state()))
        self.tail.close()
        return Follower(Tail(self.tail.path, state), self.streams, self.reasons)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


@pytest.fixture(params=["followed", "stopped"])
def meanwhile(request: pytest.FixtureRequest) -> bool:
    """Whether nobody follows while the file changes."""
    return bool(request.param == "stopped")


@pytest.fixture
def follower(log: Path) -> Iterator[Follower]:
    followed = Follower(Tail(log))
    yield followed
    followed.tail.close()


def lines(start: int, end: int) -> str:
    return "".join(f"step {i} of a training, loss {i / 8}\n" for i in range(start, end))


def listed(start: int, end: int) -> list[str]:
    return lines(start, end).splitlines()


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_appended_lines_are_read_once(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    if meanwhile:
        follower = follower.restart()
    append(log, lines(10, 20))
    assert follower.read() == [listed(0, 20)]
    assert follower.read() == [listed(0, 20)]
    assert (follower.tail.opens, follower.tail.rotations, follower.tail.truncations) == (1, 0, 0)
    assert follower.tail.lag == 0
    follower.tail.close()


def test_half_a_line_is_read_when_it_is_whole(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text("step 1\nste")
    assert follower.read() == [["step 1"]]
    assert follower.tail.lag == 3
    if meanwhile:
        follower = follower.restart()
    append(log, "p 2\n")
    assert follower.read() == [["step 1", "step 2"]]
    follower.tail.close()


def test_a_big_file_is_read_in_pieces(log: Path, follower: Follower) -> None:
    log.write_text(lines(0, 5000))
    assert follower.read(limit=1000) == [listed(0, 5000)]
    assert follower.tail.opens == 1


def test_a_renamed_file_is_finished_before_the_new_one(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    append(log, lines(10, 15) + "the end without a line end")
    log.rename(log.with_suffix(".1"))
    if meanwhile:
        follower = follower.restart()
    log.write_text(lines(100, 103))
    assert follower.read() == [[*listed(0, 15), "the end without a line end"], listed(100, 103)]
    assert follower.tail.rotations == 1
    assert follower.reasons == ["replaced"]
    append(log, lines(103, 105))
    assert follower.read()[1] == listed(100, 105)
    follower.tail.close()


def test_a_renamed_file_is_followed_until_its_name_is_taken(log: Path, follower: Follower) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    renamed = log.rename(log.with_suffix(".1"))
    append(renamed, lines(10, 12))
    assert follower.read() == [listed(0, 12)]
    assert "deleted or renamed" in follower.tail.problem
    log.write_text(lines(50, 52))
    append(renamed, lines(12, 13))
    assert follower.read() == [listed(0, 13), listed(50, 52)]
    assert follower.tail.problem == ""


def test_copied_and_truncated_it_is_read_from_the_beginning(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    if meanwhile:
        follower = follower.restart()
    shutil.copy(log, log.with_suffix(".1"))
    os.truncate(log, 0)
    append(log, lines(100, 103))
    assert follower.read() == [listed(0, 10), listed(100, 103)]
    assert (follower.tail.truncations, follower.tail.rotations) == (1, 0)
    assert follower.reasons == ["truncated"]
    follower.tail.close()


@pytest.mark.parametrize("before", [3, 500])
def test_truncated_and_rewritten_longer_between_two_looks(
    log: Path, follower: Follower, meanwhile: bool, before: int
) -> None:
    log.write_text(lines(0, before))
    follower.read()
    if meanwhile:
        follower = follower.restart()
    with log.open("w") as same_file:
        same_file.write(lines(1000, 1000 + 2 * before))
    assert follower.read() == [listed(0, before), listed(1000, 1000 + 2 * before)]
    assert follower.tail.truncations == 1
    assert follower.reasons == ["rewritten"]
    follower.tail.close()


def test_a_rewrite_with_the_same_long_head_is_seen_by_what_lies_in_front_of_the_offset(
    log: Path, follower: Follower, meanwhile: bool
) -> None:
    source_code = "import torch  # the program itself\n" * (HEAD_BYTES // 20)
    log.write_text(source_code + lines(0, 50))
    follower.read()
    if meanwhile:
        follower = follower.restart()
    with log.open("w") as same_file:
        same_file.write(source_code + lines(1000, 1100))
    follower.read()
    assert follower.streams[1][-100:] == listed(1000, 1100)
    assert follower.tail.truncations == 1
    follower.tail.close()


def test_rewritten_in_place_with_another_header(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text("step,loss\n1,2.5\n2,2.25\n")
    follower.read()
    if meanwhile:
        follower = follower.restart()
    with log.open("w") as same_file:
        same_file.write("step,loss,val_loss\n1,2.5,\n2,2.25,\n2,,2.75\n")
    assert follower.read()[1] == ["step,loss,val_loss", "1,2.5,", "2,2.25,", "2,,2.75"]
    assert follower.tail.truncations == 1
    follower.tail.close()


def test_another_file_with_the_same_header_is_another_stream(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text("step,loss\n")
    follower.read()
    if meanwhile:
        follower = follower.restart()
    new = log.with_suffix(".new")
    new.write_text("step,loss\n1,2.5\n")
    new.replace(log)
    assert follower.read() == [["step,loss"], ["step,loss", "1,2.5"]]
    assert follower.tail.rotations == 1
    follower.tail.close()


def test_a_longer_copy_of_all_that_was_read_is_the_same_stream(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 500))
    follower.read()
    if meanwhile:
        follower = follower.restart()
    synchronised = log.with_suffix(".tmp")
    synchronised.write_text(lines(0, 600))
    synchronised.replace(log)
    assert follower.read() == [listed(0, 600)]
    assert follower.reasons == []
    follower.tail.close()


def test_deleted_and_written_again(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    log.unlink()
    if meanwhile:
        follower = follower.restart()
    follower.read()
    assert "deleted or renamed" in follower.tail.problem
    (log.parent / "takes the inode").write_text("x")
    log.write_text(lines(100, 103))
    assert follower.read() == [listed(0, 10), listed(100, 103)]
    assert follower.tail.problem == ""
    follower.tail.close()


def test_gone_and_back_unchanged_it_goes_on_where_it_was(log: Path, follower: Follower, meanwhile: bool) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    away = log.rename(log.with_suffix(".away"))
    if meanwhile:
        follower = follower.restart()
    follower.read()
    away.rename(log)
    append(log, lines(10, 12))
    assert follower.read() == [listed(0, 12)]
    follower.tail.close()


def test_a_missing_file_is_waited_for(log: Path, follower: Follower) -> None:
    assert follower.read() == [[]]
    assert follower.tail.problem == f"{log} does not exist yet; it is read as soon as it is there"
    assert not follower.tail.errors
    log.write_text(lines(0, 2))
    assert follower.read() == [listed(0, 2)]
    assert follower.tail.problem == ""


def test_a_directory_in_its_place_is_counted_and_survived(log: Path, follower: Follower) -> None:
    log.mkdir()
    assert follower.read() == [[]]
    assert "is a directory" in follower.tail.problem
    assert follower.tail.errors == {"EISDIR": 1}
    log.rmdir()
    log.write_text(lines(0, 2))
    assert follower.read() == [listed(0, 2)]
    assert follower.tail.problem == ""


def test_unreadable_for_a_while_it_goes_on_where_it_was(log: Path, follower: Follower) -> None:
    real = log.with_suffix(".real")
    real.write_text(lines(0, 5))
    log.symlink_to(real)
    assert follower.read() == [listed(0, 5)]
    log.unlink()
    log.symlink_to(log)  # too many levels of symbolic links
    follower.read()
    follower.read()
    assert follower.tail.errors == {"ELOOP": 2}
    assert "cannot be read" in follower.tail.problem
    log.unlink()
    log.symlink_to(real)
    append(real, lines(5, 7))
    assert follower.read() == [listed(0, 7)]
    assert follower.tail.opens == 2


def test_a_pipe_is_no_log_and_does_not_block(log: Path, follower: Follower) -> None:
    os.mkfifo(log)
    assert follower.read() == [[]]
    assert "not a regular file" in follower.tail.problem


def test_a_symbolic_link_that_is_turned_is_a_rotation(log: Path, follower: Follower, meanwhile: bool) -> None:
    first, second = log.with_suffix(".a"), log.with_suffix(".b")
    first.write_text(lines(0, 5))
    second.write_text(lines(100, 105))
    log.symlink_to(first)
    follower.read()
    append(first, lines(5, 6))
    if meanwhile:
        follower = follower.restart()
    turned = log.with_suffix(".tmp")
    turned.symlink_to(second)
    turned.replace(log)
    assert follower.read() == [listed(0, 6), listed(100, 105)]
    assert follower.tail.rotations == 1


def test_nul_bytes_at_the_end_are_not_there_yet(log: Path, follower: Follower) -> None:
    log.write_bytes(b"step 1\n" + b"\0" * 9000)
    assert follower.read(limit=1000) == [["step 1"]]
    with log.open("r+b") as same_file:  # a network file system fills the block
        same_file.seek(7)
        same_file.write(b"step 2\n")
    assert follower.read(limit=1000) == [["step 1", "step 2"]]
    assert not follower.tail.errors


def test_a_hole_of_any_size_is_passed_over_once_something_follows_it(log: Path, follower: Follower) -> None:
    log.write_text(lines(0, 100))
    follower.read()
    end = log.stat().st_size
    os.truncate(log, 0)
    with log.open("r+b") as same_file:  # a writer that does not append goes on at its old offset
        same_file.seek(end + (1 << 30))
        same_file.write(lines(100, 103).encode())
    assert follower.read() == [listed(0, 100), listed(100, 103)]
    assert follower.tail.truncations == 1
    assert follower.tail.errors == {"hole of NUL bytes passed over": 1}


def test_a_line_of_a_gibibyte_without_an_end_is_passed_in_pieces_and_what_follows_it_is_read(
    log: Path, follower: Follower
) -> None:
    log.write_bytes(b"step 1\n" + b"x" * 5000)
    with log.open("r+b") as same_file:
        same_file.seek(1 << 30)
        same_file.write(b"x\nstep 2\n")
    cutter, read, most, dropped = Lines(), b"", 0, 0
    while (chunk := follower.tail.read(2 << 20)).data:
        most = max(most, len(chunk.data))
        block = cutter.cut(chunk.data, final=chunk.last)
        read += block.text
        dropped += block.dropped
        follower.tail.consume(block.consumed)
    assert read == b"step 1\nstep 2\n"
    assert most <= 2 << 20
    assert (dropped, follower.tail.lag) == (1, 0)
    assert follower.tail.errors == {"hole of NUL bytes passed over": 1}


def test_the_end_of_a_binary_record_is_no_hole(log: Path, follower: Follower) -> None:
    record = b"\x18" + b"\0" * 7 + b"record" + b"\0" * 300
    log.write_bytes(record)
    chunk = follower.tail.read()
    assert chunk.data == record
    assert follower.tail.at_end


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_and_bytes_that_are_no_text_come_as_they_are(log: Path, follower: Follower, line_end: str) -> None:
    written = f"loss 1{line_end}loss \N{GREEK SMALL LETTER ALPHA}".encode() + b"\xff\xfe" + line_end.encode()
    read = b""
    with log.open("wb") as writer:  # each byte alone, so also in the middle of a character
        for byte in written:
            writer.write(bytes([byte]))
            writer.flush()
            chunk = follower.tail.read()
            read += chunk.data
            follower.tail.consume(len(chunk.data))
    assert read == written
    assert (follower.tail.offset, follower.tail.opens) == (len(written), 1)


@pytest.mark.parametrize("code", [errno.ESTALE, errno.EIO])
def test_a_file_system_that_fails_for_a_while_costs_no_line(
    log: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """No file system at hand fails so at will, so the system call is made to."""
    log.write_text(lines(0, 10))
    follower.read()
    append(log, lines(10, 12))

    def failing(*_: object) -> bytes:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, "pread", failing)
        for _ in range(3):
            assert follower.read() == [listed(0, 10)]
        assert "it is tried again" in follower.tail.problem
    assert follower.read() == [listed(0, 12)]
    assert follower.tail.errors == {errno.errorcode[code]: 3}
    assert (follower.tail.problem, follower.tail.truncations, follower.tail.rotations) == ("", 0, 0)


def test_an_inode_that_is_used_again_is_another_stream(log: Path, follower: Follower) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    inode = log.stat().st_ino
    follower = follower.restart()  # an open file keeps its inode
    log.unlink()
    for attempt in range(50):
        log.with_suffix(f".{attempt}").write_text(lines(100, 130))
        if log.with_suffix(f".{attempt}").stat().st_ino == inode:
            break
    else:
        pytest.skip("this file system does not use an inode again at once")
    log.with_suffix(f".{attempt}").rename(log)
    assert follower.read() == [listed(0, 10), listed(100, 130)]
    assert follower.tail.truncations + follower.tail.rotations == 1
    follower.tail.close()


def test_a_directory_that_appears_later(tmp_path: Path) -> None:
    log = tmp_path / "later" / "deep" / "train.log"
    follower = Follower(Tail(log))
    assert follower.read() == [[]]
    assert not follower.tail.errors
    log.parent.mkdir(parents=True)
    assert follower.read() == [[]]
    log.write_text(lines(0, 3))
    assert follower.read() == [listed(0, 3)]
    follower.tail.close()


# ---- many files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def few_open(monkeypatch: pytest.MonkeyPatch) -> FdPool:
    """At most four files open."""
    few = FdPool(4)
    monkeypatch.setattr(lrwatch.sources.tail, "FD_POOL", few)
    return few


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_of_many_files_few_are_open_and_all_are_followed(tmp_path: Path, few_open: FdPool) -> None:
    logs = [tmp_path / f"{i}.log" for i in range(30)]
    followers = [Follower(Tail(log)) for log in logs]
    before = open_files()
    for turn in range(3):
        for log, follower in zip(logs, followers, strict=True):
            append(log, lines(10 * turn, 10 * turn + 10) + "half")
            follower.read()
            append(log, " a line\n")
            follower.read()
        assert len(few_open) == 4
        assert open_files() <= before + 4
    expected = [line for turn in range(3) for line in [*listed(10 * turn, 10 * turn + 10), "half a line"]]
    for follower in followers:
        assert follower.streams == [expected]
        assert (follower.tail.truncations, follower.tail.rotations) == (0, 0)
        follower.tail.close()
    assert len(few_open) == 0


def test_a_file_that_was_closed_because_of_others_is_finished_after_it_was_renamed(
    log: Path, follower: Follower, few_open: FdPool
) -> None:
    log.write_text(lines(0, 200))
    follower.read()
    others = [Follower(Tail(log.with_suffix(f".{i}"))) for i in range(4)]
    for i, other in enumerate(others):
        log.with_suffix(f".{i}").write_text(lines(i, i + 1))
        other.read()
    assert few_open.evicted == 1
    append(log, lines(200, 210))
    log.rename(log.with_suffix(".old"))
    log.write_text(lines(500, 510))
    assert follower.read() == [listed(0, 210), listed(500, 510)]
    assert (follower.tail.rotations, follower.tail.truncations) == (1, 0)
    for other in others:
        other.tail.close()


def test_an_unchanged_file_costs_one_call_of_the_system(
    log: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write_text(lines(0, 10) + "half a line")
    follower.read()
    calls: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(name)
            return real(*arguments, **options)

        return call

    for name in ("stat", "fstat", "open", "pread", "lseek"):
        monkeypatch.setattr(os, name, counted(name))
    assert follower.tail.read().data == b""
    assert calls == ["stat"]
    follower.tail.again()
    assert follower.tail.read().data == b"half a line"


def test_what_was_not_told_before_a_restart_is_told_after_it(log: Path, follower: Follower) -> None:
    log.write_text(lines(0, 10))
    follower.read()
    log.write_text(lines(100, 102))
    chunk = follower.tail.read()
    assert chunk.reset  # and the process ends before it can save that
    again = Follower(Tail(log, follower.tail.state()))
    assert again.tail.read().data == lines(100, 102).encode()
    again.tail.close()


def test_only_what_was_read_can_be_consumed(log: Path, follower: Follower) -> None:
    log.write_text("x\n")
    follower.tail.read()
    with pytest.raises(ValueError, match="3 bytes consumed of 2"):
        follower.tail.consume(3)


@given(actions=st.lists(st.sampled_from(["append", "rotate", "read", "restart", "half"]), max_size=25))
@settings(deadline=None)
def test_over_any_sequence_of_appends_rotations_and_restarts_nothing_is_lost_or_doubled(
    actions: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = tmp_path_factory.mktemp("any") / "train.log"
    log.touch()
    follower = Follower(Tail(log))
    written = rotated = 0
    text = ""
    for action in [*actions, "read"]:
        if action in ("append", "half"):
            line = f"line {written} of the log"
            append(log, line if action == "half" else f"{line}\n")
            text += line if action == "half" else f"{line}\n"
            written += 1
        elif action == "rotate":
            follower.read()  # of files that are renamed twice between two looks the middle one is unknown
            log.rename(log.with_suffix(f".{rotated}"))
            log.touch()
            text += "" if text.endswith("\n") else "\n"
            rotated += 1
        elif action == "restart":
            follower = follower.restart()
        else:
            follower.read()
    follower.tail.close()
    complete = text if text.endswith("\n") else text[: text.rfind("\n") + 1]
    assert [line for stream in follower.streams for line in stream if line] == list(filter(None, complete.splitlines()))
