"""Messages as bytes, and the signature of a command."""

from __future__ import annotations

import json
from collections.abc import Callable
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
    replace,
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
        "effective_lr limits max_token client target_scale total_steps warm_until life goodbye pid pid_start machine "
        "not_acting two_trainers max_generation"
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


@pytest.mark.slow
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


def test_a_short_key_signs_nothing() -> None:
    with pytest.raises(ProtocolError, match="16"):
        sign(DESIRED, b"short")
