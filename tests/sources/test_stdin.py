"""A pipe: read as it comes, without blocking anybody, to its end."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.waiting import eventually

import lrwatch.sources.stdin
from lrwatch.sources.stdin import Stdin
from lrwatch.sources.tail import Chunk


class Pipe:
    """A pipe, and what follows its end. The other end is closed by `close`."""

    def __init__(self) -> None:
        self.out, self._in = os.pipe()
        self.stdin = Stdin(self.out)
        self.text = b""
        self._open = True

    def write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._in, data) :]

    def close(self) -> None:
        if self._open:
            os.close(self._in)
        self._open = False

    def write_all(self, data: bytes) -> None:
        self.write(data)
        self.close()

    def arrived(self, count: int) -> None:
        """Wait until so many bytes wait to be consumed."""
        self.stdin.read(0)
        eventually(lambda: self.stdin.lag >= count, what=f"{count} bytes")


def chunk_with(stdin: Stdin, what: str) -> Chunk:
    """The first chunk that says `last` or `reset`."""

    def look() -> Chunk | None:
        chunk = stdin.read()
        return chunk if getattr(chunk, what) else None

    return eventually(look, what=what)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.stdin.close()
    made.close()
    if (thread := made.stdin._thread) is not None:
        thread.join(10)
    os.close(made.out)


def test_an_empty_pipe_gives_nothing_and_does_not_block(pipe: Pipe) -> None:
    assert pipe.stdin.read().data == b""
    assert not pipe.stdin.ended
    assert not pipe.stdin.wait(0.0)


def test_what_was_not_consumed_is_presented_with_what_came_behind_it(pipe: Pipe) -> None:
    pipe.write(b"step 1\nste")
    pipe.arrived(10)
    assert pipe.stdin.read().data == b"step 1\nste"
    pipe.stdin.consume(7)
    assert pipe.stdin.read().data == b"", "nothing came since"
    pipe.stdin.again()
    assert pipe.stdin.read().data == b"ste"
    pipe.write(b"p 2\n")
    pipe.arrived(7)
    assert pipe.stdin.read().data == b"step 2\n"
    assert (pipe.stdin.offset, pipe.stdin.lag) == (7, 7)


def test_the_end_is_told_once_with_the_last_line(pipe: Pipe) -> None:
    pipe.write(b"step 1\nthe end")
    pipe.close()
    chunk = chunk_with(pipe.stdin, "last")
    assert chunk.data == b"step 1\nthe end"
    assert pipe.stdin.ended
    pipe.stdin.consume(len(chunk.data))
    assert pipe.stdin.read() == (b"", False, "", False)


def test_the_end_of_a_stream_that_was_read_already_comes_by_itself(pipe: Pipe) -> None:
    pipe.write(b"step 1\n")
    pipe.arrived(7)
    pipe.stdin.consume(len(pipe.stdin.read().data))
    pipe.close()
    assert pipe.stdin.wait(20.0)
    assert pipe.stdin.read().last
    assert pipe.stdin.ended


def test_a_big_stream_is_read_in_pieces_and_none_is_the_last_but_one(pipe: Pipe) -> None:
    text = b"".join(b"step %d\n" % i for i in range(50_000))
    writer = threading.Thread(target=pipe.write_all, args=(text,))
    writer.start()
    read = b""
    while not pipe.stdin.ended:
        assert pipe.stdin.wait(20.0)
        chunk = pipe.stdin.read(1000)
        read += chunk.data
        pipe.stdin.consume(len(chunk.data))
    writer.join()
    assert read == text


def test_a_writer_is_not_kept_waiting_between_two_looks(pipe: Pipe) -> None:
    pipe.stdin.read()
    pipe.write(b"x" * (1 << 20))  # sixteen times what a pipe holds; nobody reads, and this returns
    pipe.arrived(1 << 20)


def test_memory_is_bounded_and_nothing_is_lost_when_lrwatch_does_not_come_round(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lrwatch.sources.stdin, "MAX_WAITING_BYTES", 100_000)
    text = os.urandom(1 << 20)
    writer = threading.Thread(target=pipe.write_all, args=(text,))
    writer.start()
    pipe.arrived(100_000)
    read = b""
    most = 0
    while not pipe.stdin.ended:
        assert pipe.stdin.wait(20.0)
        most = max(most, pipe.stdin.lag)
        chunk = pipe.stdin.read()
        read += chunk.data
        pipe.stdin.consume(len(chunk.data))
    writer.join()
    assert read == text
    assert most <= 100_000 + (64 << 10)


def test_a_file_instead_of_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("step 1\n")
    with log.open("rb") as file:
        stdin = Stdin(file.fileno())
        chunk = chunk_with(stdin, "last")
        assert chunk.data == b"step 1\n"


def test_what_cannot_be_read_is_said_and_is_the_end(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    stdin = Stdin(directory)
    chunk_with(stdin, "last")
    os.close(directory)
    assert "standard input cannot be read" in stdin.problem
    assert stdin.errors == {"EISDIR": 1}


def test_a_restart_reports_a_reset(pipe: Pipe) -> None:
    pipe.write(b"step 7\n")
    state = json.loads(json.dumps(Stdin(pipe.out).state()))
    again = Stdin(pipe.out, state)
    pipe.close()
    chunk = chunk_with(again, "reset")
    assert chunk.reason == "replaced"


def test_no_more_can_be_consumed_than_waits(pipe: Pipe) -> None:
    with pytest.raises(ValueError, match="3 bytes consumed of 0"):
        pipe.stdin.consume(3)
