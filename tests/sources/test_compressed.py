"""Compressed logs: whole, cut off, damaged, in many members, and bombs."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from lrwatch.errors import InputError
from lrwatch.sources import compressed
from lrwatch.sources.compressed import is_compressed, open_log

LOG = b"".join(b"step %d loss %.4f\n" % (i, 9 / (i + 1)) for i in range(20_000))
KINDS: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]
every_kind = pytest.mark.parametrize("compress", KINDS, ids=["gzip", "bzip2", "xz"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "train.log"  # the name says nothing, the content decides


def read(path: Path, size: int = 1 << 16) -> tuple[bytes, dict[str, int]]:
    parts: list[bytes] = []
    with open_log(path) as file:
        while part := file.read(size):
            parts.append(part)
        return b"".join(parts), dict(file.errors)


def test_a_plain_log_is_read_as_it_is(log: Path) -> None:
    log.write_bytes(LOG)
    assert not is_compressed(log)
    assert read(log) == (LOG, {})


def test_an_empty_or_missing_log_is_not_compressed(log: Path) -> None:
    assert not is_compressed(log)
    log.touch()
    assert not is_compressed(log)
    assert read(log) == (b"", {})


@every_kind
@pytest.mark.parametrize("size", [1, 997, 1 << 22])
def test_a_compressed_log_is_read_whatever_its_name(log: Path, compress: Callable[[bytes], bytes], size: int) -> None:
    content = LOG if size > 1 else LOG[:5000]
    log.write_bytes(compress(content))
    assert is_compressed(log)
    assert read(log, size) == (content, {})


@every_kind
def test_members_behind_one_another_are_one_log(log: Path, compress: Callable[[bytes], bytes]) -> None:
    log.write_bytes(compress(LOG) + compress(b"") + compress(b"the end\n"))
    assert read(log) == (LOG + b"the end\n", {})


def test_nul_bytes_behind_a_member_are_padding(log: Path) -> None:
    log.write_bytes(gzip.compress(LOG) + bytes(200_000) + gzip.compress(LOG) + bytes(3))
    assert read(log) == (LOG + LOG, {})


@pytest.mark.slow
@every_kind
def test_a_log_that_breaks_off_gives_what_there_is(log: Path, compress: Callable[[bytes], bytes]) -> None:
    noise = b"".join(os.urandom(60).hex().encode() + b"\n" for _ in range(30_000))  # several blocks of bzip2
    whole = compress(noise)
    log.write_bytes(whole[: len(whole) * 2 // 3])
    found, errors = read(log)
    assert noise.startswith(found)
    assert len(found) > len(noise) // 3
    assert errors == {"compressed data break off": 1}


@every_kind
def test_damaged_data_give_what_lies_in_front(log: Path, compress: Callable[[bytes], bytes]) -> None:
    log.write_bytes(compress(LOG) + compress(LOG)[:100] + b"\xff" * 5000)
    found, errors = read(log)
    assert found[: len(LOG)] == LOG
    assert errors == {"compressed data are damaged": 1}


def test_garbage_behind_a_member_is_counted(log: Path) -> None:
    log.write_bytes(gzip.compress(LOG) + b"garbage")
    assert read(log) == (LOG, {"compressed data are damaged": 1})


def test_a_bomb_takes_little_memory(log: Path) -> None:
    log.write_bytes(gzip.compress(bytes(100 << 20)))
    tracemalloc.start()
    with open_log(log) as file:
        while file.read(1 << 16):
            pass
        assert file.count == 100 << 20
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_more_than_the_limit_is_an_error_for_people(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compressed, "MAX_DECOMPRESSED_BYTES", 100_000)
    log.write_bytes(gzip.compress(LOG))
    with pytest.raises(InputError, match=r"at most 100,000 bytes.*Decompress it"):
        read(log)
