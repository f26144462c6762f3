"""Files of settings that are made to hurt: one sentence each, within the memory of an ordinary start."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrwatch import toml
from lrwatch.errors import ConfigError

DEEP = {
    "brackets": (b"[watch]\npaths = " + b"[" * 100_000 + b"]" * 100_000, "more brackets within one another in line 2"),
    "tables": (b"[watch]\npaths = " + b"{a=" * 100_000, "more brackets within one another in line 2"),
    "dots": (b"\n" + b"a." * 50_000 + b"a = 1", "more dots in one key in line 2"),
    "dots of a table": (b"[" + b"a." * 50_000 + b"a]", "more dots in one key in line 1"),
    "brackets behind a string of seven quotes": (b'x = ["""a""""' + b", [" * 100_000, "more brackets"),
    "no UTF-8": (b"[watch]\n\xff", "invalid start byte"),
    "a NUL": (b"[watch]\n\0", "line 2"),
    "a key of a megabyte": (b'"' + b"k" * 1_000_000 + b'" = 1', "'kkk"),
    "a value of a megabyte": (b'[policy]\nmode = "' + b"v" * 1_000_000 + b'"', "got 'vvv"),
    "a hundred megabytes": (b"# lrwatch\n" * 10_000_000, "settings of at most 1,048,576 bytes, found a larger file"),
}

CHECK = """
import resource, sys
from lrwatch.cli import main
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
sys.argv = ["lrwatch", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_a_hostile_configuration_is_one_sentence_within_the_memory_of_a_start(name: str, tmp_path: Path) -> None:
    content, says = DEEP[name]
    file = tmp_path / "lrwatch.toml"
    file.write_bytes(content)
    checked = subprocess.run(
        [sys.executable, "-c", CHECK, "config", "check", str(file)], capture_output=True, text=True, timeout=120, check=False
    )  # fmt: skip
    assert checked.returncode == 3, checked.stderr[-500:]
    assert checked.stderr.count("\n") == 1
    assert says in checked.stderr
    assert len(checked.stderr) < 1000


def test_a_pattern_is_not_taught_into_a_hostile_file(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("at 12 the fit was 2.31\n" * 3)
    file = tmp_path / "lrwatch.toml"
    file.write_bytes(DEEP["dots"][0])
    from lrwatch.cli.config_file import ConfigFile

    with pytest.raises(ConfigError, match="dots in one key"):
        ConfigFile(file)


def test_what_is_in_strings_and_comments_is_not_counted() -> None:
    text = '# [[[[ a.b.c\nx = "' + "[." * 100 + "\"\ny = '''\n" + "{" * 100 + "\n'''\nz = [" + "1.5, " * 1000 + "]\n"
    assert toml.decode(text.encode(), "here")["z"] == [1.5] * 1000


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(['"', "'", '"""', "'''", "[", "]", "{", "}", "\n", "a", ".", "=", ",", "1", "\\", "#", " "]),
        max_size=40,
    )
)
def test_any_text_is_settings_or_a_sentence(parts: list[str]) -> None:
    text = "".join(parts).encode()
    try:
        found = toml.decode(text, "here")
    except ConfigError as error:
        said = str(error)
    else:
        assert found == msgspec.toml.decode(text)
        return
    assert "\n" not in said
