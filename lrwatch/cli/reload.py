"""SIGHUP: read the settings again, or end, where it says that the terminal is gone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from lrwatch.cli.output import tell

if TYPE_CHECKING:
    from lrwatch.config import Config
    from lrwatch.daemon.loop import Daemon


class Reload:
    """Reads the settings again when SIGHUP asks for it.

    Args:
        config: The settings in use.
        load: Reads them again: the file, with the environment and the flags of the start.
        apply: Called with settings that the daemon has taken up.
        wake: Ends the wait of the loop.
        hung_up: Called when the terminal is gone.
    """

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        *,
        apply: Callable[[Config], object],
        wake: Callable[[], object],
        hung_up: Callable[[], object],
    ) -> None:
        self.config = config
        self._load = load
        self._apply = apply
        self._wake = wake
        self._hung_up = hung_up
        self._terminal = _has_terminal()
        self.asked = False

    def listen(self) -> None:
        """Take SIGHUP from now on, unless the parent process ignores it, as nohup does."""
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        if self._terminal and not _has_terminal():
            self._hung_up()
            return
        self.asked = True
        self._wake()

    def now(self, daemon: Daemon) -> None:
        """Read the settings again, and say what of them changed. Where they cannot be used, all stays as it is.

        Args:
            daemon: The daemon, between two turns.
        """
        from lrwatch.daemon.reload import changes
        from lrwatch.errors import LrwatchError

        self.asked = False
        try:
            config = self._load()
            found = changes(self.config, config)
            if found.now:
                daemon.apply(config)
                self._apply(config)
                self.config = config
        except LrwatchError as error:
            tell(f"lrwatch: the settings stay as they were: {error}")
            return
        for change in found.now:
            tell(f"lrwatch: settings read again: {change}")
        for name in found.at_start:
            tell(f"lrwatch: settings read again: {name} has changed, and needs a restart")
        if not (found.now or found.at_start):
            tell("lrwatch: settings read again: nothing has changed")


def _has_terminal() -> bool:
    """Whether this process has a controlling terminal; after a hang-up it has none any more."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
