"""The tools of `lrwatch mcp` against a real daemon: what they tell, what they refuse, and that nobody talks them into more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.hostile_agent import ODD_NAMES, ORDER, SECRET, HostileWorld, assault, hostile_world

from lrwatch.cli.agent_tools import INSTRUCTIONS, MAX_CHANGES, MAX_TEXT, TOOLS, Tools, shortened

pytestmark = pytest.mark.slow

Json = dict[str, Any]

# `make fuzz-mcp` makes a hundred thousand.
CALLS = 1_200


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostileWorld]:
    with hostile_world(tmp_path_factory.mktemp("world")) as made:
        yield made


@pytest.fixture
def tools(world: HostileWorld) -> Tools:
    return Tools([world.runs], None, str(world.daemon.state))


def told(tools: Tools, name: str, **arguments: Any) -> list[Json]:
    result = tools.call(name, arguments)
    assert not result.failed, result.content
    records: list[Json] = result.content["records"]
    return records


def refused(tools: Tools, name: str, **arguments: Any) -> str:
    result = tools.call(name, arguments)
    assert result.failed, result.content
    assert "records" not in result.content
    return str(result.content["error"])


def test_reading_tools_tell_what_the_verbs_print(tools: Tools, world: HostileWorld) -> None:
    (status,) = told(tools, "status")
    assert (status["v"], status["name"], status["life"]) == (1, "a", "running")
    assert {event["event"] for event in told(tools, "journal", run="a")} >= {"hello", "settings"}
    assert len(told(tools, "journal", limit=1)) == 1
    assert told(tools, "doctor", run="a")
    rows = told(tools, "read", path=str(world.log), limit=3)
    assert [row["step"] for row in rows] == [57, 58, 59]
    assert told(tools, "read_explain", path=str(world.log))[0]["format"] == "jsonl"
    assert told(tools, "replay", path=str(world.log))[-1]["event"] == "state"
    assert told(tools, "forecast", run="a")[0]["metric"] == "loss"
    assert "`lrwatch doctor a`" in refused(tools, "explain", run="a")


def test_orders_in_a_log_are_quoted_in_records_and_nowhere_else(tools: Tools, world: HostileWorld) -> None:
    (status,) = told(tools, "status", run="a")
    assert {metric["name"] for metric in status["metrics"]} >= set(ODD_NAMES[:3])
    result = tools.call("read_explain", {"path": str(world.log)})
    assert ORDER in json.dumps(result.content["records"])
    outside = {key: value for key, value in result.content.items() if key != "records"}
    assert ORDER not in json.dumps(
        [outside, INSTRUCTIONS, [(tool.description, tool.schema()) for tool in tools.offered()]]
    )


def test_only_what_the_settings_of_the_daemon_name_is_offered_and_done(tools: Tools, world: HostileWorld) -> None:
    """Though this process runs as the daemon's own user, who may do everything by hand."""
    assert [tool.name for tool in tools.offered() if tool.changes] == ["hold"]
    text = refused(tools, "set", run="a", scale=0.5)
    assert text == "set a: refused: [operators] of the daemon does not name mcp:USER for `set`."
    assert told(tools, "hold", run="a")[0]["done"]
    (event,) = [e for e in told(tools, "journal", run="a", limit=1000) if e["event"] == "operator"]
    assert event["verb"] == "hold"
    assert event["actor"].endswith(" through mcp")
    assert not world.desired()


def test_without_a_socket_nothing_changes_even_where_the_state_can_be_written(tmp_path: Path) -> None:
    from lrwatch.store import Store

    store = Store(tmp_path)
    store.save_run("a", {})
    store.close()
    tools = Tools([], None, str(tmp_path))
    assert [tool.name for tool in tools.offered() if tool.changes] == []
    assert "expected a daemon with a socket for operators, found none" in refused(tools, "hold", run="a")


def test_changes_have_a_rate(world: HostileWorld) -> None:
    now = [0.0]
    tools = Tools([], None, str(world.daemon.state), clock=lambda: now[0])
    for _ in range(MAX_CHANGES):
        assert "does not name" in refused(tools, "undo", run="a")
    assert "changes within 60 s" in refused(tools, "undo", run="a")
    now[0] = 61.0
    assert "does not name" in refused(tools, "undo", run="a")


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd",
        "outside/secret.jsonl",
        "runs/link.jsonl",
        "runs/../outside/secret.jsonl",
        "--help",
        "lrwatch.toml",
    ],
)
def test_a_file_elsewhere_is_not_read_by_whatever_name(
    tools: Tools, world: HostileWorld, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world.home)
    for name in ("read", "read_explain", "replay"):
        for text in (path, str(world.home / path)):
            assert "is no log of a watched run" in refused(tools, name, path=text)


def test_logs_of_watched_runs_are_read_without_a_path_of_the_server(world: HostileWorld) -> None:
    tools = Tools([], None, str(world.daemon.state))
    assert told(tools, "read", path=str(world.log), limit=1)
    assert SECRET not in json.dumps(tools.call("read", {"path": str(world.outside / "secret.jsonl")}).content)


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("nonsense", {}, "expected one of the tools status, journal"),
        ("status", {"run": "b"}, "`status` lists them"),
        ("status", {"state": "/"}, "unknown field"),
        ("doctor", {}, "missing required field `run`"),
        ("doctor", {"run": "/etc"}, "expected the name of a run"),
        ("journal", {"since": "--help"}, "expected a time ago"),
        ("journal", {"limit": 10**9}, "<= 1000"),
        ("set", {"run": "a", "scale": float("nan")}, "> 0"),
        ("set", {"run": "a", "scale": "0.5"}, "Expected `float`"),
    ],
)
def test_what_is_wrong_with_a_call_is_said(tools: Tools, name: str, arguments: Json, words: str) -> None:
    assert words in refused(tools, name, **arguments)


def test_every_tool_has_arguments_that_a_client_can_check() -> None:
    for tool in TOOLS:
        schema = tool.schema()
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert tool.changes == (tool.command is None)


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("a\u200bb", "a\\u200bb"), ("\u202eevil", "\\u202eevil"), ("\U000e0041", "\\U000e0041"), ("\x1b[2J", "\\x1b[2J"),
        ("\ud800", "\\ud800"), ("größer als 3\n", "größer als 3\n"),
    ],
)  # fmt: skip
def test_what_a_person_would_not_see_is_escaped(hidden: str, shown: str) -> None:
    assert shortened({hidden: [hidden, 1.5, None]}) == {shown: [shown, 1.5, None]}


def test_long_strings_are_cut(tools: Tools, world: HostileWorld) -> None:
    long = world.runs / "long.jsonl"
    long.write_text(json.dumps({"step": 1, "loss": 1.0, "n" * 3 * MAX_TEXT: 2.0}) + "\n")
    try:
        (row,) = told(tools, "read", path=str(long))
        assert max(map(len, row)) < MAX_TEXT + 40
    finally:
        long.unlink()


def test_thousands_of_hostile_calls_change_nothing_out_of_bounds(world: HostileWorld) -> None:
    outcomes = assault(CALLS, 20, world)
    assert min(outcomes[f"{name} done"] for name in ("status", "journal", "read", "replay", "hold")) > 0, outcomes


def test_one_who_may_set_the_scale_stays_within_the_bounds_of_operators(tmp_path: Path) -> None:
    with hostile_world(tmp_path, ("set", "undo", "resume")) as world:
        outcomes = assault(CALLS // 5, 21, world)
        assert outcomes["set failed"] > outcomes["set done"], outcomes
        assert sum(outcomes[f"{verb} done"] for verb in world.allowed) > 0, outcomes
