"""Requests that are none: each is answered in one line that repeats nothing of it, and nothing is logged."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator

import pytest

from lrwatch.export.http import Server, text

HOST = b"\r\nHost: localhost\r\n\r\n"
ANSWERS = {
    b"GET http://[ HTTP/1.1" + HOST: 400,
    b"GET http://[::1 HTTP/1.1" + HOST: 400,
    b"GET / HTTP/1.1 x" + HOST: 400,
    b"GET" + HOST: 400,
    b"GET /\r\n": 400,
    b"GET / HTTP/0.9" + HOST: 400,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n": 400,
    bytes(range(1, 10)) + b"\r\n": 400,
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: [\r\n\r\n": 403,
    b"GET / HTTP/1.1\r\nHost: \xff\x00\r\n\r\n": 403,
    b"GET / HTTP/1.1\r\nHost: localhost@evil.example\r\n\r\n": 403,
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1" + HOST: 414,
    b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000 + HOST: 431,
    b"GET / HTTP/1.1\r\n" + b"".join(b"X%d: y\r\n" % i for i in range(1000)) + b"\r\n": 431,
    b"POST / HTTP/1.1\r\nContent-Length: 3" + HOST + b"abc": 501,
    b"<script>alert(1)</script> / HTTP/1.1" + HOST: 501,
    b"GET / HTTP/9.9" + HOST: 505,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": 505,
    b"HEAD / HTTP/1.1" + HOST: 200,
    b"GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1"
    + HOST: 200,  # a path like any other: what it leads to is decided by equality
    b"GET /\x00\xff HTTP/1.1" + HOST: 200,
    b"GET / HTTP/1.0\r\n\r\n": 200,
}


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    server = Server("127.0.0.1", 0, lambda _path, _accept: text(200, "fine"))
    server.start()
    yield "127.0.0.1", server.server_address[1]
    server.close()


def ask(address: tuple[str, int], request: bytes) -> bytes:
    """Send bytes, and return all that is answered. The server may hang up while a long request is sent."""
    answer = b""
    with socket.create_connection(address, timeout=30) as client:
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65_536):
                answer += more
        except OSError:  # reset, broken pipe, or not connected any more
            pass
    return answer


@pytest.mark.parametrize("request_", ANSWERS, ids=lambda request: repr(request[:30]))
def test_each_is_answered_in_a_line_that_repeats_nothing(
    request_: bytes, address: tuple[str, int], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = ask(address, request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    # The rest of a long one may meet a closed connection, which discards the answer: a line has 64 KiB at the most, a request 100 lines.
    if answer or (len(request_) < 65_536 and request_.count(b"\r\n") < 100):
        assert head.startswith(b"HTTP/1.1 %d " % ANSWERS[request_])
        assert b"Content-Type: text/plain" in head
        assert b"script" not in answer
        assert body.count(b"\n") == (0 if request_.startswith(b"HEAD") else 1)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_it_serves_after_all_of_them(address: tuple[str, int]) -> None:
    assert b" 200 OK" in ask(address, b"GET / HTTP/1.1" + HOST)
