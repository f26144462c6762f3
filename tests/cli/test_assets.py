"""`lrwatch assets` writes what stands beside lrwatch, and never over what somebody has changed."""

from __future__ import annotations

import re
from pathlib import Path

from click.testing import CliRunner, Result

from lrwatch.cli import cli
from lrwatch.cli.assets import FOLDERS
from lrwatch.errors import InputError

ROOT = Path(__file__).parents[2]


def assets(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["assets", *map(str, arguments)])


def written(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def test_it_writes_the_files_of_the_repository_byte_for_byte(tmp_path: Path) -> None:
    assert assets(tmp_path / "out").exit_code == 0
    for folder in FOLDERS:
        source = ROOT / folder.source
        expected = {path.relative_to(source) for path in source.rglob("*") if path.is_file()}
        assert written(tmp_path / "out" / folder.name) == expected != set()
        for file in expected:
            target = tmp_path / "out" / folder.name / file
            assert target.read_bytes() == (source / file).read_bytes()
            assert target.stat().st_mode & 0o111 == (source / file).stat().st_mode & 0o111


def test_without_a_directory_it_lists_the_same_files_and_writes_none(tmp_path: Path) -> None:
    assets(tmp_path)
    said = assets()
    assert said.exit_code == 0
    assert {Path(line) for line in re.findall(r"^  (\S+)$", said.stdout, re.MULTILINE)} == written(tmp_path)


def test_it_says_what_each_is_for(tmp_path: Path) -> None:
    for said in (assets().stdout, assets(tmp_path).stdout):
        assert all(folder.use in said for folder in FOLDERS)


def test_a_file_that_somebody_changed_is_kept_and_nothing_is_written(tmp_path: Path) -> None:
    own = tmp_path / "prometheus" / "alertmanager.yml"
    own.parent.mkdir()
    own.write_text("route: mine\n")
    said = CliRunner().invoke(cli, ["assets", str(tmp_path)], standalone_mode=False)
    assert isinstance(said.exception, InputError)
    assert "alertmanager.yml" in str(said.exception)
    assert "--force" in str(said.exception)
    assert written(tmp_path) == {own.relative_to(tmp_path)}
    assert own.read_text() == "route: mine\n"


def test_force_overwrites_it_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    own = tmp_path / "prometheus" / "alertmanager.yml"
    own.parent.mkdir()
    own.write_text("route: mine\n")
    assert assets(tmp_path, "--force").exit_code == 0
    assert own.read_bytes() == (ROOT / "deploy/prometheus/alertmanager.yml").read_bytes()
    assert assets(tmp_path).exit_code == 0


def test_the_wheel_carries_each_folder() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text.partition("[tool.hatch.build.targets.wheel.force-include]\n")[2].partition("\n\n")[0]
    packed = dict(re.findall(r'^"(.+)" = "lrwatch/assets/(.+)"$', block, re.MULTILINE))
    assert packed == {folder.source: folder.name for folder in FOLDERS}
