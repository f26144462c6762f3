"""`lrwatch notify`: whether messages arrive."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrwatch.cli.output import safe
from lrwatch.cli.settings import config_option, load_config

if TYPE_CHECKING:
    from lrwatch.notify.channels import Channel
    from lrwatch.notify.outbox import Letter

# Longer than the time limits of apprise's services for one message with a picture.
_PATIENCE_SECONDS = 60.0


@click.group()
def notify() -> None:
    """Tell people what happens: [notify] in the settings names the channels."""


@notify.command()
@config_option
def test(config_file: Path | None) -> int:
    """Send a test message through every channel, and say which of them took it.

    Exit code 4 where there is no channel, or one failed.
    """
    from lrwatch.errors import InputError
    from lrwatch.notify.channels import channels_of

    config = load_config(config_file)
    channels = channels_of(config.notify)
    if not channels:
        raise InputError(
            expected="at least one channel", found="none", where=str(config_file or "the environment"),
            hint="Set [notify] urls, urls_file or command, for example urls = [\"ntfy://my-topic\"].",
        )  # fmt: skip
    letter = _letter()
    click.echo(f"sending {letter.title!r} to {len(channels)} channel{'s' if len(channels) > 1 else ''}")
    failures = [_try(channel, letter, config.notify.timeout_seconds) for channel in channels]
    for channel, failure in zip(channels, failures, strict=True):
        sent = "sent, with a picture of a curve" if channel.takes_pictures else "sent"
        click.echo(safe(f"{channel.name}: {f'failed: {failure}' if failure else sent}"))
    return InputError.exit_code if any(failures) else 0


def _letter() -> Letter:
    """Return a plateau of a run that does not exist."""
    import numpy as np

    from lrwatch.core.curve import Curve
    from lrwatch.notify.notices import Notice
    from lrwatch.notify.outbox import Letter
    from lrwatch.notify.picture import Plot

    curve, steps = Curve(), np.arange(2000)
    curve.add(steps, 2 + np.exp(-steps / 250) + 0.02 * np.sin(steps * math.pi / 5))
    message = "this is a test of lrwatch: no run is meant, and nothing is to be done"
    return Letter(
        (Notice("plateau", "warning", "test", "loss", "lrwatch test: a plateau would look like this", message, time.time(), 1999,
                plot=Plot.of("loss", curve, mark=1500)),),
        (0,),
    )  # fmt: skip


def _try(channel: Channel, letter: Letter, command_seconds: float) -> str:
    """Deliver a letter. Return why that failed, or ""."""
    from lrwatch.notify.channels import DeliveryError

    failure: list[str] = []

    def deliver() -> None:
        try:
            channel.deliver(letter)
        except DeliveryError as error:
            failure.append(error.reason)
        else:
            failure.append("")

    patience = max(_PATIENCE_SECONDS, 2 * command_seconds)
    thread = threading.Thread(target=deliver, daemon=True)
    thread.start()
    thread.join(patience)
    return failure[0] if failure else f"no answer within {patience:g} s"
