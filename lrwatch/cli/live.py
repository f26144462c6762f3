"""`lrwatch PATH`: all runs at PATH live in the terminal, observed and left alone. `status --watch` shows those of a daemon."""

from __future__ import annotations

import difflib
import glob
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrwatch.cli.output import print_json
from lrwatch.cli.settings import config_option, load_config, metric_option

if TYPE_CHECKING:
    from lrwatch.core.snapshot import Snapshot
    from lrwatch.store import Store

# Seconds between two looks of `status --watch`; its daemon saves about as often.
WATCH_SECONDS = 1.0


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@config_option
@metric_option
def live(paths: tuple[str, ...], config_file: Path | None, metric: str | None) -> int:
    """Show the runs at PATH live in the terminal, until Ctrl-C; `lrwatch PATH` is the same.

    Nothing is changed: no command is sent, no state is kept, no address is served. `lrwatch run PATH` is the daemon.
    """
    from lrwatch.cli.table import view
    from lrwatch.core.overview import by_attention
    from lrwatch.daemon.loop import Daemon
    from lrwatch.daemon.wake import Waker
    from lrwatch.store import Store

    config = load_config(config_file, watch__paths=paths, run__metric=metric, policy__mode="observe")
    interrupted = False

    with closing(Store(None)) as store, closing(Daemon(config, store, lambda _: None)) as daemon:
        waker = Waker(config.daemon.poll_seconds)

        def stop(number: int, _: object) -> None:
            nonlocal interrupted
            interrupted = number == signal.SIGINT
            waker.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, stop)
        with closing(waker), closing(view()) as shown:

            class _TableSink:
                """The table."""

                def publish(self, snapshot: Snapshot) -> None:
                    shown.show(by_attention(snapshot.runs, snapshot.time), daemon.problems)

                def observe_loop(self, seconds: float) -> None:
                    """Ignore it: the table does not show it."""

            daemon.run(waker, _TableSink())
    if interrupted:
        raise KeyboardInterrupt
    return 0


def watch_states(store: Store, run: str | None, form: str, daemon_runs: Callable[[], bool]) -> None:
    """Show the runs of a daemon live, until Ctrl-C.

    Args:
        store: The daemon's state.
        run: The only run that is shown, or None for all.
        form: `table`, or `json` for one object a line whenever a run has changed.
        daemon_runs: Tells whether the daemon runs.
    """
    from lrwatch.cli.table import view
    from lrwatch.core.overview import by_attention

    seen: dict[str, Mapping[str, Any]] = {}

    def changed() -> dict[str, dict[str, Any]]:
        statuses = {name: one for name, one in store.statuses().items() if run in (None, name)}
        news = {name: one for name, one in statuses.items() if seen.get(name) != one}
        seen.clear()
        seen.update(statuses)
        return news

    if form == "json":
        while True:
            for one in changed().values():
                print_json(one)
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)
    from lrwatch.offline.saved_status import status_of

    with closing(view()) as shown:
        while True:
            changed()
            notes = (
                [] if daemon_runs() else ["no daemon is running on this state; this is how the runs were when it ended"]
            )
            shown.show(by_attention(map(status_of, seen.values()), time.time()), notes)
            time.sleep(WATCH_SECONDS)


def is_there(path: str) -> bool:
    """Return whether a path exists, or a pattern matches one."""
    return Path(path).exists() or (glob.has_magic(path) and any(glob.iglob(path, recursive=True)))  # noqa: PTH207  (it may be absolute)


def unknown(word: str, commands: list[str]) -> str:
    """Return what to say to a first word that is no command and no path.

    >>> unknown("stauts", ["status", "run"])
    "expected a command or a path that exists, found 'stauts'. Did you mean 'status'?"
    """
    near = difflib.get_close_matches(word, commands, n=1)
    return f"expected a command or a path that exists, found {word!r}." + (
        f" Did you mean {near[0]!r}?" if near else ""
    )
