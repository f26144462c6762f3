"""Delivery of a letter: by apprise, or to a command. A call may take long; the threads are in `notifier`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from lrwatch import settings_file
from lrwatch.core.events import Severity
from lrwatch.core.plain import plain
from lrwatch.errors import ConfigError
from lrwatch.notify.notices import Notice
from lrwatch.notify.options import NotifyOptions, channel_parts
from lrwatch.notify.outbox import Letter
from lrwatch.notify.picture import Plot
from lrwatch.notify.quoting import quoted, without_secrets

# What a program of ours should not find in its environment: the channels with their secrets.
_OWN_PREFIX = "LRWATCH_NOTIFY_"

_TYPES: dict[Severity, str] = {"info": "info", "warning": "warning", "critical": "failure"}


class DeliveryError(Exception):
    """A letter, or a part of it, could not be delivered.

    Args:
        reason: Why, as a clause without secrets.
        left: The notices that were not delivered.
    """

    def __init__(self, reason: str, left: Sequence[Notice]) -> None:
        super().__init__(reason)
        self.reason = reason
        self.left = left


class Channel(Protocol):
    """A recipient of messages.

    Attributes:
        name: What it is called in messages; without a secret.
        least: The least severity that it takes.
        takes_pictures: Whether the curve goes along.
    """

    name: str
    least: Severity
    takes_pictures: bool

    def deliver(self, letter: Letter) -> None:
        """Deliver a letter.

        Raises:
            DeliveryError: It was not delivered, or not all of it.
        """


class _Reasons(logging.Handler):
    """What apprise logs about a failure, which is the only place where it says the reason; a list for each thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._local = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        if (lines := getattr(self._local, "lines", None)) is not None:
            lines.append(record.getMessage())

    @contextlib.contextmanager
    def heard(self) -> Iterator[list[str]]:
        """Collect what this thread logs meanwhile."""
        lines: list[str] = []
        self._local.lines = lines
        try:
            yield lines
        finally:
            del self._local.lines


_REASONS = _Reasons()


class AppriseChannel:
    """A service of apprise.

    Args:
        number: Its place among the channels, from 1.
        line: Its URL, maybe with a severity before it.
        options: The settings.
        where: Where the line stands, for errors.

    Attributes:
        name, least, takes_pictures: As `Channel`.

    Raises:
        ConfigError: Apprise does not know the service, or the URL lacks something.
    """

    def __init__(self, number: int, line: str, options: NotifyOptions, where: str) -> None:
        try:
            import apprise
        except ImportError as error:
            raise ConfigError(
                expected="the package of the extra `notify`", found=f"no {error.name}", where=where,
                hint="Install it: pip install 'lrwatch[notify]'",
            ) from error  # fmt: skip
        parts = channel_parts(line)
        if parts is None:
            raise ConfigError(
                expected="SCHEME://... or critical=SCHEME://...", found="something else", where=where,
                hint="`apprise --details` lists the services; https://github.com/caronc/apprise/wiki shows their URLs.",
            )  # fmt: skip
        least, scheme, self._url = parts
        self.name = f"{number} ({scheme})"
        self.least: Severity = least or options.severity
        log = logging.getLogger("apprise")
        if _REASONS not in log.handlers:
            log.addHandler(_REASONS)
            log.propagate = False  # it would print what may hold a secret
        # No picture from the internet beside the message.
        asset = apprise.AppriseAsset(app_id="lrwatch", app_desc="lrwatch", image_url_mask="", image_url_logo="")
        with _REASONS.heard() as said:
            self._service: Any = apprise.Apprise.instantiate(self._url, asset=asset, suppress_exceptions=True)
        if not isinstance(self._service, apprise.NotifyBase):
            raise ConfigError(
                expected="a channel that apprise can use", found=self._reason(said) or "one that it cannot", where=f"{where}, {scheme}://***",
                hint="https://github.com/caronc/apprise/wiki shows the URL of each service.",
            )  # fmt: skip
        self.takes_pictures = bool(options.picture and self._service.attachment_support)

    def deliver(self, letter: Letter) -> None:
        """Deliver a letter as text, which apprise escapes as its service needs it.

        Raises:
            DeliveryError: The service did not take it.
        """
        with contextlib.ExitStack() as kept:
            body, picture = letter.body, None
            shown = next((one for one in letter.notices if one.plot is not None), None)
            if shown is not None and shown.plot is not None and self.takes_pictures:
                try:
                    picture = kept.enter_context(_file_of(shown.plot))
                except OSError as error:  # a container without a place for files
                    body = f"{body}\nNo picture: {error.strerror}"
                else:
                    body = f"{body}\nPicture: {quoted(f'{shown.run}: {shown.plot.caption}')}"
            self._send(letter, body, picture)

    def _send(self, letter: Letter, body: str, picture: Path | None) -> None:
        with _REASONS.heard() as said:
            try:
                # Not by `Apprise.notify`: its pool of threads would hold up the end of the program.
                done = self._service.notify(
                    title=letter.title, body=body, body_format="text", overflow="split", notify_type=_TYPES[letter.severity],
                    attach=None if picture is None else _attachment(picture),
                )  # fmt: skip
            except Exception as error:  # of any of a hundred plugins; nothing of it may end the thread
                raise DeliveryError(self._reason([f"{type(error).__name__}: {error}"]), letter.notices) from error
        if not done:
            raise DeliveryError(self._reason(said) or "the service did not take it", letter.notices)

    def _reason(self, said: Sequence[str]) -> str:
        return quoted(without_secrets("; ".join(said), [self._url])).rstrip(".")


@contextlib.contextmanager
def _file_of(plot: Plot) -> Iterator[Path]:
    """Keep a picture in a file for a while: some services open it by its path."""
    with tempfile.TemporaryDirectory(prefix="lrwatch-notify-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "curve.png"
        path.write_bytes(plot.png())
        yield path


def _attachment(picture: Path) -> Any:
    from apprise import AppriseAttachment
    from apprise.attachment.file import AttachFile

    make: Any = AttachFile  # it has no types
    return AppriseAttachment([make(str(picture), name=picture.name, mimetype="image/png")])


class CommandChannel:
    """A command that is run for each notice, without a shell, with the notice as JSON on its standard input.

    Args:
        options: The settings, with a command.

    Attributes:
        name, least, takes_pictures: As `Channel`.
    """

    takes_pictures = False

    def __init__(self, options: NotifyOptions) -> None:
        self._command = options.command
        self._seconds = options.timeout_seconds
        self.name = f"command {quoted(Path(options.command[0]).name)}"
        self.least: Severity = options.severity

    def deliver(self, letter: Letter) -> None:
        """Run the command once for each notice. What it prints on standard error is shown; its standard output is not.

        Raises:
            DeliveryError: It could not be started, took too long or ended with another code than 0.
        """
        for done, one in enumerate(letter.notices):
            if reason := self._run(json.dumps(plain(one.as_json())).encode() + b"\n"):
                raise DeliveryError(reason, letter.notices[done:])

    def _run(self, text: bytes) -> str:
        """Run the command once. Return why it failed, or ""."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OWN_PREFIX)}
        try:
            process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment, start_new_session=True
            )
        except OSError as error:
            return f"cannot be started: {error.strerror}"
        try:
            process.communicate(text, timeout=self._seconds)
        except subprocess.TimeoutExpired:
            os.killpg(
                process.pid, signal.SIGKILL
            )  # its children too; it is not yet waited for, so the group is still its own
            process.communicate()
            return f"took longer than {self._seconds:g} s, and was ended"
        return f"ended with code {process.returncode}" if process.returncode else ""


def channels_of(options: NotifyOptions) -> list[Channel]:
    """Return the channels of the settings.

    Args:
        options: The settings.

    Raises:
        ConfigError: One of them cannot be used.
    """
    lines = [(url, f"[notify] urls, number {number}") for number, url in enumerate(options.urls, 1)]
    lines += _lines_of(options.urls_file) if options.urls_file else []
    channels: list[Channel] = [
        AppriseChannel(number, line, options, where) for number, (line, where) in enumerate(lines, 1)
    ]
    return [*channels, *([CommandChannel(options)] if options.command else [])]


def _lines_of(file: str) -> list[tuple[str, str]]:
    """Return the lines of a file of channels, each with its place.

    Raises:
        ConfigError: It cannot be read.
    """
    where = f"[notify] urls_file = {file!r}"
    try:
        content = settings_file.read(
            Path(file), expected="URLs", where=where, hint="Name the file with the URLs, not a log."
        )
        lines = content.decode("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            expected="a file with a URL of apprise on each line", found=getattr(error, "strerror", None) or str(error),
            where=where, hint="Check the path, and that the daemon's user may read it.",
        ) from error  # fmt: skip
    return [
        (line.strip(), f"{file}, line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
