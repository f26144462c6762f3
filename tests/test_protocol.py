"""The messages and files that daemon and trainer exchange."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.protocol import (
    MAX_BYTES,
    MAX_GROUPS,
    Desired,
    Observed,
    ProtocolError,
    decode_desired,
    decode_observed,
    encode,
    open_directory,
    publish,
    read_control_file,
    read_key,
    sign,
    verify,
)

KEY = b"0123456789abcdef"
DESIRED = Desired(run="a", incarnation="i1", generation=3, token=2, scale=0.5, groups={"0": 0.5}, reason="plateau")
OBSERVED = Observed(run="a", incarnation="i1", step=7, scale=0.5, schedule_lr={"0": 0.1}, effective_lr={"0": 0.05})


def content(**changes: object) -> bytes:
    """A valid command with some keys changed; None takes a key out."""
    values: dict[str, Any] = json.loads(encode(DESIRED)) | changes
    return json.dumps({key: value for key, value in values.items() if value is not ...}).encode()


def test_a_message_survives_the_way_through_bytes() -> None:
    assert decode_desired(encode(DESIRED)) == DESIRED
    assert decode_observed(encode(OBSERVED)) == OBSERVED


def test_the_bytes_hold_exactly_the_fields_of_the_contract() -> None:
    desired = (
        "v run incarnation generation token scale groups apply_at_step not_after_step ramp_steps reason actor prev mac"
    )
    observed = (
        "v run incarnation resumed_from_step step observed_generation status code applied_step scale schedule_lr "
        "effective_lr max_token client"
    )
    assert sorted(json.loads(encode(DESIRED))) == sorted(desired.split())
    assert sorted(json.loads(encode(replace(DESIRED, reload=True)))) == sorted([*desired.split(), "reload"])
    assert sorted(json.loads(encode(OBSERVED))) == sorted(observed.split())


def test_the_bytes_are_canonical() -> None:
    data = encode(DESIRED)
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    assert list(json.loads(data)) == sorted(json.loads(data))
    assert encode(replace(DESIRED, scale=1)) == encode(replace(DESIRED, scale=1.0))


def test_keys_of_a_later_minor_change_are_left_out() -> None:
    assert decode_desired(content(colour="red")) == DESIRED


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"x" * (MAX_BYTES + 1), "too_large"),
        (b'{"v": "\xff"}', "not_utf8"),
        (b"", "not_json"),
        (b"\xef\xbb\xbf{}", "not_json"),
        (b'{"v": ' + b"9" * 6000 + b"}", "not_json"),
        (b"[" * 60_000, "too_deep"),
        (b"[]", "wrong_type"),
        (b'{"v": 1, "v": 1}', "duplicate_key"),
        (b'{"v": 1, "scale": NaN}', "not_finite"),
        (b'{"v": 1, "scale": -Infinity}', "not_finite"),
        (content(v=...), "version"),
        (content(v=2), "version"),
        (content(v=0), "version"),
        (content(v=True), "version"),
        (content(v="1"), "version"),
        (content(run=...), "missing"),
        (content(scale=...), "missing"),
        (content(scale="0.5"), "wrong_type"),
        (content(scale=True), "wrong_type"),
        (content(scale=0), "out_of_range"),
        (content(scale=-0.0), "out_of_range"),
        (content(scale=-1), "out_of_range"),
        (content(scale=10**400), "out_of_range"),
        (content().replace(b'"scale": 0.5', b'"scale": 1e999'), "not_finite"),
        (content(generation=True), "wrong_type"),
        (content(generation=1.0), "wrong_type"),
        (content(generation=0), "out_of_range"),
        (content(generation=2**53), "out_of_range"),
        (content(token=-1), "out_of_range"),
        (content(ramp_steps=None), "wrong_type"),
        (content(reload=1), "wrong_type"),
        (content(reload="true"), "wrong_type"),
        (content(apply_at_step=-1), "out_of_range"),
        (content(not_after_step="7"), "wrong_type"),
        (content(incarnation=""), "out_of_range"),
        (content(incarnation="../x"), "out_of_range"),
        (content(run="x" * 129), "out_of_range"),
        (content(reason="\ud800"), "out_of_range"),
        (content(mac="XYZ"), "out_of_range"),
        (content(groups=[]), "wrong_type"),
        (content(groups={"0": 0}), "out_of_range"),
        (content(groups={"": 1}), "out_of_range"),
        (content(groups={str(i): 1 for i in range(MAX_GROUPS + 1)}), "out_of_range"),
    ],
)
def test_what_is_not_a_command_is_refused_with_a_code(data: bytes, code: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_desired(data)
    assert caught.value.code == code
    assert caught.value.detail


def test_every_prefix_of_a_valid_message_is_refused() -> None:
    for data, decode in ((encode(DESIRED), decode_desired), (encode(OBSERVED), decode_observed)):
        for length in range(len(data) - 1):  # the last byte is the newline, which says nothing
            with pytest.raises(ProtocolError):
                decode(data[:length])


@given(st.binary(max_size=300) | st.text().map(str.encode) | st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["v", "scale", "run"]), inner),
).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_bytes_are_a_message_or_a_protocol_error(data: bytes) -> None:
    decoders: list[Callable[[bytes], Desired | Observed]] = [decode_desired, decode_observed]
    for decode in decoders:
        try:
            message = decode(data)
        except ProtocolError:
            continue
        assert decode(encode(message)) == message


def test_an_observed_state_has_a_code_exactly_when_it_is_rejected() -> None:
    assert replace(OBSERVED, status="rejected", code="budget").code == "budget"
    with pytest.raises(ProtocolError, match="does not go with"):
        replace(OBSERVED, status="rejected")
    with pytest.raises(ProtocolError, match="does not go with"):
        replace(OBSERVED, status="applied", code="budget")
    with pytest.raises(ProtocolError, match="is none of"):
        replace(OBSERVED, status="fine")  # type: ignore[arg-type]


def test_the_largest_message_fits() -> None:
    names = {f"{i:032d}": 1.2345678901234567e-300 for i in range(MAX_GROUPS)}
    assert len(encode(replace(OBSERVED, schedule_lr=names, effective_lr=names))) <= MAX_BYTES


def test_a_signature_covers_every_other_field() -> None:
    signed = sign(DESIRED, KEY)
    assert verify(signed, KEY)
    assert verify(decode_desired(encode(signed)), KEY)
    assert not verify(signed, KEY + b"x")
    assert not verify(DESIRED, KEY)
    changes: list[dict[str, Any]] = [
        {"run": "b"}, {"incarnation": "i2"}, {"generation": 4}, {"token": 3}, {"scale": 0.25}, {"groups": None},
        {"apply_at_step": 1}, {"not_after_step": 1}, {"ramp_steps": 1}, {"reload": True}, {"reason": ""}, {"actor": "x"}, {"prev": "x"},
    ]  # fmt: skip
    for change in changes:
        assert not verify(replace(signed, **change), KEY), change


def test_a_flipped_bit_never_verifies() -> None:
    data = encode(sign(DESIRED, KEY))
    for place in range(len(data) * 8):
        forged = bytearray(data)
        forged[place // 8] ^= 1 << (place % 8)
        try:
            desired = decode_desired(bytes(forged))
        except ProtocolError:
            continue
        assert desired == sign(DESIRED, KEY) or not verify(desired, KEY)


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="16"):
        sign(DESIRED, b"short")
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
