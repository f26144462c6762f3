"""TLS, client certificates and passwords, with real certificates, sockets and requests."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import logging
import os
import random
import re
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest
import trustme
from support.example_snapshots import FULL
from support.waiting import eventually

from lrwatch.errors import ConfigError
from lrwatch.export import Exporter
from lrwatch.export.http import CONNECTION_TIMEOUT_SECONDS, MAX_CONNECTIONS
from lrwatch.export.web_config import MAX_VERIFIED, WebConfig

# The least that bcrypt takes: these tests are not about how slow it is.
COST = 4
PASSWORD = "corre\u00e7t horse:battery"


def hashed(password: str = PASSWORD, cost: int = COST) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()


class Certificates:
    """An authority, what it issued for the server and for clients, and a stranger."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.authority, self.stranger = trustme.CA(), trustme.CA()
        self.authority.cert_pem.write_to_path(home / "ca.pem")
        self.issue("server.pem", "server.key", "localhost", "127.0.0.1")
        self.clients = {
            name: self._client(authority, name)
            for name, authority in (("prometheus.example", self.authority), ("other.example", self.authority), ("stranger.example", self.stranger))
        }  # fmt: skip

    def issue(self, cert: str, key: str, *names: str) -> None:
        issued = self.authority.issue_cert(*names)
        for name, content in ((cert, issued.cert_chain_pems[0].bytes()), (key, issued.private_key_pem.bytes())):
            (self.home / f"{name}.new").write_bytes(content)
            (self.home / f"{name}.new").replace(self.home / name)

    def _client(self, authority: trustme.CA, name: str) -> Path:
        path = self.home / f"{name}.pem"
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        return path

    def trusting(self, client: str = "") -> ssl.SSLContext:
        """What a client of the authority speaks, with a certificate of its own where it is named."""
        context = ssl.create_default_context(cafile=str(self.home / "ca.pem"))
        if client:
            context.load_cert_chain(self.clients[client])
        return context


class Site:
    """An exporter behind a web configuration that can be written again."""

    def __init__(self, home: Path, settings: dict[str, object], address: str = "127.0.0.1:0") -> None:
        self.file = home / "web.yml"
        self.write(settings)
        self.exporter = Exporter(address, web_config=self.file)
        self.exporter.publish(FULL)
        _, self.port = self.exporter.start()

    def write(self, settings: dict[str, object]) -> None:
        """JSON is YAML. Renamed into its place, as programs should."""
        new = self.file.with_suffix(".new")
        new.write_text(json.dumps(settings))
        new.replace(self.file)

    def ask(
        self, context: ssl.SSLContext | None, password: str = "", user: str = "anna", path: str = "/readyz", host: str = "localhost"
    ) -> int:  # fmt: skip
        headers = {"Host": host}
        if password:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        return self.ask_with(context, headers, path)[0]

    def ask_with(
        self, context: ssl.SSLContext | None, headers: dict[str, str], path: str = "/readyz"
    ) -> tuple[int, http.client.HTTPMessage]:
        if context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        else:
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=context)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers
        finally:
            connection.close()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


def tls(certificates: Certificates, **more: object) -> dict[str, object]:
    home = certificates.home
    return {"cert_file": str(home / "server.pem"), "key_file": str(home / "server.key"), **more}


def protected(certificates: Certificates, password: str = PASSWORD, cost: int = COST) -> dict[str, object]:
    return {"tls_server_config": tls(certificates), "basic_auth_users": {"anna": hashed(password, cost)}}


@pytest.fixture
def site(tmp_path: Path, certificates: Certificates) -> Iterator[Site]:
    site = Site(tmp_path, protected(certificates), "0.0.0.0:0")
    yield site
    site.exporter.close()


def test_every_page_is_read_over_tls_with_the_right_password_only(site: Site, certificates: Certificates) -> None:
    assert site.exporter.url.startswith("https://0.0.0.0:")
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        assert site.ask(certificates.trusting(), PASSWORD, path=path) == 200
        assert site.ask(certificates.trusting(), "wrong", path=path) == 401
        assert site.ask(certificates.trusting(), path=path) == 401
    assert site.ask(certificates.trusting(), PASSWORD, user="bob") == 401
    assert site.ask(certificates.trusting(), "x" * 100) == 401
    assert site.ask(certificates.trusting(), PASSWORD[:3] + "\0" + PASSWORD[3:]) == 401


def test_a_client_is_asked_for_its_password(site: Site, certificates: Certificates) -> None:
    status, headers = site.ask_with(certificates.trusting(), {"Host": "localhost"})
    assert (status, headers["WWW-Authenticate"]) == (401, 'Basic realm="lrwatch", charset="UTF-8"')


@pytest.mark.parametrize("header", ["Bearer x", "Basic", "Basic !!!!", "Basic /////w==", "Basic YW5uYQ==", "\xff"])
def test_an_authorization_that_makes_no_sense_is_refused(site: Site, certificates: Certificates, header: str) -> None:
    assert site.ask_with(certificates.trusting(), {"Host": "localhost", "Authorization": header})[0] == 401


def test_the_host_is_checked_behind_tls_too(site: Site, certificates: Certificates) -> None:
    assert site.ask(certificates.trusting(), PASSWORD, host="evil.example") == 403


def test_a_client_that_speaks_plain_http_is_told_so(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"this address speaks https only" in client.recv(4096)


def test_a_password_is_compared_by_bcrypt_once(site: Site, certificates: Certificates) -> None:
    site.write(protected(certificates, cost=10))
    context = certificates.trusting()
    taken = []
    for _ in range(6):
        began = time.perf_counter()
        assert site.ask(context, PASSWORD) == 200
        taken.append(time.perf_counter() - began)
    assert min(taken[1:]) < taken[0] / 2


def test_the_passwords_that_are_remembered_are_bounded(tmp_path: Path) -> None:
    # The same password may be written in many hashes; each is remembered on its own.
    file = tmp_path / "web.yml"
    users = {f"user{i}": hashed("x") for i in range(MAX_VERIFIED + 5)}
    file.write_text(json.dumps({"basic_auth_users": users}))
    config = WebConfig(file)
    for user in users:
        assert config.admits("Basic " + base64.b64encode(f"{user}:x".encode()).decode()) == "admitted"
    assert len(config._verified) == MAX_VERIFIED
    assert config.admits("Basic " + base64.b64encode(b"user0:x").decode()) == "admitted"


def test_a_changed_file_holds_from_the_next_request_on(site: Site, certificates: Certificates) -> None:
    assert site.ask(certificates.trusting(), PASSWORD) == 200
    site.write(protected(certificates, "new"))
    assert site.ask(certificates.trusting(), PASSWORD) == 401
    assert site.ask(certificates.trusting(), "new") == 200


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"basic_auth_users": {"anna": "plain"}}, "bcrypt hash"),
        ({"basic_auth_users": {}}, "no tls_server_config"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
def test_a_change_that_cannot_be_used_or_would_open_the_listener_is_logged_once_and_changes_nothing(
    site: Site, certificates: Certificates, settings: dict[str, object], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    site.write(settings)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert site.ask(certificates.trusting(), PASSWORD) == 200
            assert site.ask(certificates.trusting(), "wrong") == 401
    (record,) = caplog.records
    assert reason in record.getMessage()
    assert "the listener keeps" in record.getMessage()


def test_a_renewed_certificate_is_served_and_half_of_one_is_not(site: Site, certificates: Certificates) -> None:
    def serial() -> object:
        with (
            socket.create_connection(("127.0.0.1", site.port), timeout=10) as plain,
            certificates.trusting().wrap_socket(plain, server_hostname="localhost") as client,
        ):
            about = client.getpeercert()
            assert about is not None
            return about["serialNumber"]

    before, key = serial(), (certificates.home / "server.key").read_bytes()
    certificates.issue("server.pem", "other.key", "localhost", "127.0.0.1")  # its key comes a moment later
    assert serial() == before
    (certificates.home / "other.key").replace(certificates.home / "server.key")
    assert (certificates.home / "server.key").read_bytes() != key
    assert serial() != before


def test_clients_need_a_certificate_of_the_authority_and_one_of_the_names(
    tmp_path: Path, certificates: Certificates
) -> None:
    mutual = tls(
        certificates, client_auth_type="RequireAndVerifyClientCert", client_ca_file=str(certificates.home / "ca.pem"),
        client_allowed_sans=["prometheus.example"],
    )  # fmt: skip
    site = Site(tmp_path, {"tls_server_config": mutual}, "0.0.0.0:0")
    try:
        assert site.ask(certificates.trusting("prometheus.example")) == 200
        for client in ("", "other.example", "stranger.example"):
            with pytest.raises((OSError, http.client.HTTPException)):
                site.ask(certificates.trusting(client))
    finally:
        site.exporter.close()


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"cipher_suites": ["TLS_AES_128_GCM_SHA256"]}, "cipher_suites"),
        ({"client_auth_type": "RequireAnyClientCert"}, "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"),
        ({"client_auth_type": "RequireAndVerifyClientCert"}, "client_ca_file"),
        ({"min_version": "TLS10"}, "one of TLS12, TLS13"),
        ({"cert_file": "nowhere.pem"}, "nowhere.pem"),
        ({"key_file": "ca.pem"}, "key that fits"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_an_error_that_says_so(
    tmp_path: Path, certificates: Certificates, settings: dict[str, object], reason: str
) -> None:
    file = certificates.home / f"web{abs(hash(reason))}.yml"
    file.write_text(json.dumps({"tls_server_config": {**tls(certificates), **settings}}))
    with pytest.raises(ConfigError, match=reason):
        WebConfig(file)


@pytest.mark.parametrize(
    ("has_tls", "has_users", "lacks"),
    [(True, False, "neither basic_auth_users nor"), (False, True, "no tls_server_config")],
)
def test_half_of_the_protection_is_not_enough_for_other_machines_and_is_for_this_one(
    tmp_path: Path, certificates: Certificates, has_tls: bool, has_users: bool, lacks: str
) -> None:
    settings: dict[str, object] = {"tls_server_config": tls(certificates)} if has_tls else {}
    settings |= {"basic_auth_users": {"anna": hashed()}} if has_users else {}
    with pytest.raises(ConfigError, match=lacks):
        Site(tmp_path, settings, "0.0.0.0:0")
    site = Site(tmp_path, settings)
    assert site.ask(certificates.trusting() if has_tls else None, PASSWORD) == 200
    site.exporter.close()


def test_clients_that_dawdle_in_the_handshake_hold_up_nobody(site: Site, certificates: Certificates) -> None:
    slow = [socket.create_connection(("127.0.0.1", site.port), timeout=10) for _ in range(2 * MAX_CONNECTIONS)]
    try:
        for client in slow[::2]:
            client.send(b"\x16\x03\x01")
        assert site.ask(certificates.trusting(), PASSWORD) == 200
        threads = [thread for thread in threading.enumerate() if "process_request" in thread.name]
        assert len(threads) <= MAX_CONNECTIONS + 1
    finally:
        for client in slow:
            client.close()
    eventually(
        lambda: not any("process_request" in thread.name for thread in threading.enumerate()),
        2 * CONNECTION_TIMEOUT_SECONDS,
    )


def test_a_flood_of_wrong_passwords_leaves_those_who_were_admitted_alone(
    site: Site, certificates: Certificates
) -> None:
    site.write(protected(certificates, cost=9))
    assert site.ask(certificates.trusting(), PASSWORD) == 200
    done = threading.Event()

    def guess() -> None:
        context = certificates.trusting()
        while not done.is_set():
            assert site.ask(context, os.urandom(4).hex()) in (401, 503)

    guessers = [threading.Thread(target=guess) for _ in range(6)]
    for guesser in guessers:
        guesser.start()
    context = certificates.trusting()
    statuses = {site.ask(context, PASSWORD) for _ in range(5)}
    done.set()
    for guesser in guessers:
        guesser.join()
    assert statuses == {200}


def test_the_example_of_the_docs_is_one(tmp_path: Path, certificates: Certificates) -> None:
    page = (Path(__file__).parents[2] / "docs/listener.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(tls_server_config:.*?)```", page, re.DOTALL)
    for name in ("server.pem", "server.key", "ca.pem"):
        (tmp_path / name).write_bytes((certificates.home / name).read_bytes())
    (tmp_path / "web.yml").write_text(example)
    config = WebConfig(tmp_path / "web.yml")
    config.demand_protection()
    assert config.admits("Basic " + base64.b64encode(b"prometheus:only an example").decode()) == "admitted"


def test_without_the_packages_of_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ConfigError, match=r"no bcrypt\. Install them: pip install 'lrwatch\[tls\]'"):
        WebConfig(tmp_path / "web.yml")


def test_bytes_that_are_no_tls_are_survived(
    site: Site, certificates: Certificates, capfd: pytest.CaptureFixture[str]
) -> None:
    rng = random.Random(7)
    for length in (0, 1, 5, 300, 70_000):
        client = socket.create_connection(("127.0.0.1", site.port), timeout=10)
        with client, contextlib.suppress(OSError):
            client.sendall(b"\x16\x03\x01" + rng.randbytes(length))
            client.shutdown(socket.SHUT_WR)
    assert site.ask(certificates.trusting(), PASSWORD) == 200
    assert capfd.readouterr() == ("", "")
