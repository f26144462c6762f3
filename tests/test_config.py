from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from lrwatch.cli import cli
from lrwatch.config import Config, keys, load
from lrwatch.core.options import STRATEGIES
from lrwatch.errors import ConfigError


def written(directory: Path, text: str) -> Path:
    file = directory / "lrwatch.toml"
    file.write_text(text, encoding="utf-8")
    return file


def refused(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> str:
    """The line that people see."""
    with pytest.raises(ConfigError) as error:
        load(file, environ, flags)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 3
    return str(error.value)


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = written(tmp_path, '[policy]\nmode = "observe"\nfactor = 0.25\nmin_scale = 0.01\n')
    environ = {"LRWATCH_POLICY_MODE": "approve", "LRWATCH_POLICY_FACTOR": "0.3", "HOME": "/h"}
    config = load(file, environ, {"policy.mode": "auto", "policy.factor": None})
    assert (config.policy.mode, config.policy.factor, config.policy.min_scale) == ("auto", 0.3, 0.01)
    assert config.policy.cooldown == Config().policy.cooldown
    assert dict(config.origins) == {
        "policy.mode": "option --mode",
        "policy.factor": "environment variable LRWATCH_POLICY_FACTOR",
        "policy.min_scale": str(file),
    }
    assert load() == Config()


def test_every_key_can_be_given_in_the_environment() -> None:
    for name in keys():
        section, _, key = name.partition(".")
        default = getattr(getattr(Config(), section), key)
        text = "a:b" if key == "paths" else default if isinstance(default, str) else json.dumps(default)
        config = load(None, {f"LRWATCH_{section}_{key}".upper(): text})
        expected = ("a", "b") if key == "paths" else default
        assert getattr(getattr(config, section), key) == expected, name
        assert name in config.origins


def test_a_horizon_is_a_number_or_a_fraction_in_file_and_environment(tmp_path: Path) -> None:
    assert load(written(tmp_path, "[detect]\nhorizon = 2000\n")).detect.horizon == 2000
    assert load(written(tmp_path, '[detect]\nhorizon = "5%"\n')).detect.horizon == "5%"
    assert load(None, {"LRWATCH_DETECT_HORIZON": "2000"}).detect.horizon == "2000"
    assert "horizon must be" in refused(None, {"LRWATCH_DETECT_HORIZON": "soon"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[polcy]\n", ["'polcy'", "Did you mean 'policy'?"]),
        ("[zzz]\n", ["'zzz'", "watch, detect, policy, daemon"]),
        ("[policy]\nmin_scal = 1.0\n", ["'min_scal'", "[policy]", "Did you mean 'min_scale'?"]),
        ("[daemon]\nqqqq = 1\n", ["'qqqq'", "[daemon]", "poll_seconds"]),
        ("policy = 3\n", ["a table [policy]", "3"]),
        ('[policy]\nfactor = "half"\n', ["[policy]", "factor must be a number, got 'half'"]),
        ("[policy]\nfactor = 1.5\n", ["factor must be between 0 and 1, got 1.5"]),
        (
            '[policy]\nmode = "autom"\n',
            ["[policy] mode must be one of its choices, got 'autom'", "Did you mean 'auto'?", "observe"],
        ),
        ("[policy]\nmax_commands = 1.5\n", ["max_commands must be a whole number, got 1.5"]),
        ("[policy]\nprobe = 1\n", ["probe must be true or false, got 1"]),
        ("[detect]\nhorizon = []\n", ["horizon must be a number or text", "got []"]),
        ('[watch]\nformat = "jsno"\n', ["[watch] format", "'jsno'", "Did you mean json"]),
        ('[operators]\nset = "anna"\n', ["set must be a list of texts, got 'anna'"]),
        ('[operators]\nset = ["@"]\n', ["set must be names of users, or of groups behind an @, got '@'"]),
        ("[policy]\nmax_scale = nan\n", ["max_scale must be finite"]),
        ("[policy]\nmax_commands = -1\n", ["max_commands must be 0 or more"]),
        ('[detect]\nhorizon = "150%"\n', ["horizon must be", "150%"]),
        ("[detect]\nfalse_alarms = 0\n", ["false_alarms must be a probability"]),
        ("[daemon]\npoll_seconds = 0\n", ["poll_seconds must be above 0"]),
        ("[watch]\npaths = 3\n", ["paths must be a list of texts, got 3"]),
        ("[watch]\npaths = [3]\n", ["paths must be a list of texts, got [3]"]),
        ("[watch\n", ["expected TOML"]),
        ("[watch]\npaths = []\npaths = []\n", ["expected TOML"]),
    ],
)
def test_a_bad_file_is_told_with_file_key_and_what_would_be_right(tmp_path: Path, text: str, words: list[str]) -> None:
    file = written(tmp_path, text)
    line = refused(file)
    for word in [str(file), *words]:
        assert word in line


def test_patterns_are_checked_when_they_are_loaded(tmp_path: Path) -> None:
    good = r"step (?P<step>\d+) loss (?P<loss>\S+)"
    assert load(written(tmp_path, f"[watch]\npattern = ['{good}', 'lr (?P<lr>.+)']\n")).watch.pattern == (
        good, "lr (?P<lr>.+)",
    )  # fmt: skip
    for text in (good, json.dumps([good])):
        assert load(None, {"LRWATCH_WATCH_PATTERN": text}).watch.pattern == (good,)
    assert load(None, {"LRWATCH_WATCH_PATTERN": "[0-9](?P<x>a)"}).watch.pattern == ("[0-9](?P<x>a)",)
    file = written(tmp_path, "[watch]\npattern = ['loss (']\n")
    line = refused(file)
    for word in (str(file), "[watch] pattern 'loss ('", "a regular expression"):
        assert word in line
    assert "environment variable LRWATCH_WATCH_PATTERN" in refused(None, {"LRWATCH_WATCH_PATTERN": "loss"})
    assert f"pattern must be a list of texts, got {'loss'!r}" in refused(
        written(tmp_path, "[watch]\npattern = 'loss'\n")
    )
    both = f"[watch]\nformat = 'csv'\npattern = ['{good}']\n"
    assert "format must be auto where there is a pattern, got 'csv'" in refused(written(tmp_path, both))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.toml")
    assert "directory" in refused(tmp_path)
    (tmp_path / "binary.toml").write_bytes(b"\x00\xff\xfe")
    assert "expected TOML" in refused(tmp_path / "binary.toml")


def test_a_bad_variable_or_flag_is_named() -> None:
    line = refused(None, {"LRWATCH_POLICY_MOOD": "auto"})
    assert "environment variable LRWATCH_POLICY_MOOD" in line
    assert "Did you mean 'mode'?" in line
    assert "environment variable LRWATCH_POLICY_FACTOR" in refused(None, {"LRWATCH_POLICY_FACTOR": "half"})
    assert "environment variable LRWATCH_LISTEN" in refused(None, {"LRWATCH_LISTEN": "x"})
    assert "option --poll-seconds" in refused(None, None, {"daemon.poll_seconds": -1.0})


def test_relative_paths_in_a_file_start_from_its_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna")
    file = written(
        tmp_path,
        '[watch]\npaths = ["a.log", "/abs/*.csv", "~/b.log"]\ncontrol = "c"\n[daemon]\nstate = "s"\nkey_file = "k"\n',
    )
    config = load(file)
    assert config.watch.paths == (str(tmp_path / "a.log"), "/abs/*.csv", "/home/anna/b.log")
    assert (config.watch.control, config.daemon.state, config.daemon.key_file) == (
        str(tmp_path / "c"), str(tmp_path / "s"), str(tmp_path / "k"),
    )  # fmt: skip
    assert load(written(tmp_path, '[watch]\ncontrol = ""\n')).watch.control == "", "nothing given stays nothing"
    assert load(None, {"LRWATCH_WATCH_PATHS": "a.log"}).watch.paths == ("a.log",), "a shell's paths start from its own"


def test_the_variables_of_a_kubernetes_service_called_lrwatch_are_no_settings() -> None:
    links = {
        "LRWATCH_SERVICE_HOST": "10.0.0.1",
        "LRWATCH_SERVICE_PORT": "9767",
        "LRWATCH_SERVICE_PORT_METRICS": "9767",
        "LRWATCH_PORT": "tcp://10.0.0.1:9767",
        "LRWATCH_PORT_9767_TCP": "tcp://10.0.0.1:9767",
        "LRWATCH_PORT_9767_TCP_PROTO": "tcp",
        "LRWATCH_PORT_9767_TCP_PORT": "9767",
        "LRWATCH_PORT_9767_TCP_ADDR": "10.0.0.1",
        "LRWATCH_PORT_53_UDP": "udp://10.0.0.1:53",
    }
    assert load(None, links) == Config()
    for name in ("LRWATCH_PORTS", "LRWATCH_DAEMON_PORT", "LRWATCH_PORT_9767_TCP_NAME", "LRWATCH_HOST", "LRWATCH_"):
        assert name in refused(None, {name: "1"})


# ---- config check, show, schema -----------------------------------------------------------------------------------


GOOD = """
[watch]
paths = ["runs/*"]
metric = "val_loss"
[detect]
horizon = "5%"
min_improvement = 0.01
direction = "max"
[policy]
mode = "auto"
factor = 0.5
max_commands = 3
[daemon]
poll_seconds = 2
"""


def test_config_check_says_valid_and_show_tells_where_each_value_is_from(tmp_path: Path) -> None:
    file = written(tmp_path, GOOD)
    checked = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert checked.exit_code == 0
    assert checked.stdout == f"{file}: valid\n"
    shown = CliRunner().invoke(
        cli, ["config", "show", str(file), "--format", "json"], env={"LRWATCH_POLICY_COOLDOWN": "2.5"}
    )
    rows = {row["key"]: row for row in map(json.loads, shown.stdout.splitlines())}
    assert list(rows) == keys()
    assert rows["policy.mode"] == {"v": 1, "key": "policy.mode", "value": "auto", "origin": str(file)}
    assert rows["policy.cooldown"]["value"] == 2.5
    assert rows["policy.cooldown"]["origin"] == "environment variable LRWATCH_POLICY_COOLDOWN"
    assert rows["policy.min_scale"]["origin"] == "default"
    table = CliRunner().invoke(cli, ["config", "show", str(file)]).stdout.splitlines()
    assert len(table) == 1 + len(keys())


def test_the_schema_takes_what_load_takes_and_rejects_what_it_rejects(tmp_path: Path) -> None:
    schema = json.loads(CliRunner().invoke(cli, ["config", "schema"]).stdout)
    Draft202012Validator.check_schema(schema)
    validator = Draft202012Validator(schema)
    validator.validate(msgspec.toml.decode(GOOD))
    validator.validate({})
    bad = [
        "[polcy]\n",
        "[policy]\nmin_scal = 1.0\n",
        '[policy]\nfactor = "half"\n',
        '[policy]\nmode = "autom"\n',
        "policy = 3\n",
    ]
    for text in bad:
        assert not validator.is_valid(msgspec.toml.decode(text)), text
        refused(written(tmp_path, text))
    described = {f"{section}.{key}" for section in schema["properties"] for key in _keys_of(schema, section)}
    assert described == set(keys())


def _keys_of(schema: dict[str, Any], section: str) -> list[str]:
    name = schema["properties"][section]["$ref"].rpartition("/")[2]
    return list(schema["$defs"][name]["properties"])


def test_settings_that_are_only_valid_beside_others_may_come_in_any_order() -> None:
    environ = {"LRWATCH_POLICY_STRATEGY": "step", "LRWATCH_POLICY_EVERY": "100"}
    assert load(environ=environ).policy.every == 100
    flags = {"policy.strategy": "cosine", "policy.length": 5000}
    config = load(flags=flags)
    assert (config.policy.strategy, config.policy.length) == ("cosine", 5000)
    assert config.origins["policy.length"] == "option --length"
    with pytest.raises(ConfigError, match=r"environment variable LRWATCH_POLICY_STRATEGY: .*every must be 1 or more"):
        load(environ={"LRWATCH_POLICY_STRATEGY": "step"})


def test_a_value_that_is_none_of_those_a_key_takes_is_answered_with_them() -> None:
    known = re.escape(f"Known are {', '.join(STRATEGIES)}.")
    with pytest.raises(ConfigError, match=rf"LRWATCH_POLICY_STRATEGY.*{known}"):
        load(environ={"LRWATCH_POLICY_STRATEGY": "pace"})
