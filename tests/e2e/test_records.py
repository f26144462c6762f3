"""What every verb prints with `--format json`, of a real training under watch, against the schema that `lrwatch schema` prints."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from support.daemon_process import DaemonProcess
from support.quadratic import Training
from support.waiting import eventually

from lrwatch import attach
from lrwatch.cli import cli
from lrwatch.cli.record_schema import schema

pytestmark = pytest.mark.slow

Json = dict[str, Any]


@cache
def strict(verb: str) -> Any:
    """The validator of a verb that takes no field which the schema does not name."""
    made = copy.deepcopy(schema(verb))
    if verb != "explain":  # which prints the fields of the entry too
        for definition in made.get("$defs", {}).values():
            definition["additionalProperties"] = False
    return jsonschema.Draft202012Validator(made)


def fitting(verb: str, output: str) -> list[Json]:
    """The records of an output; each fits the schema of the verb."""
    records: list[Json] = [json.loads(line) for line in output.splitlines()]
    assert records
    for record in records:
        wrong = jsonschema.exceptions.best_match(strict(verb).iter_errors(record))
        assert wrong is None, f"{wrong.message} at {list(wrong.absolute_path)}: {record}"
    return records


def shown(schema_of: str, *arguments: str | Path) -> list[Json]:
    """Run a verb in this process, and return its records."""
    ended = CliRunner().invoke(cli, [*map(str, arguments), "--format", "json"], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return fitting(schema_of, ended.stdout)


class Journey:
    """A run that was watched in mode `auto` by a daemon that still runs, and by whom everything was asked once."""

    def __init__(self, home: Path) -> None:
        self.run_directory = home / "runs" / "a"
        self.state = home / "daemon" / "state"
        self.log = self.run_directory / "lrwatch" / "metrics.jsonl"
        self.answers: dict[str, list[Json]] = {}
        self.daemon = DaemonProcess(
            home / "daemon", "--mode", "auto", "--format", "json", "--poll-seconds", "0.05", self.run_directory.parent
        )  # fmt: skip

    def asked(self, verb: str, *arguments: str) -> None:
        self.answers[verb] = shown(verb, verb, "a", *arguments, "--state", self.state)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    home = tmp_path_factory.mktemp("journey")
    (home / "runs" / "a").mkdir(parents=True)
    made = Journey(home)
    training = Training()

    def use(scale: float) -> None:
        training.scale = scale

    def trained(word: str) -> bool:
        for _ in range(20):
            record = training.record()
            client.step(training.done, loss=record["loss"])
        return word in made.daemon.stdout

    try:
        with attach(use, made.run_directory / "lrwatch", poll_seconds=0.01, total_steps=100_000) as client:
            eventually(lambda: '"event": "hello"' in made.daemon.stdout, what="a hello")
            eventually(lambda: trained('"event": "effect"'), timeout=60, what="a command that was measured")
            made.asked("set", "--scale", "0.7")
            eventually(lambda: trained('"scale": 0.7'), what="the scale of an operator")
            made.asked("undo")
            made.asked("hold")
            made.asked("resume")
            made.asked("extend", "200000")
            made.asked("strategy", "wsd", "--length", "1000")
            made.asked("decay")
        eventually(lambda: '"event": "life"' in made.daemon.stdout, what="the end of the run")
        yield made
    finally:
        made.daemon.end()


def test_operators_get_answers_that_fit(journey: Journey) -> None:
    assert {verb for verb, (answer,) in journey.answers.items() if answer["done"]} >= {
        "set",
        "hold",
        "resume",
        "extend",
        "strategy",
    }


def test_the_journal_and_the_daemon_print_the_same_events_and_all_fit(journey: Journey) -> None:
    events = shown("journal", "journal", "a", "--state", journey.state)
    assert {event["event"] for event in events} >= {
        "hello", "settings", "phase", "finding", "command", "acknowledged", "effect", "operator", "life",
    }  # fmt: skip
    # The settings are for those who compute again, not for those who look on.
    assert fitting("run", journey.daemon.stdout) == [event for event in events if event["event"] != "settings"]


def test_lists_are_cut_to_what_is_new(journey: Journey) -> None:
    events = shown("journal", "journal", "a", "--state", journey.state)
    third = str(events[-3]["id"])
    assert shown("journal", "journal", "--limit", "2", "--state", journey.state) == events[-2:]
    assert shown("journal", "journal", "--since", third, "--limit", "5", "--state", journey.state) == events[-2:]
    replayed = shown("replay", "replay", journey.log)
    after = replayed[len(replayed) // 2]["step"]
    assert shown("replay", "replay", journey.log, "--since", str(after)) == [e for e in replayed if e["step"] > after]


def test_status_doctor_explain_and_forecast_fit(journey: Journey) -> None:
    (status,) = shown("status", "status", "--state", journey.state)
    assert (status["name"], status["life"]) == ("a", "ended")
    (explained,) = shown("explain", "explain", "a", "--state", journey.state)
    assert explained["event"] == "command"
    shown("doctor", "doctor", "a", "--state", journey.state)
    (forecast,) = shown("forecast", "forecast", "a", "--state", journey.state)
    assert forecast["as_it_goes"].keys() in ({"reason"}, {"value", "lower", "upper"})


def test_what_reads_logs_fits(tmp_path: Path) -> None:
    log = tmp_path / "small" / "train.jsonl"
    log.parent.mkdir()
    log.write_text(Training().lines(200))
    assert shown("read", "read", log)[0]["step"] == 1
    (explained,) = shown("read --explain", "read", "--explain", log)
    assert explained["format"] == "jsonl"
    assert shown("replay", "replay", "--states", log)[-1]["event"] == "state"
    kinds = {record["event"] for record in shown("backtest", "backtest", log, "--jobs", "1")}
    assert kinds == {"backtest", "summary"}
    taught = tmp_path / "odd.log"
    taught.write_text("".join(f"it{i}|obj={2 - i / 100}\n" for i in range(1, 90)))
    shown("read --teach", "read", taught, "--teach", "--step", "5", "--loss", "1.95")
    (tmp_path / "lrwatch.toml").unlink()
    (tmp_path / "train.jsonl").write_text(Training().lines(50))
    assert {record["file"] for record in shown("init", "init", tmp_path)} == {
        "odd.log", "train.jsonl", "small/train.jsonl",
    }  # fmt: skip
    assert {record["key"] for record in shown("config show", "config", "show")} >= {"policy.mode", "watch.paths"}


def test_a_forecast_in_the_journal_fits(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_text(
        "".join(f"step {i}/4000 loss {2 + 3 / (1 + i / 200) + 0.01 * (i % 7):.5f}\n" for i in range(1, 4001))
    )
    events = shown("run", "run", "--once", "--state", tmp_path / "state", log)
    assert {event["event"] for event in events} >= {"forecast", "forecast_scored"}
