"""Each thing that happens to a document, followed or not followed at the time."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from support.waiting import eventually

from lrwatch.sources import document_tail
from lrwatch.sources.document_tail import DocumentTail
from lrwatch.sources.tail import Chunk

OLD, NEW, NEWER = b'{"loss": [1]}', b'{"loss": [1, 2]}', b'{"loss": [1, 3]}'
NOTHING = Chunk()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.json"


@pytest.fixture(params=["followed", "stopped"])
def stopped(request: pytest.FixtureRequest) -> bool:
    """Whether nobody follows while the file changes."""
    return bool(request.param == "stopped")


def consumed(source: DocumentTail) -> Chunk:
    chunk = source.read()
    source.consume(len(chunk.data))
    return chunk


def restarted(source: DocumentTail) -> DocumentTail:
    state = json.loads(json.dumps(source.state()))
    source.close()
    return DocumentTail(source.path, state)


def replace(path: Path, content: bytes) -> None:
    other = path.with_suffix(".tmp")
    other.write_bytes(content)
    other.replace(path)


def test_a_document_is_given_once_and_again_as_a_whole_when_it_is_rewritten(path: Path, stopped: bool) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    assert consumed(source) == (OLD, False, "", False)
    assert (source.read(), source.lag, source.offset) == (NOTHING, 0, len(OLD))
    if stopped:
        source = restarted(source)
    path.write_bytes(NEW)
    assert consumed(source) == (NEW, True, "rewritten", False)
    assert source.read() == NOTHING
    assert (source.truncations, source.rotations) == (1, 0)


def test_a_document_that_was_replaced_is_given(path: Path, stopped: bool) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    consumed(source)
    if stopped:
        source = restarted(source)
    replace(path, NEW)
    assert consumed(source) == (NEW, True, "rewritten", False)
    assert (source.truncations, source.rotations) == (0, 1)


def test_the_same_content_anew_is_nothing_new(path: Path, stopped: bool) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    consumed(source)
    if stopped:
        source = restarted(source)
    replace(path, OLD)
    os.utime(path, ns=(1, 1))
    assert source.read() == NOTHING
    assert source.lag == 0


def test_a_change_that_leaves_size_and_time_as_they_were_is_seen(path: Path) -> None:
    path.write_bytes(NEW)
    os.utime(path, ns=(10**18, 10**18))
    source = DocumentTail(path)
    consumed(source)
    path.write_bytes(NEWER)
    os.utime(path, ns=(10**18, 10**18))
    assert consumed(source).data == NEWER


def test_a_document_at_rest_is_not_opened_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_tail, "SETTLED_SECONDS", 0.01)
    path.write_bytes(OLD)
    source = DocumentTail(path)
    consumed(source)

    def rests() -> bool:
        before = source.opens
        assert source.read() == NOTHING
        return source.opens == before

    assert eventually(rests)
    opens = source.opens
    assert [source.read() for _ in range(3)] == [NOTHING] * 3
    assert source.opens == opens


def test_half_a_document_is_given_again_when_it_changed(path: Path) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    consumed(source)
    path.write_bytes(NEW[:5])
    assert source.read() == (NEW[:5], True, "rewritten", False)
    source.consume(0)
    assert source.read() == NOTHING
    assert source.lag == 5
    path.write_bytes(NEW)
    assert consumed(source) == (NEW, True, "rewritten", False)


def test_half_a_document_is_given_again_when_asked_for_and_after_a_restart(path: Path) -> None:
    path.write_bytes(OLD[:5])
    source = DocumentTail(path)
    source.read()
    source.again()
    assert source.read().data == OLD[:5]
    assert restarted(source).read() == (OLD[:5], False, "", False)


def test_only_all_of_a_document_can_be_consumed(path: Path) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    source.read()
    with pytest.raises(ValueError, match="3 bytes consumed of a document of 13"):
        source.consume(3)


def test_an_emptied_document_says_nothing_until_it_is_written(path: Path) -> None:
    path.write_bytes(OLD)
    source = DocumentTail(path)
    consumed(source)
    path.write_bytes(b"")
    assert source.read() == NOTHING
    path.write_bytes(bytes(100))  # a block that is not filled yet
    assert source.read() == NOTHING
    path.write_bytes(NEW + bytes(100))
    assert consumed(source).data == NEW


def test_a_document_may_come_later_vanish_and_return(path: Path) -> None:
    source = DocumentTail(path)
    assert source.read() == NOTHING
    assert "does not exist yet" in source.problem
    path.write_bytes(OLD)
    assert consumed(source).data == OLD
    assert source.problem == ""
    path.unlink()
    assert source.read() == NOTHING
    assert "was deleted or renamed" in source.problem
    path.write_bytes(OLD)
    assert source.read() == NOTHING
    path.write_bytes(NEW)
    assert consumed(source).reset


def test_a_compressed_document_is_decompressed(path: Path) -> None:
    path.write_bytes(gzip.compress(OLD))
    source = DocumentTail(path)
    assert consumed(source).data == OLD
    path.write_bytes(gzip.compress(NEW)[:-4])
    assert consumed(source).data == NEW
    assert source.errors == {"compressed data break off": 1}


def test_a_compressed_document_that_is_too_large_is_a_problem_that_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_tail, "MAX_DOCUMENT_BYTES", 1000)
    path.write_bytes(gzip.compress(bytes(100_000) + OLD))
    source = DocumentTail(path)
    assert [source.read(), source.read()] == [NOTHING, NOTHING]
    assert "more than the 1,000 bytes" in source.problem
    assert (source.errors, source.opens) == ({"document too large": 1}, 1)


def test_what_is_no_file_is_a_problem_and_counted(path: Path) -> None:
    path.mkdir()
    source = DocumentTail(path)
    assert source.read() == NOTHING
    assert "is a directory" in source.problem
    assert source.errors == {"EISDIR": 1}


def test_a_document_that_is_too_large_is_a_problem_and_counted_once(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document_tail, "MAX_DOCUMENT_BYTES", 15)
    path.write_bytes(NEW)
    source = DocumentTail(path)
    assert [source.read(), source.read()] == [NOTHING, NOTHING]
    assert "more than the 15 bytes" in source.problem
    assert source.errors == {"document too large": 1}
    assert source.lag == 16
    path.write_bytes(OLD)
    assert consumed(source).data == OLD
    assert source.problem == ""
