"""`lrwatch mcp`: the verbs for programs that speak the Model Context Protocol, over standard input and output."""

from __future__ import annotations

from pathlib import Path

import click

from lrwatch.cli.settings import config_option, state_option


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path), metavar="[PATH]...")
@config_option
@state_option
def mcp(paths: tuple[Path, ...], config_file: Path | None, state: str | None) -> int:
    """Serve the verbs to an assistant, over standard input and output. Needs `pip install 'lrwatch[mcp]'`.

    It reads: status, journal, explain, doctor, forecast of the runs that a daemon watches, and their logs; other logs only below PATH.
    It changes nothing, unless [operators] of the daemon's settings names `mcp:USER` for a verb (`approve = ["mcp:anna"]`).
    """
    from lrwatch.cli.agent_tools import Tools
    from lrwatch.errors import InputError

    try:
        from lrwatch.cli.mcp_server import serve
    except ImportError as error:
        raise InputError(
            expected="the package mcp", found="none", where="lrwatch mcp", hint="Install it: pip install 'lrwatch[mcp]'.",
        ) from error  # fmt: skip
    for path in paths:
        if not path.exists():
            raise InputError(
                expected="a log or a directory", found="nothing", where=str(path), hint="Check the path, or leave it out.",
            )  # fmt: skip
    serve(Tools(paths, config_file, state))
    return 0
