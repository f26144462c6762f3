"""The socket of operators: found without a word, bounded, and the kernel says who is at the other end."""

from __future__ import annotations

import json
import os
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.waiting import eventually

from lrwatch.config import OperatorOptions
from lrwatch.daemon import operator_socket, rendezvous
from lrwatch.daemon.access import Peer, allowed, peer_of, refusal, this_process
from lrwatch.daemon.operator_socket import OperatorSocket

Make = Callable[..., Any]


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory whose path is short enough for a socket."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="lrw") as directory:
        yield Path(directory)


@pytest.fixture
def listening(make_rig: Make, runtime: Path) -> Iterator[tuple[Any, OperatorSocket]]:
    """A rig whose daemon takes its turns when it is asked, and its socket."""
    rig = make_rig(policy__mode="approve")
    rig.attach()
    rig.train(5)
    rig.look()
    operators = OperatorSocket(
        rig.home / "state", OperatorOptions(), rig.daemon.inbox,
        runs=lambda: list(rig.daemon.runs), wake=lambda: None, environ={"RUNTIME_DIRECTORY": str(runtime)},
    )  # fmt: skip
    yield rig, operators
    operators.close()


def say(path: Path, line: bytes) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(path))
        connection.sendall(line)
        with connection.makefile("rb") as lines:
            answer: dict[str, Any] = json.loads(lines.readline())
            return answer


def ask(rig: Any, operators: OperatorSocket, **message: Any) -> dict[str, Any]:
    """Ask over the socket while the daemon takes its turns."""
    answers: list[dict[str, Any]] = []
    assert operators.path is not None
    line = json.dumps({"v": 1, **message}).encode() + b"\n"
    thread = threading.Thread(target=lambda path: answers.append(say(path, line)), args=(operators.path,))
    thread.start()

    def answered() -> bool:
        rig.look()
        return bool(answers)

    eventually(answered, what="an answer")
    thread.join()
    return answers[0]


def test_the_actor_is_the_user_at_the_other_end_whatever_the_environment_says(
    listening: tuple[Any, OperatorSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, operators = listening
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "alice")
    answer = ask(rig, operators, verb="set", run="train", argument="0.5")
    assert answer == {"v": 1, "done": True, "text": "scale 0.5 is on its way"}
    rig.settle()
    assert rig.training.scale == 0.5
    (event,) = rig.events("operator")
    assert event["actor"].startswith(pwd.getpwuid(os.geteuid()).pw_name)
    assert event["uid"] == os.geteuid()
    assert "alice" not in json.dumps(event)
    assert "alice" not in (rig.control / "desired.json").read_text()


def test_the_answer_comes_after_the_journal_has_it(listening: tuple[Any, OperatorSocket]) -> None:
    rig, operators = listening
    answer = ask(rig, operators, verb="hold", run="train")
    assert answer["done"]
    assert [event["verb"] for event in rig.events("operator")] == ["hold"]
    rig.restart()
    assert rig.run.commands.held


def test_one_who_may_not_is_refused_in_words_and_that_is_journalled(
    make_rig: Make, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = make_rig(policy__mode="approve")
    rig.attach()
    rig.train(5)
    rig.look()
    stranger = Peer(54321, frozenset({54321}))
    monkeypatch.setattr(operator_socket, "peer_of", lambda _: stranger)
    operators = OperatorSocket(
        rig.home / "state", OperatorOptions(hold=("54321",)), rig.daemon.inbox,
        runs=lambda: list(rig.daemon.runs), wake=lambda: None, environ={"RUNTIME_DIRECTORY": str(runtime)},
    )  # fmt: skip
    try:
        refused = ask(rig, operators, verb="set", run="train", argument="0.5")
        assert not refused["done"]
        assert "uid 54321 (uid 54321) is not among those who may `set`" in refused["text"]
        assert "[operators] allow" in refused["text"]
        assert ask(rig, operators, verb="hold", run="train")["done"]
    finally:
        operators.close()
    assert [(e["verb"], e["uid"], e["done"]) for e in rig.events("operator")] == [
        ("set", 54321, False), ("hold", 54321, True),
    ]  # fmt: skip
    assert not (rig.control / "desired.json").exists()


@pytest.mark.parametrize(
    ("options", "verb", "allowed"),
    [
        (OperatorOptions(), "set", False),
        (OperatorOptions(allow=("54321",)), "set", True),
        (OperatorOptions(allow=("@700",)), "hold", True),
        (OperatorOptions(allow=("@701",)), "hold", False),
        (OperatorOptions(allow=("*",), set=()), "set", False),
        (OperatorOptions(allow=("*",), set=()), "undo", True),
        (OperatorOptions(set=("54321",)), "undo", False),
        (OperatorOptions(set=("54321",)), "set", True),
        (OperatorOptions(allow=("54322", "700")), "set", False),
    ],
)
def test_lists_name_users_and_groups_for_each_verb(options: OperatorOptions, verb: str, *, allowed: bool) -> None:
    peer = Peer(54321, frozenset({54321, 700}))
    assert (refusal(peer, verb, options) == "") is allowed
    assert refusal(Peer(0, frozenset()), verb, options) == ""
    assert refusal(Peer(os.geteuid(), frozenset()), verb, options) == ""


def test_the_other_end_of_a_socket_is_this_process() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert peer_of(one) == this_process()


def test_a_login_that_became_another_user_is_named_too() -> None:
    assert Peer(0, frozenset(), login=54321).actor == "root (login uid 54321)"
    assert Peer(0, frozenset(), login=0).actor == "root"


def test_who_listens_and_for_whom_is_told(listening: tuple[Any, OperatorSocket]) -> None:
    rig, operators = listening
    assert operators.path is not None
    told = say(operators.path, b'{"v": 1, "verb": "runs"}\n')
    may = allowed(this_process(), OperatorOptions())
    assert told == {"v": 1, "runs": ["train"], "state": str(rig.home / "state"), "pid": os.getpid(), "may": may}
    assert rendezvous.of_state(rig.home / "state", {"RUNTIME_DIRECTORY": str(operators.path.parent)}) == [
        operators.path
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"\n", "one JSON object on a line"),
        (b"[1]\n", "one JSON object on a line"),
        (b'{"verb": "set"}\n', "one JSON object on a line"),
        (b'{"v": "1", "verb": "set"}\n', "one JSON object on a line"),
        (b"\xff\xfe{}\n", "one JSON object on a line"),
        (b'{"v": 2, "verb": "runs"}\n', "version 1, found 2; update it"),
        (b'{"v": 1, "verb": "set", "run": "trian", "argument": "0.5"}\n', "found 'trian'"),
        (b'{"v": 1, "x": "' + b"x" * 100_000 + b'"}\n', "one JSON object on a line"),
    ],
)
def test_what_is_no_request_is_answered_and_changes_nothing(
    listening: tuple[Any, OperatorSocket], line: bytes, words: str
) -> None:
    rig, operators = listening
    assert operators.path is not None
    assert words in say(operators.path, line)["error"]
    rig.look()
    assert rig.events("operator") == []


def test_those_who_say_nothing_keep_no_place(
    listening: tuple[Any, OperatorSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, operators = listening
    assert operators.path is not None
    monkeypatch.setattr(operator_socket._RequestHandler, "timeout", 0.1)
    silent = []
    try:
        for _ in range(operator_socket.MAX_CONNECTIONS):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(operators.path))
            silent.append(connection)
        path = operators.path

        def answered() -> bool:
            try:
                return bool(say(path, b'{"v": 1, "verb": "runs"}\n')["runs"] == ["train"])
            except (OSError, ValueError):  # no place is free yet
                return False

        eventually(answered, what="a place")
    finally:
        for connection in silent:
            connection.close()


def test_a_request_without_a_turn_is_withdrawn(
    listening: tuple[Any, OperatorSocket], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig, operators = listening
    assert operators.path is not None
    monkeypatch.setattr(operator_socket, "ANSWER_SECONDS", 0.05)
    answer = say(operators.path, b'{"v": 1, "verb": "hold", "run": "train"}\n')
    assert "none within" in answer["error"]
    rig.look()
    assert not rig.run.commands.held


def test_where_no_socket_can_be_made_the_daemon_goes_on_and_says_so(make_rig: Make, tmp_path: Path) -> None:
    rig = make_rig()
    rig.look()
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    (tmp_path / "file").write_text("")
    # A path that is too long, and one below a file.
    environ = {"RUNTIME_DIRECTORY": f"{deep}:{tmp_path / 'file' / 'x'}"}
    monkey = pytest.MonkeyPatch()
    monkey.setattr(rendezvous, "_SYSTEM", tmp_path / "file" / "run")
    operators = OperatorSocket(deep, OperatorOptions(), rig.daemon.inbox, runs=list, wake=lambda: None, environ=environ)
    monkey.undo()
    assert operators.path is None
    assert "no socket for operators could be made" in operators.problem
    assert "through its state directory only" in operators.problem
    operators.close()


def test_the_socket_of_a_daemon_that_was_killed_is_in_nobodys_way(make_rig: Make, runtime: Path) -> None:
    rig = make_rig()
    rig.look()
    environ = {"RUNTIME_DIRECTORY": str(runtime)}
    (left,) = (path for path in rendezvous.places(rig.home / "state", environ) if path.parent == runtime)
    other = runtime / "0123456789abcdef.sock"
    for path in (left, other):
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(path))
    os.utime(other, (0, 0))
    operators = OperatorSocket(
        rig.home / "state",
        OperatorOptions(),
        rig.daemon.inbox,
        runs=lambda: ["train"],
        wake=lambda: None,
        environ=environ,
    )
    assert operators.path == left
    assert say(left, b'{"v": 1, "verb": "runs"}\n')["runs"] == ["train"]
    assert not other.exists()
    operators.close()
    assert not left.exists()


# ---- what a program asks through somebody ---------------------------------------------------------------------------


def test_through_an_mcp_server_not_even_root_and_the_daemons_own_user_may_anything_by_themselves() -> None:
    for uid in (0, os.geteuid()):
        by_hand = Peer(uid, frozenset({uid}))
        program = Peer(uid, frozenset({uid}), through="mcp")
        everybody = OperatorOptions(allow=("*", str(uid), f"@{uid}"))
        assert refusal(by_hand, "set", OperatorOptions()) == ""
        assert "through mcp is not among what may `set`" in refusal(program, "set", everybody)
        assert allowed(program, everybody) == []
        assert allowed(program, OperatorOptions(hold=("mcp:*",))) == ["hold"]
        assert allowed(program, OperatorOptions(allow=(f"mcp:{uid}",), set=())) == [
            verb for verb in allowed(by_hand, OperatorOptions()) if verb != "set"
        ]
        assert "mcp:" in refusal(program, "approve", OperatorOptions())
    stranger = Peer(54321, frozenset({54321}))
    assert refusal(stranger, "hold", OperatorOptions(hold=("mcp:*", "mcp:54321"))), (
        "the list of programs is none of people"
    )


def test_a_request_says_through_what_it_comes(listening: tuple[Any, OperatorSocket]) -> None:
    rig, operators = listening
    assert "may" in ask(rig, operators, verb="runs")
    assert ask(rig, operators, verb="runs", through="mcp")["may"] == []
    refused = ask(rig, operators, verb="hold", run="train", through="mcp")
    assert not refused["done"]
    assert "can name mcp:" in refused["text"]
    (event,) = rig.events("operator")
    assert event["actor"].endswith(" through mcp")
    assert "expected `through` to be 'mcp'" in ask(rig, operators, verb="hold", run="train", through="else")["error"]


@pytest.mark.parametrize("name", ["mcp:", "mcp:@", "mcp: anna", " mcp:anna"])
def test_a_name_without_a_user_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="must be names of users"):
        OperatorOptions(hold=(name,))
