"""Compressed logs, read as logs that grow are."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest

from lrwatch.sources import compressed
from lrwatch.sources.compressed_tail import CompressedTail

LOG = b"".join(b"step %d loss %.4f\n" % (i, 9 / (i + 1)) for i in range(20_000))
every_kind = pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"]
)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


def follow(tail: CompressedTail, limit: int = 10_000) -> bytes:
    """What a reader of lines consumes."""
    parts: list[bytes] = []
    while True:
        chunk = tail.read(limit)
        used = len(chunk.data) if chunk.last else chunk.data.rfind(b"\n") + 1
        if not used:
            return b"".join(parts)
        parts.append(chunk.data[:used])
        tail.consume(used)


@every_kind
@pytest.mark.parametrize("limit", [100, 10_000, 1 << 22])
def test_a_compressed_log_is_followed_as_a_plain_one(log: Path, compress: Callable[[bytes], bytes], limit: int) -> None:
    content = LOG[:50_000] + b"the end without a line end"
    log.write_bytes(compress(content))
    tail = CompressedTail(log)
    assert follow(tail, limit) == content
    assert follow(tail, limit) == b""
    assert (tail.offset, tail.lag, tail.opens, tail.problem) == (len(content), 0, 1, "")
    tail.close()


def test_a_restart_goes_on_behind_what_was_consumed(log: Path) -> None:
    log.write_bytes(gzip.compress(LOG))
    tail = CompressedTail(log)
    chunk = tail.read(1000)
    tail.consume(600)
    assert tail.lag > 0
    state = json.loads(json.dumps(tail.state()))
    tail.close()
    restarted = CompressedTail(log, state)
    assert chunk.data[:600] + follow(restarted) == LOG
    restarted.close()


def test_what_was_not_consumed_is_given_again(log: Path) -> None:
    log.write_bytes(gzip.compress(LOG))
    tail = CompressedTail(log)
    first = tail.read(1000).data
    assert tail.read(1000).data == first
    assert tail.read(500).data == first[:500]
    with pytest.raises(ValueError, match="501 bytes consumed of 500"):
        tail.consume(501)
    assert follow(tail) == LOG
    tail.close()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_log_that_changed_is_read_anew(log: Path, stopped: bool) -> None:
    log.write_bytes(gzip.compress(LOG[:4000]))
    tail = CompressedTail(log)
    follow(tail)
    log.write_bytes(gzip.compress(LOG))
    if stopped:
        tail.close()
        tail = CompressedTail(log, tail.state())
    chunk = tail.read(100)
    assert (chunk.reset, chunk.reason, chunk.data) == (True, "rewritten", LOG[:100])
    assert follow(tail) == LOG
    assert tail.truncations == 1
    tail.close()


def test_what_is_wrong_is_said_and_counted(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tail = CompressedTail(log)
    assert tail.read() == (b"", False, "", False)
    assert "does not exist yet" in tail.problem
    log.write_bytes(gzip.compress(LOG)[:-20])
    assert LOG.startswith(follow(tail))
    assert tail.errors == {"compressed data break off": 1}
    assert tail.problem == ""
    monkeypatch.setattr(compressed, "MAX_DECOMPRESSED_BYTES", 100_000)
    log.write_bytes(gzip.compress(LOG + LOG))
    assert len(follow(tail)) <= 100_000
    assert tail.errors["decompressed log too large"] == 1
    assert "at most 100,000 bytes" in tail.problem
    tail.close()
