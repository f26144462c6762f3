"""`lrwatch service`: a unit for systemd that starts the program which wrote it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import click

from lrwatch.cli.config_file import toml_string, write
from lrwatch.cli.output import safe, tell

UnitKind = Literal["system", "template", "user"]
"""All runs of a machine, read only; those of one user each, started by root; those of the user who installs it."""

# Where units and settings of the machine lie.
_UNITS = Path("/etc/systemd/system")
_SETTINGS = Path("/etc/lrwatch")

_PLAIN_WORD = re.compile(r"[\w./@:+,=%$-]+")

_WATCH = """\
# Settings of the lrwatch service. `lrwatch config show {file}` lists all there are; after a change: {reload}
[watch]
# Files, directories or globs. A directory of runs is searched for new ones every few seconds.
paths = [{paths}]
"""

# The unit for the whole machine has these on its command line.
_ACT = """
[policy]
# observe: says what it sees. suggest: says what it would do. approve: asks first. auto: acts.
mode = "suggest"

[daemon]
# Where /metrics and the pages are served; Prometheus on this machine scrapes it.
listen = "127.0.0.1:9767"
"""


@click.group()
def service() -> None:
    """Have systemd start lrwatch and keep it running."""


@service.command()
@click.argument("paths", nargs=-1, metavar="[PATH...]")
@click.option("--user", is_flag=True, help="For your own runs, without root: a unit of your session.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="F",
    help="Key that signs commands.",
)
@click.option(
    "--root", type=click.Path(path_type=Path), metavar="DIR", help="Write below DIR, for the image of a machine."
)
@click.option("--dry-run", is_flag=True, help="Print the files instead of writing them.")
def install(paths: tuple[str, ...], user: bool, key_file: Path | None, root: Path | None, dry_run: bool) -> int:
    """Write a unit that starts this very program, and an example of its settings where there are none yet.

    PATH is what it shall watch, written into new settings. Without --user the unit watches the runs of the whole machine, read only, and a
    second one, lrwatch@USER, acts for one user. Installing again updates the units and leaves settings alone.
    """
    watched = [os.path.abspath(path) for path in paths]  # noqa: PTH100  a pattern stays one
    files = _user_files(os.environ, watched, key_file) if user else _system_files(watched, key_file)
    for path, text in files.items():
        target = path if root is None else root / path.relative_to("/")
        keeps = path.suffix == ".toml" and target.exists()
        if dry_run:
            click.echo(safe(f"# {target}{' (stays as it is)' if keeps else ''}"))
            click.echo(text)
        elif keeps:
            tell(f"{target} stays as it is{'; PATH is not added to it' if paths else ''}")
        else:
            _put(target, text)
    if not user:
        for hidden in _hidden_from_others():
            tell(f"lrwatch: {hidden}")
    systemctl = "systemctl --user" if user else "systemctl"
    tell(f"next: {systemctl} daemon-reload && {systemctl} enable --now lrwatch")
    return 0


def unit(kind: UnitKind, program: Sequence[str], *, config: Path | None = None, key_file: Path | None = None) -> str:
    """Return the text of a unit.

    Args:
        kind: Whose runs it watches.
        program: Absolute path of the program, and its first arguments.
        config: The settings of a unit of the kind "user".
        key_file: The key that signs commands, or None.
    """
    from jinja2 import Environment, StrictUndefined

    text = Path(__file__).with_name("units.service.j2").read_text(encoding="utf-8")
    template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)  # noqa: S701  no HTML
    key = "" if key_file is None else str(key_file.resolve()).replace("%", "%%")
    return template.render(
        kind=kind,
        program=" ".join(map(_word, program)),
        config="" if config is None else _word(str(config)),
        key=_quoted(f"LRWATCH_DAEMON_KEY_FILE={key}") if key and kind == "user" else key,
    )


def _put(target: Path, text: str) -> None:
    """Write one file, with the directories above it.

    Raises:
        InputError: It cannot be written.
    """
    from lrwatch.errors import InputError

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write(target, text)
    except OSError as error:
        raise InputError(
            expected="a file that can be written", found=error.strerror or str(error), where=str(target),
            hint="Run it as root, or install for your own runs with --user.",
        ) from error  # fmt: skip
    tell(f"{target} written")


def this_program() -> list[str]:
    """Return how this process was started: the absolute path of `lrwatch`, or of the interpreter that runs it as a module."""
    started = Path(sys.argv[0])
    if started.name == "lrwatch" and os.access(started, os.X_OK):
        return [str(started.absolute())]
    return [sys.executable, "-m", "lrwatch"]


def _system_files(paths: Sequence[str], key_file: Path | None) -> dict[Path, str]:
    program = this_program()
    settings = _SETTINGS / "lrwatch.toml"
    return {
        _UNITS / "lrwatch.service": unit("system", program, key_file=key_file),
        _UNITS / "lrwatch@.service": unit("template", program, key_file=key_file),
        settings: _watch(settings, paths or ["/srv/runs"], "systemctl reload lrwatch"),
    }


def _user_files(environ: Mapping[str, str], paths: Sequence[str], key_file: Path | None) -> dict[Path, str]:
    home = Path(environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser().absolute()
    settings = home / "lrwatch/lrwatch.toml"
    watched = paths or [str(Path("~/runs").expanduser())]
    return {
        home / "systemd/user/lrwatch.service": unit("user", this_program(), config=settings, key_file=key_file),
        settings: _watch(settings, watched, "systemctl --user reload lrwatch") + _ACT,
    }


def _watch(file: Path, paths: Sequence[str], reload: str) -> str:
    """Return settings to begin with: what is watched."""
    return _WATCH.format(file=file, paths=", ".join(map(toml_string, paths)), reload=reload)


def _word(text: str) -> str:
    """Return one word of a command line as systemd reads it."""
    return _quoted(text.replace("%", "%%").replace("$", "$$"))


def _quoted(text: str) -> str:
    """Return text in quotes where systemd would take it for several words."""
    if _PLAIN_WORD.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _hidden_from_others() -> list[str]:
    """Return why other users cannot start this program, a sentence each: the unit has a user of its own."""
    needed = {
        Path(self_or_python) for self_or_python in (this_program()[0], sys.executable, os.path.realpath(sys.executable))
    }
    closed = {parent for path in needed for parent in path.parents if not parent.stat().st_mode & 0o001}
    return [
        f"{directory} is closed to other users, so the unit cannot start {this_program()[0]}: install lrwatch elsewhere, "
        "for example with python3 -m venv /opt/lrwatch, or take --user"
        for directory in sorted(closed)
    ]
