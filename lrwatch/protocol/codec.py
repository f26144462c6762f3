"""Bytes to messages and back, and the signature of a command.

`encode` writes canonical JSON, so that equal messages are equal bytes and a signature can cover them. `decode_desired` and
`decode_observed` accept any bytes and either return a valid message or raise `ProtocolError`. `json` and `hmac` are
imported where they are used: both are a good part of the client's import time, and the training thread needs neither.
"""

from __future__ import annotations

from lrwatch.protocol.lean import TYPE_CHECKING, asdict, replace
from lrwatch.protocol.messages import MAX_BYTES, Desired, Message, Observed, ProtocolError

if TYPE_CHECKING:
    from typing import Any, TypeVar

    _M = TypeVar("_M", Desired, Observed)

VERSION = 1
"""Version of the format; a reader refuses a higher one."""

# HMAC-SHA256 with a shorter key could be guessed.
MIN_KEY_BYTES = 16


def encode(message: Message) -> bytes:
    """Return the message as canonical JSON: sorted keys, no spaces, ASCII, one newline at the end.

    Raises:
        ProtocolError: It is larger than `MAX_BYTES`.
    """
    data = _canonical(message)
    if len(data) > MAX_BYTES:
        raise ProtocolError("too_large", f"a message of {len(data)} bytes, at most {MAX_BYTES} are allowed")
    return data


def decode_desired(data: bytes) -> Desired:
    """Return the command in `data`; keys that this version does not know are left out.

    Raises:
        ProtocolError: `data` holds anything else.
    """
    return _decode(data, Desired)


def decode_observed(data: bytes) -> Observed:
    """Return the observed state in `data`; keys that this version does not know are left out.

    Raises:
        ProtocolError: `data` holds anything else.
    """
    return _decode(data, Observed)


def sign(desired: Desired, key: bytes) -> Desired:
    """Return the command with its `mac`: HMAC-SHA256 (RFC 2104) over the canonical bytes of all other fields.

    Raises:
        ProtocolError: The key is too short.
    """
    return replace(desired, mac=_mac(desired, key))


def verify(desired: Desired, key: bytes) -> bool:
    """Return whether the command carries the `mac` that `key` gives; every wrong one takes the same time."""
    import hmac

    return hmac.compare_digest(desired.mac, _mac(desired, key))


def _canonical(message: Message, *, without: str = "") -> bytes:
    import json

    content: dict[str, Any] = asdict(message)
    content.pop(without, None)
    if not content.get("reload", True):
        del content["reload"]
    content["v"] = VERSION
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii") + b"\n"


def _mac(desired: Desired, key: bytes) -> str:
    import hmac

    if len(key) < MIN_KEY_BYTES:
        raise ProtocolError("key", f"a key of {len(key)} bytes, at least {MIN_KEY_BYTES} are needed")
    return hmac.new(key, _canonical(desired, without="mac"), "sha256").hexdigest()


def _decode(data: bytes, kind: type[_M]) -> _M:
    content = _parse(data)
    version = content.get("v")
    if type(version) is not int or not 1 <= version <= VERSION:
        raise ProtocolError("version", f"version {version!r}, this reader knows 1 to {VERSION}")
    values: dict[str, Any] = {}
    for name in kind.__match_args__:
        if name in content:
            values[name] = content[name]
        elif not hasattr(kind, name):  # a field without a default
            raise ProtocolError("missing", f"the key {name!r}")
    return kind(**values)


def _parse(data: bytes) -> dict[str, Any]:
    import json

    if len(data) > MAX_BYTES:
        raise ProtocolError("too_large", f"{len(data)} bytes, at most {MAX_BYTES} are allowed")
    try:
        content: Any = json.loads(
            data.decode("utf-8"), object_pairs_hook=_without_duplicates, parse_constant=_no_constant
        )
    except ProtocolError:
        raise
    except UnicodeDecodeError as error:
        raise ProtocolError("not_utf8", str(error)) from None
    except RecursionError:
        raise ProtocolError("too_deep", "the nesting is too deep") from None
    except ValueError as error:  # JSONDecodeError, and integers of thousands of digits
        raise ProtocolError("not_json", str(error)) from None
    if not isinstance(content, dict):
        raise ProtocolError("wrong_type", f"a message is an object, found {type(content).__name__}")
    return content


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ProtocolError("duplicate_key", "a key stands twice in one object")
    return content


def _no_constant(name: str) -> Any:
    raise ProtocolError("not_finite", f"{name} is not a number")
