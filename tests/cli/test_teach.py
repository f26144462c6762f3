"""`lrwatch read --teach`: somebody says what one line says, and the log is read; each as a process."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import msgspec
import pytest
from support.daemon_process import lrwatch

from lrwatch.cli.config_file import ConfigFile
from lrwatch.config import load
from lrwatch.errors import ConfigError

PATTERN = r"^<(?P<step>\d+)>\s+~(?P<loss>[^~\s]+)"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log that no format understands."""
    file = tmp_path / "odd.log"
    file.write_text(
        "seed 42\n" + "".join(f"<{i}> ~{'nan' if i == 700 else 2.5 - i / 1000}~ 3e-4\n" for i in range(900))
    )
    return file


def answered(log: Path, answers: str) -> subprocess.CompletedProcess[str]:
    """Teach with these answers."""
    return lrwatch("read", log, "--teach", typed=answers)


@pytest.mark.slow
def test_what_was_taught_is_written_shown_and_used_by_replay_and_run(log: Path, tmp_path: Path) -> None:
    assert lrwatch("read", log).returncode == 4
    ended = lrwatch("read", log, "--teach", "--step", "12", "--loss", "2.488", "--lr", "3e-4")
    assert ended.returncode == 0, ended.stderr
    config = tmp_path / "lrwatch.toml"
    assert f"{config} written" in ended.stderr
    assert "line 14: <12> ~2.488~ 3e-4" in ended.stderr
    assert "none like these" in ended.stderr
    assert "       1  seed 42" in ended.stderr
    assert "900 rows" in ended.stderr
    assert f"`lrwatch replay {log} --config {config}`: 1800 samples up to step 899; watched is loss" in ended.stderr
    assert ended.stdout.splitlines()[2].split() == ["loss", "900", "0", "2.5", "899", "1.601"]
    assert load(config).watch.paths == (str(log),)
    commands: list[list[str | Path]] = [
        ["replay", log],
        ["replay", tmp_path],
        ["run", "--once", "--state", tmp_path / "s"],
    ]
    for arguments in commands:
        used = lrwatch(*arguments, "--config", config, "--format", "json")
        assert used.returncode == 0, used.stderr
        assert '"nonfinite"' in used.stdout
    shown = lrwatch("read", log, "--config", config, "--format", "json")
    assert shown.stdout.splitlines()[12] == '{"step": 12, "loss": 2.488, "lr": 0.0003}'
    assert "format pattern" in lrwatch("read", log, "--config", config, "--explain").stdout


@pytest.mark.slow
def test_the_numbers_are_asked_for_until_they_are_in_the_line(log: Path, tmp_path: Path) -> None:
    ended = answered(log, "2\n9.9\n0\n\n" + "2\n2.5\n0\n\n")
    assert ended.returncode == 0, ended.stderr
    assert "expected the loss 9.9 once, found the numbers 0, 2.5, 3e-4" in ended.stderr
    assert load(tmp_path / "lrwatch.toml").watch.pattern == (PATTERN,)
    again = answered(log, "")
    assert again.returncode == 2
    assert "Without questions: --step 12 --loss 2.31" in again.stderr


@pytest.mark.slow
def test_another_pattern_is_overwritten_only_if_that_is_wanted(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "lrwatch.toml"
    old = "# mine\n[watch]\npaths = ['odd.log'] # this\npattern = [\n  'a(?P<loss>b)', # old\n]\n\n[run]\nmetric = 'loss'\n"
    config.write_text(old)
    config.chmod(0o640)
    taught = ("read", log, "--teach", "--step", "12", "--loss", "2.488")
    refused = lrwatch(*taught)
    assert refused.returncode == 3
    assert "found 'a(?P<loss>b)'. Nothing was written. Overwrite it with --force" in refused.stderr
    declined = answered(log, "2\n2.5\n0\n\nn\n")
    assert declined.returncode == 3
    assert config.read_text() == old
    assert lrwatch(*taught, "--force").returncode == 0
    kept = old.replace("[\n  'a(?P<loss>b)', # old\n]", f"['{PATTERN}']")
    assert config.read_text() == kept
    assert stat.S_IMODE(config.stat().st_mode) == 0o640
    assert "has it already" in lrwatch(*taught).stderr
    config.write_text(old)
    assert answered(log, "2\n2.5\n0\n\ny\n").returncode == 0
    assert config.read_text() == kept


def test_every_other_character_of_the_configuration_stays(tmp_path: Path) -> None:
    file = tmp_path / "lrwatch.toml"
    for before, after in (
        ("[run]\nmetric = 'x'", "[run]\nmetric = 'x'\n\n[watch]\npattern = ['p(?P<loss>x)']\n"),
        (
            "[watch]\n# pattern = []\npaths = ['a']\n",
            "[watch]\n# pattern = []\npattern = ['p(?P<loss>x)']\npaths = ['a']\n",
        ),
        (" [ watch ] # w\r\npaths = []\r\n", " [ watch ] # w\r\npattern = ['p(?P<loss>x)']\r\npaths = []\r\n"),
        ("[watch]\npattern = []\n[run]\n", "[watch]\npattern = ['p(?P<loss>x)']\n[run]\n"),
    ):
        file.write_bytes(before.encode())
        assert ConfigFile(file).with_pattern("p(?P<loss>x)", []) == after
    file.write_text("[watch]\n")
    text = ConfigFile(file).with_pattern("it's \"(?P<loss>x)\\d\x7f", [])
    assert msgspec.toml.decode(text)["watch"]["pattern"] == ["it's \"(?P<loss>x)\\d\x7f"]
    for odd in ("watch = { paths = ['a'] }\n", "watch.paths = ['a']\n", "x = '''\n[watch]\n'''\n[ 'watch' ]\n"):
        file.write_text(odd)
        with pytest.raises(ConfigError, match="Write this below"):
            ConfigFile(file).with_pattern("p(?P<loss>x)", [])


@pytest.mark.slow
def test_a_configuration_that_cannot_take_a_pattern_is_left_as_it_is(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "lrwatch.toml"
    taught = ("read", log, "--teach", "--step", "12", "--loss", "2.488")
    for text, words in (("[watch]\nformat = 'csv'\n", "expected no format beside a pattern"), ("[watch\n", "TOML")):
        config.write_text(text)
        ended = lrwatch(*taught, "--force")
        assert ended.returncode == 3
        assert words in ended.stderr
        assert config.read_text() == text
    other = tmp_path / "other" / "mine.toml"
    other.parent.mkdir()
    ended = lrwatch(*taught, "--config", other)
    assert ended.returncode == 0, ended.stderr
    assert msgspec.toml.decode(other.read_bytes())["watch"] == {"paths": ["../odd.log"], "pattern": [PATTERN]}
    assert lrwatch("run", "--once", "--config", other, "--state", tmp_path / "state").returncode == 0


@pytest.mark.slow
def test_options_that_belong_to_teaching_are_refused_without_it(log: Path) -> None:
    for arguments in (["--loss", "2"], ["--line", "2"], ["--force"], ["--teach", "--explain"]):
        ended = lrwatch("read", log, *arguments)
        assert ended.returncode == 2
        assert "--teach" in ended.stderr
