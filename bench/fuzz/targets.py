"""What is fuzzed: each target takes bytes of anybody, and an AssertionError or any exception is a find.

A target is used in two ways: by atheris, which looks for bytes that reach new code (`make fuzz`), and by
tests/fuzz/test_targets.py, which gives it its seeds and some thousand damaged ones.
"""

from __future__ import annotations

import functools
import random
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from support.example_snapshots import CALM
from support.format_samples import LOGS, OUTPUT, cut, feed, samples
from support.report_page import Page

from lrwatch import config
from lrwatch.client.interlock import Limits, ScaleState
from lrwatch.client.judge import Rules, WorkerState, judge_command, judge_override
from lrwatch.core.events import Command, Finding, as_json
from lrwatch.core.names import LONGEST_NAME
from lrwatch.core.snapshot import MetricStatus, Snapshot
from lrwatch.errors import ConfigError, InputError
from lrwatch.explain.teach import learn, lines_of
from lrwatch.export.http import Server, text
from lrwatch.export.pages import page
from lrwatch.formats import FORMATS, by_name
from lrwatch.formats.pattern import Pattern
from lrwatch.protocol import Desired, Observed, ProtocolError, decode_desired, decode_observed, encode
from lrwatch.report import MetricCurve, ReportData
from lrwatch.report.page.page import render
from lrwatch.sources.metric_names import MAX_NAMES
from lrwatch.sources.table import read


@dataclass(frozen=True)
class Target:
    """One thing that is fuzzed.

    Attributes:
        one: Takes bytes; raises what is a find.
        seeds: Inputs to begin with.
        most: Bytes of an input at the most.
    """

    one: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    most: int = 4096


# ---- logs -----------------------------------------------------------------------------------------------------------


def _format(name: str, data: bytes) -> None:
    """Samples do not depend on how the log was cut into reads, nor on a restart between two of them."""
    whole = feed(by_name(name), [data])
    chance = random.Random(data[:16])  # the same cuts for the same bytes
    pieces = cut(data, [chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 9))])
    assert samples(feed(by_name(name), pieces)) == samples(whole)
    assert samples(feed(by_name(name), pieces, restart=True)) == samples(whole)
    assert sum(batch.lines for batch in whole) <= len(data) + 1
    for batch in whole:
        assert all(column.rows.max(initial=-1) < batch.rows for column in batch.columns.values())
        assert batch.rows == 0 or (batch.steps.min() >= 0 and batch.steps.max() <= 2**53)


def _document(data: bytes) -> None:
    """A document is read as a whole, or not at all."""
    for final in (False, True):
        batch, used = by_name("json").feed(data, final=final)
        assert used in (0, len(data))
        assert all(column.rows.max(initial=-1) < batch.rows for column in batch.columns.values())


def _log(data: bytes) -> None:
    """A file of any bytes is read, with few and short names, or is none that is understood."""
    with _File(data) as path:
        reading = read(path)
        names = reading.columns()
        assert len(names) <= 2 * MAX_NAMES
        assert all(len(name) <= LONGEST_NAME and name.encode() for name in names)


class _File:
    """A file in memory, with some bytes in it."""

    def __init__(self, data: bytes) -> None:
        self._file = tempfile.NamedTemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)  # noqa: SIM115
        self._file.write(data)
        self._file.flush()

    def __enter__(self) -> Path:
        return Path(self._file.name)

    def __exit__(self, *_: object) -> None:
        self._file.close()


# ---- the control directory -------------------------------------------------------------------------------------------

_LIMITS = Limits(min_scale=0.01, max_scale=1.0)


def _protocol(data: bytes) -> None:
    """A message is valid and is read again as it was written, or it is a ProtocolError."""
    for decode in (decode_desired, decode_observed):
        try:
            message = decode(data)
        except ProtocolError:
            continue
        assert decode(encode(message)) == message


def _judge(data: bytes) -> None:
    """Whatever a command or an override says, none that is accepted leaves the bounds."""
    content, _, override = data.partition(b"\0")
    state, rules = WorkerState("a", max_token=3), Rules("r", _LIMITS)
    for step in (0, 10, 2**53 - 2):
        for scale_state in (ScaleState(), ScaleState(scale=0.5, generation=2, commands=1, last_step=9)):
            try:
                decided = judge_command(
                    state, decode_desired(content), rules=rules, step=step, scale_state=scale_state, first_look=True
                )
            except ProtocolError:
                pass
            else:
                order = decided.state.order
                assert order is None or _LIMITS.min_scale <= order.scale <= _LIMITS.max_scale
            written = judge_override(state, override, rules=rules, step=step, scale_state=scale_state, rate=0.1)
            asked = written.state.order
            assert asked is None or _LIMITS.min_scale <= asked.scale <= _LIMITS.max_scale


_DESIRED = encode(Desired(run="r", incarnation="a", generation=3, token=3, scale=0.5, reason="plateau", ramp_steps=4))
_OBSERVED = encode(Observed(run="r", incarnation="a", step=600, scale=0.5, schedule_lr={"0": 0.1}))


# ---- settings ------------------------------------------------------------------------------------------------------


def _toml(data: bytes) -> None:
    """A configuration is valid, or one sentence says what is not."""
    with _File(data) as path:
        try:
            config.load(path)
        except ConfigError as error:
            said = str(error)
        else:
            return
    assert "\n" not in said.replace("\\n", ""), said
    assert len(said) < 2000, len(said)


_TOML = b"""[watch]
paths = ["runs/*.log", 'a']
pattern = ['step (?P<step>\\d+) loss (?P<loss>\\S+)']
[run]
total_steps = 1000
labels = {team = "a"}
[policy]
mode = "auto"
min_scale = 0.01
[daemon]
listen = "127.0.0.1:9767"
[operators]
allow = ["@ml", "1000"]
set = []
[export]
hosts = ["a.example"]
[notify]
urls = ["json://localhost"]
"""


def _pattern(data: bytes) -> None:
    """A pattern is used or refused in a sentence; a used one ends in time, and its samples do not depend on the cut."""
    expression, _, log = data.decode("utf-8", "surrogateescape").partition("\0")
    lines = log.encode("utf-8", "surrogateescape")
    try:
        reader = Pattern([expression])
    except ConfigError:
        return
    whole = feed(reader, [lines])
    assert samples(feed(Pattern([expression]), [lines[:7], lines[7:]])) == samples(whole)


def _teach(data: bytes) -> None:
    """What is learnt from a line finds the same numbers in it, or a sentence says why nothing was learnt."""
    values, _, log = data.partition(b"\0")
    names = dict(zip(("loss", "step", "lr"), values.decode("utf-8", "replace").split("|"), strict=False))
    with _File(log) as path:
        try:
            lesson = learn(lines_of(path), names, "the log")
        except InputError:
            return
    assert lesson.found >= 1
    Pattern([lesson.pattern])


# ---- what is served -------------------------------------------------------------------------------------------------


class _Watched(Server):
    """A server that notes exceptions instead of logging them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        super().__init__("127.0.0.1", 0, lambda path, accept: text(200, f"{len(path)} {len(accept)}"))

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):  # the client went away
            self.faults.append(traceback.format_exc())


@functools.cache
def _server() -> _Watched:
    server = _Watched()
    server.start()
    return server


def stop_server() -> None:
    """Stop the server that `http` asks, if it was started."""
    if _server.cache_info().currsize:
        _server().close()
        _server.cache_clear()


def _http(data: bytes) -> None:
    """Each request is answered with a status, and none ends in an exception."""
    server = _server()
    answer = b""
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=20) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while more := client.recv(65_536):
                answer += more
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert not server.faults, server.faults
    assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer[:100]


def _pages(data: bytes) -> None:
    """Names, words and labels of anybody are text on both pages: they have the elements and attributes of a tame run."""
    made, tame = _made(data), _made(b"a\0b\0c")
    for html, plain in zip(made, tame, strict=True):
        assert _markup(html) <= _markup(plain) | {("td", "title"), ("span", "title"), ("a", "title")}
        scripts = [Page(one).raw["script"] for one in (html, plain)]
        assert [one for one in scripts[0] if not one.startswith("{")] == [
            one for one in scripts[1] if not one.startswith("{")
        ]


def _made(data: bytes) -> tuple[str, str]:
    """Render the page of all runs and a report with the words of `data`, which NUL bytes separate."""
    parts = [part or "x" for part in data.decode("utf-8", "replace").split("\0")]
    name, metric, words = (parts * 3)[:3]
    status = replace(
        CALM, name=name, mode=words, problem=words, life_note=words, labels={"team": words},
        metrics=(MetricStatus(metric, 3, 0.5, words=words),),
    )  # fmt: skip
    steps = np.arange(4, dtype=np.int64)
    events = (
        as_json(Finding("plateau", metric, 2, {words: 0.5}, words), name),
        as_json(Command(2, 0.5, words), name) | {"generation": 1, "id": 1, "hash": words},
        {"event": "operator", "actor": name, "action": words, "step": 3, "note": words, "time": 2.0},
    )
    report = ReportData(
        run=name, title=words, metric=metric, axis="step",
        curves=(MetricCurve(metric, "train", steps, steps.astype(np.float64)),), events=events, facts=((name, words),),
    )  # fmt: skip
    return page(Snapshot(0.0, (status,))).decode(), render(report)


def _markup(html: str) -> set[tuple[str, str]]:
    """Return each element with each of its attributes; the parser fails where they are not closed as they were opened."""
    return {(tag, attribute) for tag, attributes, _ in Page(html).elements for attribute in (*attributes, "")}


_LINES = {
    "text": (LOGS["text"], OUTPUT),
    **{name: (log,) for name, log in LOGS.items() if name != "text"},
}
_HISTORY = (
    b'{"log_history": [{"step": 1, "loss": 2.5, "epoch": 0.1}, {"step": 2, "loss": NaN}], "max_steps": 9}',
    b'{"loss": [2.5, 2.25, null], "val_loss": [2.5, 2.0, 1.5], "epoch": [1, 2, 3]}',
    b'{"loss": {"steps": [1, 2], "values": [0.5, {"value": 0.25}], "timestamps": ["a", "b"]}}',
    b'{"meta":{"learn_metrics":[{"name":"RMSE"}],"learn_sets":["learn"]},"iterations":[{"learn":[0.5],"iteration":0},',
)
_REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip;q=0\r\n\r\n",
    b"HEAD /a?b#c HTTP/1.0\r\nAuthorization: Basic YTpi\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n",
)
_HOSTILE = (
    b"</td><script>alert(1)</script>\0\"onload='x'\0</title><svg onload=x>{{ 7*7 }}",
    "\u202eloss\u2066\0javascript:x\0\x1b[2J]]>--><!--".encode(),
)

TARGETS: dict[str, Target] = {
    **{
        f"format-{format_.name}": Target(functools.partial(_format, format_.name), _LINES[format_.name])
        for format_ in FORMATS
        if not format_.whole
    },
    "format-json": Target(_document, _HISTORY),
    "log": Target(_log, (*(logs[0] for logs in _LINES.values()), *_HISTORY)),
    "protocol": Target(_protocol, (_DESIRED, _OBSERVED)),
    "judge": Target(_judge, (_DESIRED + b"\0" + b"0.5\n", b"\0scale 0.5")),
    "toml": Target(_toml, (_TOML,)),
    "pattern": Target(_pattern, (b"step (?P<step>\\d+) loss (?P<loss>\\S+)\0step 1 loss 2.5\nstep 2 loss nan\n",), 512),
    "teach": Target(_teach, (b"2.31|12\0at 12 the fit was 2.31\nat 13 the fit was 2.25\n",), 1024),
    "http": Target(_http, _REQUESTS),
    "pages": Target(_pages, _HOSTILE, 512),
}
"""The targets by name."""
