"""The `lrwatch` program: the group of all commands, and the exit code of every error."""

from __future__ import annotations

import io
import sys
from typing import Any

import click

from lrwatch._version import __version__
from lrwatch.cli.backtest import backtest
from lrwatch.cli.configure import config
from lrwatch.cli.demo import demo
from lrwatch.cli.doctor import doctor
from lrwatch.cli.forecast import forecast
from lrwatch.cli.init import init
from lrwatch.cli.live import is_there, live, unknown
from lrwatch.cli.mcp import mcp
from lrwatch.cli.notify import notify
from lrwatch.cli.operate import approve, decay, deny, extend, hold, resume, set_scale, strategy, undo
from lrwatch.cli.output import give_up_output, safe
from lrwatch.cli.read import read
from lrwatch.cli.replay import replay
from lrwatch.cli.report import report
from lrwatch.cli.run import run
from lrwatch.cli.schema import schema
from lrwatch.cli.service import service
from lrwatch.cli.show import explain, journal, status
from lrwatch.errors import InputError, LrwatchError

# Ctrl-C, as a shell reports it.
EXIT_INTERRUPTED = 130

# What to do about a state that SQLite cannot use, by what its message holds.
_STATE_HINTS = {
    "locked": "Another process holds it: try again, or end that one; `fuser` names it.",
    "full": "Make room on its disk, and try again.",
    "": "Move the state directory away to begin anew, or give another one with --state.",
}

COMMANDS = (
    run, live, demo, replay, backtest, read, init, report, forecast, config, schema, status, journal, explain, doctor, set_scale, undo, strategy, decay, hold,
    resume, extend, approve, deny, service, notify, mcp,
)  # fmt: skip


class _Program(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; a path in its place is watched live, and a word that is neither is refused."""
        word = args[0]
        if self.get_command(ctx, word) is None and not ctx.resilient_parsing and not word.startswith("-"):
            if not is_there(word):
                raise click.UsageError(unknown(word, self.list_commands(ctx)), ctx)
            return live.name, live, args
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except (
            BrokenPipeError
        ):  # the reader of our output went away, `lrwatch journal | head`: no failure, as click has it
            give_up_output()
            return 0
        return result


@click.group(cls=_Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lrwatch")
def cli() -> None:
    """Find loss plateaus with honest statistics, and turn down the learning rate of the running job, safely.

    `lrwatch PATH` shows the runs at a file, a directory or a glob live in the terminal and changes nothing.

    Exit codes: 0 done, 2 usage, 3 configuration, 4 files and runs, 5 refused by a bound, 130 interrupted.
    """


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Run the program and exit with its code."""
    for stream in (sys.stdout, sys.stderr):  # names of files and metrics may be anything; showing them never fails
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = cli.main(prog_name="lrwatch", standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except LrwatchError as error:
        click.echo(safe(f"lrwatch: {error}"), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:  # no command foresaw it: a disk that is full, a directory that may not be written
        click.echo(safe(f"lrwatch: {error}"), err=True)
        give_up_output()
        sys.exit(InputError.exit_code)
    except Exception as error:
        if type(error).__module__ != "sqlite3":  # which most commands never load
            raise
        hint = next((hint for sign, hint in _STATE_HINTS.items() if sign in str(error)), _STATE_HINTS[""])
        click.echo(safe(f"lrwatch: the state cannot be used: {error}. {hint}"), err=True)
        sys.exit(InputError.exit_code)
