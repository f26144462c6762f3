"""TLS, client certificates and passwords of the listener, in the web configuration of Prometheus' exporters.

The form is that of exporter-toolkit, so one file serves every exporter of a machine. It is read again when it, or a certificate,
has changed. What cannot be used then is logged, and the listener keeps what it had: a certificate that is being renewed must not
take the listener down, and a typing error must not open it. A key that lrwatch cannot honour is an error, never ignored.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import logging
import re
import secrets
import ssl
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from lrwatch import settings_file
from lrwatch.errors import ConfigError

# Passwords that were found right, and need no bcrypt again; users are few.
MAX_VERIFIED = 100

# Seconds for which a request waits while the passwords of others are compared: bcrypt is slow on purpose, and one at a time
# takes at most one core from the training.
BUSY_SECONDS = 5.0

# bcrypt looks at no more bytes of a password.
_MAX_PASSWORD_BYTES = 72

# A cost of 14 takes about a second.
_BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-4])\$[./A-Za-z0-9]{53}")

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}

# The other policies of Go's TLS take certificates that nobody has verified, which Python's TLS cannot do, and nobody should.
_POLICIES = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}

_log = logging.getLogger(__name__)

Admission = Literal["admitted", "refused", "busy"]

_Stamp = tuple[tuple[int, int, int] | None, ...]


class _TlsSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cert_file: str
    key_file: str
    client_auth_type: str = "NoClientCert"
    client_ca_file: str = ""
    client_allowed_sans: tuple[str, ...] = ()
    min_version: str = "TLS12"
    max_version: str = "TLS13"
    prefer_server_cipher_suites: bool = True


class _HttpSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    http2: bool = True  # there is none here, which no client notices


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    tls_server_config: _TlsSection | None = None
    http_server_config: _HttpSection | None = None
    basic_auth_users: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class _Access:
    """What one reading of the files gave.

    Attributes:
        context: Speaks TLS, or None for plain HTTP.
        names: Alternative names of which a client certificate must have one; empty for any.
        users: The bcrypt hash of each user's password; empty where no password is required.
        files: The files that were read. stamp: What they looked like before.
    """

    context: ssl.SSLContext | None
    names: frozenset[str]
    users: Mapping[str, bytes]
    files: tuple[Path, ...]
    stamp: _Stamp

    @property
    def lacks(self) -> str:
        """The missing protection without which other machines may not reach the listener, or ""."""
        if self.context is None:
            return "no tls_server_config"
        if not self.users and self.context.verify_mode != ssl.CERT_REQUIRED:
            return "neither basic_auth_users nor client_auth_type RequireAndVerifyClientCert"
        return ""


class WebConfig:
    """A web configuration file, as it is now. Many threads may ask it at once.

    Args:
        path: The file.

    Raises:
        ConfigError: The file, or one that it names, cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._must_protect = False
        self._lock = threading.Lock()
        self._failed: _Stamp | None = None
        self._access = _read(path)
        self._one_at_a_time = threading.Lock()
        # Keyed, so that neither a password nor anything that could be compared step by step is kept.
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, None] = {}

    def demand_protection(self) -> None:
        """Require TLS and authentication, from now on and of every later version of the file.

        Raises:
            ConfigError: The file does not ask for both.
        """
        self._must_protect = True
        self._check(self._access)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context for the next client, or None for plain HTTP."""
        return self._current().context

    def knows(self, certificate: Mapping[str, Any] | None) -> bool:
        """Tell whether a client certificate, which TLS has verified, has one of the names that are allowed."""
        names = self._current().names
        given = () if certificate is None else certificate.get("subjectAltName", ())
        return not names or not names.isdisjoint(_plain_name(name) for _, name in given)

    def admits(self, authorization: str) -> Admission:
        """Judge the Authorization header of a request."""
        users = self._current().users
        if not users:
            return "admitted"
        user, password = _basic(authorization)
        # An unknown user takes as long as a known one with a wrong password.
        hashed = users.get(user, next(iter(users.values())))
        token = hmac.digest(self._key, b"\0".join([user.encode(), hashed, password]), hashlib.sha256)
        if user in users and token in self._verified:
            return "admitted"
        if not authorization or not self._one_at_a_time.acquire(timeout=BUSY_SECONDS):
            return "busy" if authorization else "refused"
        try:
            right = _is_right(password, hashed) and user in users
            if right:
                while len(self._verified) >= MAX_VERIFIED:
                    del self._verified[next(iter(self._verified))]
                self._verified[token] = None
        finally:
            self._one_at_a_time.release()
        return "admitted" if right else "refused"

    def _current(self) -> _Access:
        """Return what the files say now, or what they said before where they cannot be used."""
        with self._lock:
            stamp = _stamp(self._access.files)
            if stamp not in (self._access.stamp, self._failed):
                try:
                    access = _read(self._path)
                    self._check(access)
                except ConfigError as error:
                    self._failed = stamp
                    _log.error("the listener keeps the TLS and passwords that it had: %s", error)
                else:
                    self._access, self._failed = access, None
            return self._access

    def _check(self, access: _Access) -> None:
        if self._must_protect and access.lacks:
            raise ConfigError(
                expected="TLS and authentication, because other machines can reach the address", found=access.lacks,
                where=str(self._path),
                hint="Add it, listen on 127.0.0.1, or give --insecure-listen if a proxy or a network policy protects the address.",
            )  # fmt: skip


def _read(path: Path) -> _Access:
    """Read a web configuration and the files that it names.

    Raises:
        ConfigError: One of them cannot be used.
    """
    try:
        import bcrypt  # noqa: F401  here, so that the first request is not the one that finds it missing
        import yaml  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            expected="the packages of the extra `tls`", found=f"no {error.name}", where=str(path),
            hint="Install them: pip install 'lrwatch[tls]'",
        ) from error  # fmt: skip
    stamp = _stamp([path])
    try:
        file = msgspec.yaml.decode(
            settings_file.read(
                path, expected="a web configuration", where=str(path), hint="Check the path given with --web-config."
            ),
            type=_File,
        )
    except OSError as error:
        raise ConfigError(
            expected="a web configuration that can be read", found=error.strerror or str(error), where=str(path),
            hint="Check the path given with --web-config.",
        ) from error  # fmt: skip
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(
            expected="a web configuration of exporter-toolkit, with the keys that lrwatch can honour", found=str(error),
            where=str(path),
            hint="docs/listener.md lists the keys.",
        ) from error  # fmt: skip
    for user, hashed in file.basic_auth_users.items():
        if ":" in user or not _BCRYPT.fullmatch(hashed):
            raise ConfigError(
                expected="a bcrypt hash of cost 4 to 14 for a user without a colon", found="something else",
                where=f"{path}, basic_auth_users, {user!r}", hint="Make one with: htpasswd -nBC 10 USER",
            )  # fmt: skip
    tls = file.tls_server_config
    names = [] if tls is None else [tls.cert_file, tls.key_file, tls.client_ca_file]
    files = tuple(path.parent / name for name in names if name)
    return _Access(
        None if tls is None else _context(path, tls),
        frozenset(() if tls is None else map(_plain_name, tls.client_allowed_sans)),
        {user: hashed.encode() for user, hashed in file.basic_auth_users.items()},
        (path, *files),
        (*stamp, *_stamp(files)),
    )


def _context(path: Path, tls: _TlsSection) -> ssl.SSLContext:
    """Make the context of a TLS section.

    Raises:
        ConfigError: A file cannot be used, or a word is not one of its key.
    """
    for key, value, known in (
        ("client_auth_type", tls.client_auth_type, _POLICIES),
        ("min_version", tls.min_version, _VERSIONS),
        ("max_version", tls.max_version, _VERSIONS),
    ):
        if value not in known:
            raise ConfigError(
                expected=f"one of {', '.join(known)}", found=repr(value), where=f"{path}, tls_server_config, {key}",
                hint="lrwatch has no others: they would verify nothing, or are broken.",
            )  # fmt: skip
    policy = _POLICIES[tls.client_auth_type]
    halves = (policy == ssl.CERT_NONE) != (not tls.client_ca_file)
    if halves or (tls.client_allowed_sans and policy != ssl.CERT_REQUIRED):
        raise ConfigError(
            expected="client_ca_file with a client_auth_type that verifies, and client_allowed_sans only with RequireAndVerifyClientCert",
            found=f"client_auth_type {tls.client_auth_type}, client_ca_file {tls.client_ca_file!r}",
            where=f"{path}, tls_server_config", hint="Give both or neither.",
        )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version, context.maximum_version = _VERSIONS[tls.min_version], _VERSIONS[tls.max_version]
    context.verify_mode = policy
    named = f"cert_file {tls.cert_file!r}, key_file {tls.key_file!r}"
    try:
        # A password, even an empty one, keeps OpenSSL from asking for it at the terminal.
        context.load_cert_chain(path.parent / tls.cert_file, path.parent / tls.key_file, password="")
        if tls.client_ca_file:
            named = f"client_ca_file {tls.client_ca_file!r}"
            context.load_verify_locations(path.parent / tls.client_ca_file)
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        raise ConfigError(
            expected="certificates in PEM form, with a key that fits and has no passphrase",
            found=getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error),
            where=f"{path}, tls_server_config, {named}", hint="Relative paths start from that file's directory.",
        ) from error  # fmt: skip
    return context


def _stamp(files: Iterable[Path]) -> _Stamp:
    """Return what tells versions of files apart; None stands for a file that is not there."""
    return tuple(_looks(file) for file in files)


def _looks(file: Path) -> tuple[int, int, int] | None:
    try:
        about = file.stat()
    except OSError:
        return None
    return about.st_mtime_ns, about.st_size, about.st_ino


def _plain_name(name: str) -> str:
    """Return an alternative name in one form: IPv6 addresses have several."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return name


def _basic(authorization: str) -> tuple[str, bytes]:
    """Return user and password of a Basic Authorization header; both are empty where it is none."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return user.decode(), password
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return "", b""


def _is_right(password: bytes, hashed: bytes) -> bool:
    import bcrypt

    # The library refuses a longer one, and one with a NUL byte would end there.
    if len(password) > _MAX_PASSWORD_BYTES or b"\0" in password:
        return False
    return bool(bcrypt.checkpw(password, hashed))
