"""Delivery to real servers and programs."""

from __future__ import annotations

import base64
import json
import logging
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.message_sinks import Webhook, mail_server, webhook
from support.waiting import eventually

from lrwatch.config import load
from lrwatch.core.curve import Curve
from lrwatch.errors import ConfigError
from lrwatch.notify.channels import CommandChannel, DeliveryError, channels_of
from lrwatch.notify.notices import Notice
from lrwatch.notify.options import NotifyOptions
from lrwatch.notify.outbox import Letter
from lrwatch.notify.picture import Plot

SECRETS = ("pa55word", "T0KENofHook", "anna")


def curve() -> Plot | None:
    made = Curve()
    made.add(np.arange(500), np.linspace(3.0, 1.0, 500))
    return Plot.of("loss", made)


def letter(*runs: str, plot: Plot | None = None) -> Letter:
    notices = [
        Notice("plateau", "warning", run, "loss", f"{run}: plateau", "it no longer improves", 0.0, 5, plot=plot)
        for run in runs
    ]
    return Letter(tuple(notices), (0,) * len(notices))


@pytest.fixture(scope="module")
def hook() -> Iterator[Webhook]:
    with webhook() as started:
        yield started


def test_a_webhook_gets_the_words_and_the_picture(hook: Webhook) -> None:
    (channel,) = channels_of(NotifyOptions(urls=(hook.url(),)))
    assert (channel.name, channel.takes_pictures) == ("1 (json)", True)
    channel.deliver(letter("gpt2", plot=curve()))
    message = hook.messages[-1]
    assert (message["title"], message["type"]) == ("gpt2: plateau", "warning")
    assert message["message"].startswith("it no longer improves\nPicture: gpt2: loss, steps ")
    assert message["pictures"][0].startswith(b"\x89PNG")


@pytest.mark.parametrize("scheme", ["form", "ntfy", "apprise", "xml"])
def test_other_services_take_the_picture_too(
    hook: Webhook, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of them open it by its path, which is gone afterwards."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (channel,) = channels_of(NotifyOptions(urls=(f"{scheme}://127.0.0.1:{hook.port}/T0KENofHook",)))
    channel.deliver(letter("gpt2", plot=curve()))
    raw = hook.messages[-1]["raw"]
    assert b"gpt2" in raw
    assert b"\x89PNG" in raw or base64.b64encode(b"\x89PNG\r\n") in raw
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_the_picture_the_words_arrive(hook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    (channel,) = channels_of(NotifyOptions(urls=(hook.url(),)))
    channel.deliver(letter("gpt2", plot=curve()))
    assert hook.messages[-1]["message"] == "it no longer improves\nNo picture: No such file or directory"
    assert hook.messages[-1]["pictures"] == []


def test_a_picture_is_a_setting(hook: Webhook) -> None:
    (channel,) = channels_of(NotifyOptions(urls=(hook.url(),), picture=False))
    channel.deliver(letter("gpt2", plot=curve()))
    assert hook.messages[-1]["pictures"] == []


def test_a_mail_has_one_subject_whatever_the_log_says_and_the_picture_as_a_file() -> None:
    with mail_server() as server:
        url = f"mailto://127.0.0.1:{server.port}?from=lrwatch@example.org&to=oncall@example.org&mode=insecure"
        (channel,) = channels_of(NotifyOptions(urls=(url,)))
        channel.deliver(letter("gpt2", plot=curve()))
        (mail,) = server.mails
    assert mail["Subject"] == "gpt2: plateau"
    assert mail["To"] is not None
    types = [part.get_content_type() for part in mail.walk()]
    assert "image/png" in types


@pytest.mark.parametrize("status", [500, 403])
def test_a_refusal_has_a_reason_without_the_secrets(
    hook: Webhook, status: int, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (channel,) = channels_of(NotifyOptions(urls=(hook.url(),)))
    hook.status = status
    try:
        with caplog.at_level(logging.WARNING), pytest.raises(DeliveryError) as error:
            channel.deliver(letter("gpt2"))
    finally:
        hook.status = 200
    assert error.value.reason
    said = f"{error.value.reason} {channel.name} {capfd.readouterr()} {caplog.text}"
    assert not [secret for secret in SECRETS if secret in said]


def test_nobody_at_the_address_is_a_failure_with_a_reason() -> None:
    (channel,) = channels_of(NotifyOptions(urls=("json://127.0.0.1:1/T0KENofHook",)))
    with pytest.raises(DeliveryError, match="onnection"):
        channel.deliver(letter("gpt2"))


@pytest.mark.parametrize(
    ("url", "scheme"), [("nosuch://T0KENofHook", "nosuch"), ("tgram://T0KENofHook", "tgram"), ("slack://x", "slack")]
)
def test_a_url_that_apprise_cannot_use_is_an_error_without_its_secrets(url: str, scheme: str) -> None:
    with pytest.raises(
        ConfigError, match=rf"\[notify\] urls, number 1, {scheme}://\*\*\*: expected a channel"
    ) as error:
        channels_of(NotifyOptions(urls=(url,)))
    assert "T0KENofHook" not in str(error.value)


def test_channels_of_a_file_have_severities_and_comments(tmp_path: Path, hook: Webhook) -> None:
    file = tmp_path / "channels"
    file.write_text(f"# on call\ncritical={hook.url()}\n\n{hook.url('other')}\n")
    channels = channels_of(
        NotifyOptions(urls=(hook.url(),), urls_file=str(file), severity="warning", command=("true",))
    )
    assert [(channel.name, channel.least) for channel in channels] == [
        ("1 (json)", "warning"), ("2 (json)", "critical"), ("3 (json)", "warning"), ("command true", "warning"),
    ]  # fmt: skip
    file.write_text("what is this?\n")
    with pytest.raises(ConfigError, match="channels, line 1"):
        channels_of(NotifyOptions(urls_file=str(file)))
    with pytest.raises(ConfigError, match="No such file"):
        channels_of(NotifyOptions(urls_file=str(tmp_path / "nowhere")))


# ---- the command ----------------------------------------------------------------------------------------------------


def program(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_command_reads_each_notice_as_json_and_no_shell_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LRWATCH_NOTIFY_URLS", "json://s3cret")
    monkeypatch.setenv("LRWATCH_POLICY_MODE", "auto")
    out = tmp_path / "out"
    command = program(tmp_path, f'cat >> {out}; echo "$1" >> {out}; env >> {out}')
    channel = CommandChannel(NotifyOptions(command=(command, "$(touch pwned); `id`")))
    evil = "$(touch pwned); `id`; \n <!channel>"
    sent = letter("gpt2", evil)
    channel.deliver(sent)
    lines = out.read_text().splitlines()
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert [one["run"] for one in events] == ["gpt2", evil]
    assert events[0] == sent.notices[0].as_json()
    assert lines.count("$(touch pwned); `id`") == 2
    assert not any("s3cret" in line for line in lines)
    assert "LRWATCH_POLICY_MODE=auto" in lines
    assert not Path("pwned").exists()


def test_a_command_that_fails_says_what_it_has_not_seen(tmp_path: Path) -> None:
    channel = CommandChannel(NotifyOptions(command=(program(tmp_path, "grep -q good || exit 7"),)))
    with pytest.raises(DeliveryError, match="ended with code 7") as error:
        channel.deliver(letter("good", "bad", "never"))
    assert [one.run for one in error.value.left] == ["bad", "never"]


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    channel = CommandChannel(
        NotifyOptions(command=(program(tmp_path, f"sleep 60 & echo $! > {pids}; sleep 60"),), timeout_seconds=0.4)
    )
    began = time.monotonic()
    with pytest.raises(DeliveryError, match=r"took longer than 0\.4 s, and was ended"):
        channel.deliver(letter("gpt2"))
    assert time.monotonic() - began < 10
    eventually(lambda: has_ended(int(pids.read_text())))


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


def test_a_command_that_is_not_there_or_reads_nothing_is_no_fault_of_the_daemon() -> None:
    with pytest.raises(DeliveryError, match="cannot be started: No such file"):
        CommandChannel(NotifyOptions(command=("/no/such/program",))).deliver(letter("gpt2"))
    long = replace(letter("gpt2").notices[0], message="x" * 1_000_000)
    CommandChannel(NotifyOptions(command=("true",))).deliver(Letter((long,), (0,)))


# ---- settings --------------------------------------------------------------------------------------------------------


def test_settings_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "lrwatch.toml"
    file.write_text('[notify]\nurls_file = "channels"\nquiet = "22:00-07:00"\ncommand = ["page", "--now"]\n')
    options = load(
        file, {"LRWATCH_NOTIFY_URLS": "json://a critical=ntfy://b,c", "LRWATCH_NOTIFY_KINDS": "lost, plateau"}
    ).notify
    assert options.urls_file == str(tmp_path / "channels")
    assert options.urls == ("json://a", "critical=ntfy://b,c")
    assert options.kinds == ("lost", "plateau")
    assert options.command == ("page", "--now")


@pytest.mark.parametrize(
    ("environ", "reason"),
    [
        ({"LRWATCH_NOTIFY_URLS": "s3cret"}, "number 1 is not"),
        ({"LRWATCH_NOTIFY_URLS": '["json://a", 5, "json://s3cret"]'}, "urls must be"),
        ({"LRWATCH_NOTIFY_KINDS": "plateaus"}, "kinds must be among plateau"),
        ({"LRWATCH_NOTIFY_QUIET": "10pm"}, "22:00-07:00"),
        ({"LRWATCH_NOTIFY_AT_ONCE": "loud"}, "info, warning, critical"),
        ({"LRWATCH_NOTIFY_PER_HOUR": "0"}, "from 1 to 3600"),
    ],
)
def test_a_setting_that_cannot_be_is_an_error_that_shows_no_url(environ: dict[str, str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as error:
        load(None, environ)
    assert "s3cret" not in str(error.value)


def test_quiet_hours_wrap_around_midnight() -> None:
    options = NotifyOptions(quiet="22:00-07:00")
    assert options.quiet_seconds(21 * 60 + 59) == 0
    assert options.quiet_seconds(22 * 60) == 9 * 3600
    assert options.quiet_seconds(0) == 7 * 3600
    assert options.quiet_seconds(7 * 60) == 0
    assert NotifyOptions().quiet_seconds(0) == 0


def test_without_the_package_of_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(ConfigError, match=r"no apprise\. Install it: pip install 'lrwatch\[notify\]'"):
        channels_of(NotifyOptions(urls=("json://127.0.0.1",)))
    assert channels_of(NotifyOptions(command=("true",)))  # which needs none


def test_whatever_stands_in_the_journal_the_command_gets_as_one_line_of_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    event = {"message": "a\nb\u2028c\ud800", "evidence": {"value": float("nan")}}
    strange = replace(letter("gpt2").notices[0], event=event, run="\ud800\n")
    CommandChannel(NotifyOptions(command=(program(tmp_path, f"cat > {out}"),))).deliver(Letter((strange,), (0,)))
    text = out.read_bytes()
    assert text.count(b"\n") == 1
    assert json.loads(text, parse_constant=refuse)["event"]["message"] == event["message"]


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")
