"""A file that a setting names is read with a bound: a wrong path is one sentence, whatever lies there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lrwatch import settings_file
from lrwatch.errors import ConfigError

# The setting in the environment, and what the sentence says beside the bound.
NAMED = {
    "LRWATCH_EXPORT_WEB_CONFIG": "Check the path given with --web-config.",
    "LRWATCH_RUN_LABELS_FILE": "[run] labels_file = ",
    "LRWATCH_NOTIFY_URLS_FILE": "[notify] urls_file = ",
}
# A daemon with less memory than the file is long.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
from lrwatch.cli import main
sys.argv = ["lrwatch", *sys.argv[1:]]
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("setting", NAMED)
def test_a_log_of_gigabytes_in_the_place_of_settings_is_one_sentence(setting: str, tmp_path: Path) -> None:
    (log := tmp_path / "train.jsonl").touch()
    os.truncate(log, 4 << 30)
    arguments = ["run", str(tmp_path), "--listen", "127.0.0.1:0", "--state", str(tmp_path / "state")]
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], env={**os.environ, setting: str(log)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 3, ended.stderr[-500:]
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert f"of at most {settings_file.MAX_BYTES:,} bytes, found a larger file" in ended.stderr
    assert NAMED[setting] in ended.stderr
    assert str(log) in ended.stderr


def test_as_many_bytes_as_the_bound_are_read_and_one_more_is_not(tmp_path: Path) -> None:
    file = tmp_path / "labels"
    file.write_bytes(b"x" * settings_file.MAX_BYTES)
    assert len(settings_file.read(file, expected="labels", where="here", hint="Look.")) == settings_file.MAX_BYTES
    with file.open("ab") as more:
        more.write(b"x")
    with pytest.raises(
        ConfigError, match=r"here: expected labels of at most 1,048,576 bytes, found a larger file\. Look\."
    ):
        settings_file.read(file, expected="labels", where="here", hint="Look.")
