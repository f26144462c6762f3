"""Every command as a process: exit codes, what goes to which stream, and nothing that a terminal would act on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from support.daemon_process import lrwatch
from support.quadratic import Training

pytestmark = pytest.mark.slow

VERBS = [
    "init",
    "run", "demo", "replay", "backtest", "read", "report", "config", "status", "journal", "explain", "doctor", "set", "undo", "strategy", "decay", "hold", "resume",
    "approve", "deny",
]  # fmt: skip

# What a terminal acts on: escape and the other control characters, but for the end of a line.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def one_line(ended: CompletedProcess[str], code: int, *words: str) -> None:
    """It failed with `code` and one line, which has these words and is not a traceback."""
    assert ended.returncode == code, (ended.returncode, ended.stdout, ended.stderr)
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("lrwatch: ")
    for word in words:
        assert word in ended.stderr


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a plateau in it."""
    path = tmp_path_factory.mktemp("log") / "train.jsonl"
    path.write_text(Training().lines(700))
    return path


@pytest.fixture(scope="module")
def state(log: Path) -> Path:
    """The state that a daemon left which read that log."""
    directory = log.parent / "state"
    ended = lrwatch("run", "--once", "--state", directory, log)
    assert ended.returncode == 0, ended.stderr
    return directory


# ---- help and usage -----------------------------------------------------------------------------------------------


def test_every_verb_explains_itself() -> None:
    listed = lrwatch("--help").stdout
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", listed, re.MULTILINE), verb
    assert lrwatch("-h").stdout == listed
    assert lrwatch("--version").stdout.startswith("lrwatch, version ")


@pytest.mark.parametrize("verb", [*VERBS, "config check", "config show", "config schema"])
def test_help_of_a_verb_goes_to_standard_output_and_names_its_exit(verb: str) -> None:
    ended = lrwatch(*verb.split(), "--help")
    assert ended.returncode == 0
    assert ended.stdout.startswith(f"Usage: lrwatch {verb} ")
    assert ended.stderr == ""
    data = {"replay", "backtest", "read", "init", "status", "journal", "explain", "config show", "set"}
    assert ("--format" in ended.stdout) >= (verb in data)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["replay"],
        ["replay", "--nonsense", "x"],
        ["set", "a"],
        ["set", "a", "--scale", "much"],
        ["approve", "a", "one"],
        ["run", "--mode", "wild", "x"],
        ["status", "--format", "xml"],
    ],
)
def test_a_command_line_that_cannot_be_understood_ends_with_2(arguments: list[str]) -> None:
    ended = lrwatch(*arguments)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr


def test_usage_that_only_the_program_can_judge_ends_with_2_and_one_line(log: Path, tmp_path: Path) -> None:
    one_line(lrwatch("run", "--state", tmp_path), 2, "at least one file, directory or glob")
    one_line(lrwatch("run", "--state", tmp_path, "--listen", "nowhere", log), 2, "HOST:PORT")
    one_line(lrwatch("read", log, "-o", tmp_path / "out.xls"), 2, ".parquet or .jsonl")


def test_a_setting_that_is_not_understood_ends_with_3_whatever_the_verb(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "lrwatch.toml"
    config.write_text("[policy]\nmin_scal = 1\n")
    for command in (
        ["replay", log],
        ["backtest", log],
        ["run", log],
        ["status"],
        ["hold", "a"],
        ["report", log, "-o", "x.html"],
    ):
        one_line(lrwatch(*command, "--config", config), 3, str(config), "'min_scal'", "'min_scale'")
    one_line(lrwatch("config", "check", config), 3, "'min_scal'")
    one_line(lrwatch("status", env={"LRWATCH_POLICY_MOD": "auto"}), 3, "LRWATCH_POLICY_MOD", "'mode'")
    one_line(lrwatch("replay", log, "--config", tmp_path / "none"), 3, "No such file")
    one_line(lrwatch("run", log, "--poll-seconds", "-1"), 3, "--poll-seconds")
    one_line(lrwatch("run", log, env={"LRWATCH_WATCH_FORMAT": "jsonll"}), 3, "jsonll")


# ---- bad input ----------------------------------------------------------------------------------------------------


# Each kind of file and each verb that reads one, in pairs: they share the reader, and a process takes most of a second.
@pytest.mark.parametrize(
    ("verb", "name", "content"),
    [
        (["replay"], "missing.log", None),
        (["backtest"], "empty.log", b""),
        (["read"], "blank.log", b"\n\n\n"),
        (["report", "-o", "x.html"], "binary.log", bytes(range(256)) * 500),
        (["replay"], "words.txt", b"nothing to see here\n" * 100),
        (["read"], "zeros.csv", b"\0" * 4096),
        (["report", "-o", "x.html"], "missing.log", None),
    ],
    ids=lambda value: (
        value if isinstance(value, str) else ""
    ),  # the bytes would not fit into a variable of the environment
)
def test_what_is_no_log_ends_with_4_and_one_line(
    tmp_path: Path, verb: list[str], name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    one_line(lrwatch(*verb, path, cwd=tmp_path), 4, str(path))
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize("verb", [["replay"], ["read"], ["report", "-o", "x.html"]])
def test_a_directory_in_place_of_a_log_ends_with_4(tmp_path: Path, verb: list[str]) -> None:
    one_line(lrwatch(*verb, tmp_path, cwd=tmp_path), 4, str(tmp_path), "irectory")


def test_a_log_without_a_loss_can_be_read_but_not_replayed_without_a_metric(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f'{{"step": {i}, "reward": {i}}}\n' for i in range(50)))
    one_line(lrwatch("replay", path), 4, "no metric looks like a loss", "reward", "--metric")
    one_line(lrwatch("replay", path, "--metric", "loss"), 4, "metric 'loss'", "seen were reward")
    assert lrwatch("replay", path, "--metric", "reward").returncode == 0
    assert "reward" in lrwatch("read", path).stdout


def test_where_no_state_is_the_verbs_that_look_at_it_end_with_4(tmp_path: Path) -> None:
    for verb in (["status"], ["journal"], ["explain", "a", "1"], ["hold", "a"], ["set", "a", "--scale", "0.5"]):
        one_line(lrwatch(*verb, "--state", tmp_path / "none"), 4, "the state of a daemon", "lrwatch run")
    assert not (tmp_path / "none").exists(), "looking at a state makes none"


def test_an_unknown_run_or_entry_ends_with_4_and_names_those_that_are(state: Path) -> None:
    for verb in (["status", "trian"], ["journal", "trian"], ["explain", "trian", "1"], ["hold", "trian"]):
        one_line(lrwatch(*verb, "--state", state), 4, "'trian'", "Known are train.")
    one_line(lrwatch("report", "trian", "-o", "x.html", "--state", state), 4, "'trian'", "Known are train.")
    one_line(lrwatch("explain", "train", "99", "--state", state), 4, "99", "lrwatch journal train")


def test_without_a_daemon_nothing_can_be_asked(state: Path) -> None:
    one_line(lrwatch("hold", "train", "--state", state), 4, "a daemon that carries it out", "lrwatch run")


def test_an_output_that_cannot_be_written_ends_with_4_and_one_line(log: Path, tmp_path: Path) -> None:
    one_line(lrwatch("report", log, "-o", tmp_path / "none" / "x.html"), 4, "x.html")
    one_line(lrwatch("read", log, "-o", tmp_path / "none" / "x.csv"), 4, "none")
    one_line(lrwatch("read", log, "-o", tmp_path / "none" / "x.jsonl"), 4, "none")
    with Path("/dev/full").open("w") as full:
        ended = _with_stdout(full.fileno(), "replay", log, "--format", "json")
    assert ended.returncode == 4
    assert ended.stderr == "lrwatch: [Errno 28] No space left on device\n"


def test_a_reader_that_goes_away_is_no_error(log: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = _with_stdout(writing, "read", log, "--format", "json")
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


def _with_stdout(stdout: int, *arguments: str | Path) -> CompletedProcess[str]:
    import subprocess
    import sys

    command = [sys.executable, "-m", "lrwatch", *map(str, arguments)]
    return subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, timeout=60)


# ---- data ---------------------------------------------------------------------------------------------------------


def test_replay_prints_the_events_of_the_contract(log: Path) -> None:
    ended = lrwatch("replay", log, "--format", "json")
    assert (ended.returncode, ended.stderr) == (0, "")
    finding, command = map(json.loads, ended.stdout.splitlines())
    assert command["event"] == "command"
    assert command.keys() >= {"event", "run", "step", "scale", "reason"}
    assert (command["run"], command["scale"]) == ("train", 0.5)
    assert finding["event"] == "finding"
    assert finding.keys() == {"v", "event", "run", "metric", "kind", "step", "evidence", "message"}
    assert (finding["kind"], finding["metric"]) == ("plateau", "loss")
    assert all(isinstance(value, (int, float)) for value in finding["evidence"].values())


def test_replay_for_people_is_a_table_and_its_summary_goes_to_standard_error(log: Path, tmp_path: Path) -> None:
    ended = lrwatch("replay", log)
    assert [line.split()[:2] for line in ended.stdout.splitlines()[1:]] == [
        ["train", str(event["step"])]
        for event in map(json.loads, lrwatch("replay", log, "--format", "json", "--states").stdout.splitlines())
    ]
    assert ended.stderr == f"{log}: 1400 samples of 2 metrics up to step 700; watched was loss\n"
    short = tmp_path / "short.jsonl"
    short.write_text(Training().lines(20))
    # Nothing was found, and it says where the metric stands: there is no silence.
    (_, state) = lrwatch("replay", short).stdout.splitlines()
    assert state.split(maxsplit=2)[2].startswith("loss (decides): improving: ")


def test_replay_takes_several_files_and_numbers_json_does_not_have(log: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"step": 1, "loss": 2}\n{"step": 2, "loss": NaN}\n')
    ended = lrwatch("replay", bad, log, "--format", "json")
    events = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in ended.stdout.splitlines()]
    assert [event["run"] for event in events] == ["bad", "train", "train"]
    assert events[0]["kind"] == "nonfinite"


def test_read_shows_counts_and_ends_and_gives_every_row_as_json_or_csv(log: Path, tmp_path: Path) -> None:
    ended = lrwatch("read", log)
    assert ended.stderr == f"{log}: format jsonl, 700 rows; steps are optimizer steps\n"
    assert [line.split()[:3] for line in ended.stdout.splitlines()[1:]] == [["loss", "700", "1"], ["lr", "700", "1"]]
    rows = [json.loads(line) for line in lrwatch("read", log, "--format", "json").stdout.splitlines()]
    assert rows == [json.loads(line) for line in log.read_text().splitlines()]
    assert lrwatch("read", log, "-o", tmp_path / "out.csv").stdout == ""
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 701
    assert lrwatch("read", log, "-o", tmp_path / "out.jsonl").returncode == 0
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == rows


def test_once_reads_what_is_there_and_the_next_time_only_what_came(tmp_path: Path) -> None:
    training = Training()
    log = tmp_path / "train.jsonl"
    log.write_text(training.lines(650) + '{"step": 651, "lo')
    first = lrwatch("run", "--once", "--state", tmp_path / "state", "--format", "json", log)
    events = [json.loads(line) for line in first.stdout.splitlines()]
    assert (first.returncode, first.stderr) == (0, "")
    assert [event["event"] for event in events] == ["finding", "command"]
    assert all(event.keys() >= {"time", "id", "hash", "run"} for event in events)
    second = lrwatch("run", "--once", "--state", tmp_path / "state", "--format", "json", log)
    assert (second.returncode, second.stdout) == (0, "")
    status = json.loads(lrwatch("status", "--state", tmp_path / "state", "--format", "json").stdout)
    assert (status["samples"], status["lag_bytes"]) == (1300, len('{"step": 651, "lo'))
    missing = lrwatch("run", "--once", "--state", tmp_path / "state2", tmp_path / "none.log")
    one_line(missing, 4, "does not exist yet")


def test_journal_status_and_explain_agree(state: Path, log: Path) -> None:
    journal = [
        json.loads(line) for line in lrwatch("journal", "--state", state, "--format", "json").stdout.splitlines()
    ]
    assert [event["id"] for event in journal] == [1, 2, 3]
    settings = journal.pop(0)
    assert (settings["event"], settings["policy"]["mode"], settings["length"]) == ("settings", "suggest", [0, ""])
    replayed = [json.loads(line) for line in lrwatch("replay", log, "--format", "json").stdout.splitlines()]
    extra = {"time", "id", "hash", "mode", "state", "heard"}
    assert [{k: v for k, v in event.items() if k not in extra} for event in journal] == replayed
    lines = lrwatch("journal", "train", "--state", state).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"]
    ended = lrwatch("status", "--state", state)
    assert ended.stdout.splitlines()[1].split()[:3] == ["train", "700", "loss"]
    assert ended.stderr.startswith("no daemon is running on this state")
    (status,) = map(json.loads, lrwatch("status", "train", "--state", state, "--format", "json").stdout.splitlines())
    assert (status["name"], status["step"], status["findings"]) == ("train", 700, {"plateau": 1})
    explained = json.loads(lrwatch("explain", "train", "2", "--state", state, "--format", "json").stdout)
    assert explained["verdict"] == "Computed again: the same numbers."
    assert explained["again"]["evidence"] == explained["evidence"]
    table = lrwatch("explain", "train", "2", "--state", state).stdout
    for number in explained["evidence"]:
        assert re.search(rf"^{number} +(\S+) +\1$", table, re.MULTILINE), table


def test_a_journal_that_somebody_changed_is_shown_and_ends_with_4(state: Path, tmp_path: Path) -> None:
    import shutil
    import sqlite3

    copy = tmp_path / "state"
    shutil.copytree(state, copy)
    database = sqlite3.connect(copy / "lrwatch.sqlite")
    database.execute("UPDATE journal SET event = replace(event, 'plateau', 'flatline') WHERE id = 3")
    database.commit()
    database.close()
    ended = lrwatch("journal", "--state", copy, "--format", "json")
    assert ended.returncode == 4
    assert len(ended.stdout.splitlines()) == 3
    assert "entry 3 that does not fit" in ended.stderr


def test_report_writes_a_page_of_a_file_and_of_a_run(state: Path, log: Path, tmp_path: Path) -> None:
    for subject in (str(log), "train"):
        ended = lrwatch("report", subject, "-o", tmp_path / "x.html", "--state", state)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", f"written to {tmp_path / 'x.html'}\n")
        page = (tmp_path / "x.html").read_text()
        assert "plateau" in page
        assert "<svg" in page
        (tmp_path / "x.html").unlink()


def test_a_run_is_reported_also_where_a_directory_is_called_like_it(state: Path, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    arguments = ("report", "train", "-o", "x.html", "--state", state.absolute())
    assert lrwatch(*arguments, cwd=tmp_path, env={"PYTHONPATH": str(Path.cwd())}).returncode == 0
    (tmp_path / "other").mkdir()
    ended = lrwatch("report", "other", "-o", "y.html", "--state", state.absolute(), cwd=tmp_path)
    one_line(ended, 4, "expected a directory with logs")


# ---- terminals ----------------------------------------------------------------------------------------------------


def test_names_from_outside_move_no_cursor(tmp_path: Path) -> None:
    """Run, file and metric names with escape sequences, line ends, and characters that turn text around."""
    hostile = "\x1b[2J\x1b]0;owned\x07\u202e\u2066\x9b31m\r\nrm"
    directory = tmp_path / ("run" + hostile.replace("/", ""))
    directory.mkdir()
    log = directory / "train\x1b[31m.jsonl"
    training = Training()
    records = [training.record() for _ in range(700)]
    log.write_text("".join(json.dumps({"step": r["step"], f"loss {hostile}": r["loss"]}) + "\n" for r in records))
    state = tmp_path / "state"
    metric = f"loss {hostile}"
    outputs = [
        lrwatch("run", "--once", "--state", state, "--metric", metric, directory),
        lrwatch("replay", log, "--metric", metric),
        lrwatch("replay", log, "--metric", "other" + hostile),
        lrwatch("read", log),
        lrwatch("read", log, "-o", directory / "out.csv"),
        lrwatch("status", "--state", state),
        lrwatch("journal", "--state", state),
        lrwatch("explain", directory.name, "1", "--state", state),
        lrwatch("status", "no" + hostile, "--state", state),
        lrwatch("replay", directory),
        lrwatch("report", log, "-o", tmp_path / "none" / hostile.replace("/", "")),
        lrwatch("config", "check", directory / "none.toml"),
    ]
    for ended in outputs:
        text = ended.stdout + ended.stderr
        assert text, ended.args
        assert not CONTROL.search(text), (ended.args, text)
        assert "Traceback" not in text
    assert "\\x1b[2J" in outputs[6].stdout


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "TERM": "xterm-256color"}])
def test_no_colours_where_nobody_looks(state: Path, log: Path, env: dict[str, str]) -> None:
    for command in (["status"], ["journal"], ["replay", log], ["--help"], ["nonsense"]):
        arguments = [*command, "--state", state] if command[0] in ("status", "journal") else command
        ended = lrwatch(*arguments, env=env)
        assert "\x1b" not in ended.stdout + ended.stderr


def test_a_terminal_with_a_small_alphabet_is_no_error(tmp_path: Path) -> None:
    log = tmp_path / "Łoss.jsonl"
    log.write_text(Training().lines(20).replace("loss", "loss Ł"))
    ended = lrwatch("read", log, env={"PYTHONIOENCODING": "latin-1"})
    assert ended.returncode == 0, ended.stderr
    assert "\\u0141oss.jsonl: format jsonl" in ended.stderr
    assert "loss \\u0141" in ended.stdout
