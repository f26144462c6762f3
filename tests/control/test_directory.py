"""The daemon's end of the control directory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lrwatch.control.directory import ControlDirectory
from lrwatch.protocol import Desired, Observed, decode_desired, encode, publish, read_control_file, verify

KEY = b"0123456789abcdef"
DESIRED = Desired(run="a", incarnation="i", generation=1, token=1, scale=0.5)
OBSERVED = Observed(run="a", incarnation="i", step=3, scale=1.0)


def test_a_directory_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    control = ControlDirectory(tmp_path / "control")
    assert not control.exists
    assert control.read_observed() is None
    assert not control.errors
    with pytest.raises(FileNotFoundError):
        control.publish(DESIRED)


def test_what_the_trainer_published_is_read(tmp_path: Path) -> None:
    control = ControlDirectory(tmp_path)
    assert control.exists
    assert control.read_observed() is None
    publish(tmp_path, "observed.json", encode(OBSERVED))
    assert control.read_observed() == OBSERVED
    assert not control.errors


def test_bad_reads_are_counted_by_code(tmp_path: Path) -> None:
    control = ControlDirectory(tmp_path)
    publish(tmp_path, "observed.json", encode(OBSERVED)[:-5])
    assert control.read_observed() is None
    (tmp_path / "observed.json").unlink()
    os.mkfifo(tmp_path / "observed.json", 0o600)
    assert control.read_observed() is None
    (tmp_path / "file").write_text("")
    broken = ControlDirectory(tmp_path / "file")
    assert broken.read_observed() is None
    assert control.errors == {"not_json": 1, "not_regular": 1}
    assert broken.errors == {"io": 1}


def test_a_command_is_published_and_signed_where_there_is_a_key(tmp_path: Path) -> None:
    ControlDirectory(tmp_path).publish(DESIRED)
    assert read_control_file(tmp_path, "desired.json") == encode(DESIRED)
    ControlDirectory(tmp_path, KEY).publish(DESIRED)
    signed = decode_desired(read_control_file(tmp_path, "desired.json") or b"")
    assert verify(signed, KEY)
