from __future__ import annotations

import gzip
import http.client
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.example_snapshots import CALM, FULL, WAITING
from support.waiting import eventually

from lrwatch.core.snapshot import Snapshot
from lrwatch.errors import ConfigError, InputError, UsageError
from lrwatch.export import Exporter
from lrwatch.export.exporter import UNHEALTHY_AFTER_SECONDS
from lrwatch.export.http import MAX_CONNECTIONS
from lrwatch.export.metrics import METRICS
from lrwatch.export.pages import MAX_RUNS_SHOWN, page


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A started exporter and its address."""

    def __init__(self, address: str = "127.0.0.1:0") -> None:
        self.clock = Clock()
        self.exporter = Exporter(address, clock=self.clock)
        self.host, self.port = self.exporter.start()

    @classmethod
    def of(cls, exporter: Exporter) -> Site:
        """Start an exporter with settings of its own."""
        site = cls.__new__(cls)
        site.exporter = exporter
        site.host, site.port = exporter.start()
        return site

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
        status, body, found = self.bytes(path, method, **headers)
        return status, body.decode(), found

    def bytes(self, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def dial(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=10)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.exporter.close()


def test_metrics_serves_every_name_of_the_contract(site: Site) -> None:
    site.exporter.publish(FULL)
    site.exporter.observe_loop(0.02)
    status, text, headers = site.ask("/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = {f.name: f for f in text_string_to_metric_families(text)}
    served = {s.name for f in families.values() for s in f.samples}
    for metric in METRICS:
        name = f"{metric.name}_count" if metric.type == "histogram" else metric.name
        assert name in served
    assert "process_resident_memory_bytes" in served
    assert not [name for name in served if name.endswith("_created")]


def test_prometheus_gets_the_format_that_it_asks_for(site: Site) -> None:
    _, text, headers = site.ask("/metrics", Accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [("gzip", "gzip"), ("deflate, GZIP;q=0.5", "gzip"), ("identity", None), ("gzip;q=0", None), ("", None)],
)  # fmt: skip
def test_an_exposition_is_compressed_for_who_reads_that(site: Site, accepted: str, encoding: str | None) -> None:
    site.exporter.publish(FULL)
    status, body, headers = site.bytes("/metrics", **{"Accept-Encoding": accepted})
    assert (status, headers.get("Content-Encoding"), int(headers["Content-Length"])) == (200, encoding, len(body))
    plain = gzip.decompress(body) if encoding == "gzip" else body
    assert len(plain) > 4 * len(body) or encoding is None
    assert b'lrwatch_run_up{run="gpt2"} 1.0' in plain


@pytest.mark.parametrize("accept", ["application/openmetrics-text;version=x", "text/plain;version=1.a", "\xff,;=;"])
def test_an_accept_header_that_makes_no_sense_gets_the_plain_format(site: Site, accept: str) -> None:
    status, _, headers = site.ask("/metrics", Accept=accept)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")


def test_loops_and_notifications_are_counted(site: Site) -> None:
    site.exporter.observe_loop(0.3)
    site.exporter.observe_loop(100.0)
    site.exporter.notifications.inc()
    _, text, _ = site.ask("/metrics")
    assert "lrwatch_loop_duration_seconds_count 2.0\n" in text
    assert 'lrwatch_loop_duration_seconds_bucket{le="0.5"} 1.0\n' in text
    assert "lrwatch_notifications_total 1.0\n" in text
    assert "lrwatch_notifications_failed_total 0.0\n" in text


def test_health_turns_bad_when_the_loop_stops_publishing_and_good_when_it_goes_on(site: Site) -> None:
    assert site.ask("/healthz")[:2] == (200, "ok\n")
    site.clock.now += UNHEALTHY_AFTER_SECONDS + 23
    status, text, _ = site.ask("/healthz")
    assert status == 503
    assert "83 s" in text
    site.exporter.publish(FULL)
    assert site.ask("/healthz")[0] == 200


def test_ready_after_the_first_publication(site: Site) -> None:
    assert site.ask("/readyz")[0] == 503
    site.exporter.publish(Snapshot(0.0))
    assert site.ask("/readyz")[:2] == (200, "ok\n")


def test_other_paths_are_not_found_and_queries_do_not_matter(site: Site) -> None:
    assert site.ask("/metrics/")[0] == 404
    assert site.ask("/../etc/passwd")[0] == 404
    assert site.ask("/healthz?probe=1")[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_but_reading_is_understood(site: Site, method: str) -> None:
    assert site.ask("/metrics", method=method)[0] == 501


def test_head_has_the_headers_of_get_and_no_body(site: Site) -> None:
    _, body, headers = site.ask("/healthz", method="HEAD")
    assert body == ""
    assert headers["Content-Length"] == "3"


def test_the_landing_page_shows_the_runs_and_escapes_their_names(site: Site) -> None:
    evil = replace(CALM, name="<script>alert(1)</script>\ud800", wanted=0.25)
    site.exporter.publish(Snapshot(0.0, (evil, WAITING)))
    status, html, headers = site.ask("/")
    assert status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert html.count("<script") == 1  # our own, whose hash the policy names
    assert "script-src 'sha256-" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "&lt;script&gt;alert(1)" in html
    assert "plateau" in html
    assert "val/loss 3.5" in html
    assert "0.5, 0.25 sent" in html
    assert "no file matches runs/resnet/*.jsonl" in html
    assert 'href="/metrics"' in html


def test_the_landing_page_is_bounded_and_says_so() -> None:
    html = page(Snapshot(0.0, (WAITING,) * (MAX_RUNS_SHOWN + 3))).decode()
    assert html.count("<td") == 6 * MAX_RUNS_SHOWN
    assert "and 3 more" in html
    assert "No run is watched yet" in page(None).decode()


@pytest.mark.parametrize("name", ["evil.example", "evil.example:9767", "[bad", "127.0.0.1.evil.example"])
def test_a_name_that_was_pointed_at_this_machine_is_refused(site: Site, name: str) -> None:
    assert site.ask("/metrics", Host=name)[0] == 403


@pytest.mark.parametrize("name", ["localhost", "localhost:9767", "127.0.0.1:1", "[::1]:9767", ""])
def test_local_names_are_answered(site: Site, name: str) -> None:
    assert site.ask("/metrics", Host=name)[0] == 200


def test_a_name_is_checked_on_every_address_and_further_ones_are_a_setting() -> None:
    exporter = Exporter("0.0.0.0:0", insecure=True, hosts=("lrwatch", ".cluster.local"))
    site = Site.of(exporter)
    try:
        assert site.host == "0.0.0.0"
        for name in ("lrwatch:9767", "LRWATCH", "a.b.cluster.local:1", "10.0.0.7", socket.gethostname()):
            assert site.ask("/readyz", Host=name)[0] == 503, name
        for name in ("evil.example", "lrwatch.evil.example", "cluster.local", "notcluster.local"):
            assert site.ask("/readyz", Host=name)[0] == 403, name
    finally:
        exporter.close()


def test_hosts_may_be_any() -> None:
    exporter = Exporter("127.0.0.1:0", hosts=("*",))
    site = Site.of(exporter)
    assert site.ask("/readyz", Host="evil.example")[0] == 503
    exporter.close()


def test_other_machines_read_nothing_unless_that_is_said() -> None:
    exporter = Exporter("0.0.0.0:0")
    with pytest.raises(
        ConfigError, match=r"--listen 0\.0\.0\.0:0: expected TLS and authentication.*--web-config.*--insecure-listen"
    ):
        exporter.start()
    assert exporter.url == ""


def test_a_connection_brings_several_requests(site: Site) -> None:
    site.exporter.publish(FULL)
    connection = http.client.HTTPConnection(site.host, site.port, timeout=10)
    socket_of = None
    for path, status in (("/healthz", 200), ("/nothing", 404), ("/metrics", 200)):
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is not None
        assert socket_of in (None, connection.sock)
        socket_of = connection.sock
    connection.close()


def test_the_body_of_a_request_is_not_taken_for_the_next_one(site: Site) -> None:
    smuggled = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with site.dial() as client:
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(smuggled))
        client.sendall(smuggled)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"Connection: close" in answer


def test_clients_that_dawdle_do_not_hold_up_a_scrape(site: Site) -> None:
    site.exporter.publish(FULL)
    slow = [site.dial() for _ in range(3 * MAX_CONNECTIONS)]
    try:
        for client in slow:
            client.send(b"GET /metr")
        assert site.ask("/metrics")[0] == 200
        eventually(lambda: open_connections() <= MAX_CONNECTIONS)
        slow[-1].sendall(b"ics HTTP/1.0\r\n\r\n")
        assert slow[-1].recv(15).startswith(b"HTTP/1.1 200")
    finally:
        for client in slow:
            client.close()


def open_connections() -> int:
    """Threads that serve a connection; those that were hung up on end by and by."""
    return sum("process_request" in thread.name for thread in threading.enumerate())


def test_a_client_that_goes_away_in_the_middle_leaves_no_trace(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(20):
        with site.dial() as client:
            client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
    assert site.ask("/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_bytes_that_are_no_http_are_survived(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    for junk in (b"\x16\x03\x01\x02\x00\x01", b"\xff" * 70_000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n"):
        with site.dial() as client:
            client.sendall(junk)
            client.shutdown(socket.SHUT_WR)
    assert site.ask("/healthz")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_closing_hangs_up_on_everybody_and_gives_the_address_back() -> None:
    site = Site()
    lingering = site.dial()
    eventually(lambda: any("process_request" in t.name for t in threading.enumerate()))
    site.exporter.close()
    site.exporter.close()
    assert lingering.recv(1) == b""
    lingering.close()
    again = Exporter(f"127.0.0.1:{site.port}")
    assert again.start() == ("127.0.0.1", site.port)
    again.close()


def test_an_exporter_that_was_never_started_can_be_closed() -> None:
    exporter = Exporter("127.0.0.1:0")
    exporter.publish(FULL)
    exporter.close()
    assert exporter.start()[1] > 0
    exporter.close()


def test_an_address_in_use_is_an_error_in_words(site: Site) -> None:
    with pytest.raises(InputError, match=rf"127.0.0.1:{site.port}: expected an address.*in use.*--listen"):
        Exporter(f"127.0.0.1:{site.port}").start()


def test_a_host_that_does_not_exist_is_an_error_in_words() -> None:
    with pytest.raises(InputError, match=r"no-such-host\.invalid:0"):
        Exporter("no-such-host.invalid:0").start()


@pytest.mark.parametrize(
    "address",
    ["", "9767", "localhost", "localhost:", "localhost:http", "localhost:-1", "localhost:65536", "::1:9767", "[::1]",
     "[host]:1", "1:2:3", "x" * 70 + ":1", "host:\uff11", "host:" + "9" * 5000],
)  # fmt: skip
def test_an_address_that_cannot_be_understood_is_a_usage_error(address: str) -> None:
    with pytest.raises(UsageError, match="--listen: expected"):
        Exporter(address)


def test_without_a_host_only_this_machine_is_served() -> None:
    exporter = Exporter(":0")
    host, port = exporter.start()
    exporter.close()
    assert host == "127.0.0.1"
    assert port > 0


def test_ipv6_is_served_too() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    site = Site("[::1]:0")
    assert site.ask("/healthz")[0] == 200
    site.exporter.close()
