"""`lrwatch notify test`, and channels that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.message_sinks import Webhook, webhook

from lrwatch.cli import cli
from lrwatch.errors import ConfigError, InputError

SECRETS = ("pa55word", "T0KENofHook", "S3CRET")


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as started:
        yield started


def lrwatch(*arguments: str, **environ: str) -> Result:
    result = CliRunner().invoke(cli, arguments, env=environ, standalone_mode=False)
    assert not [secret for secret in SECRETS if secret in f"{result.output} {result.exception}"]
    return result


def test_a_test_message_says_which_channel_took_it(hook: Webhook) -> None:
    result = lrwatch("notify", "test", LRWATCH_NOTIFY_URLS=hook.url(), LRWATCH_NOTIFY_COMMAND='["true"]')
    assert result.return_value == 0
    assert result.output.splitlines() == [
        "sending 'lrwatch test: a plateau would look like this' to 2 channels",
        "1 (json): sent, with a picture of a curve",
        "command true: sent",
    ]
    message = hook.messages[-1]
    assert message["title"] == "lrwatch test: a plateau would look like this"
    assert "no run is meant" in message["message"]
    assert message["pictures"][0].startswith(b"\x89PNG")


def test_a_channel_that_fails_is_exit_code_4_and_the_others_are_tried_all_the_same(hook: Webhook) -> None:
    before = len(hook.messages)
    result = lrwatch("notify", "test", LRWATCH_NOTIFY_URLS=f"json://127.0.0.1:1/S3CRET {hook.url()}")
    assert result.return_value == 4
    lines = result.output.splitlines()
    assert lines[1].startswith("1 (json): failed: A Connection error")
    assert lines[2] == "2 (json): sent, with a picture of a curve"
    assert len(hook.messages) == before + 1


def test_without_a_channel_there_is_nothing_to_test() -> None:
    result = lrwatch("notify", "test")
    assert isinstance(result.exception, InputError)
    assert "expected at least one channel, found none" in str(result.exception)


def test_the_settings_are_shown_without_their_secrets(hook: Webhook) -> None:
    urls = f"critical={hook.url()} slack://S3CRET"
    assert '["critical=json://***", "slack://***"]' in lrwatch("config", "show", LRWATCH_NOTIFY_URLS=urls).output
    assert "S3CRET" not in lrwatch("config", "show", "--format", "json", LRWATCH_NOTIFY_URLS=urls).output


def test_a_channel_that_cannot_be_used_ends_the_daemon_before_it_begins(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("step 1 loss 2.0\n")
    arguments = ("run", str(tmp_path / "train.log"), "--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0")
    result = lrwatch(*arguments, LRWATCH_NOTIFY_URLS="nosuch://S3CRET")
    assert isinstance(result.exception, ConfigError)
    assert "[notify] urls, number 1, nosuch://***: expected a channel that apprise can use" in str(result.exception)
