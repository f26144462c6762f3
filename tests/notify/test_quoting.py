from __future__ import annotations

import apprise
from hypothesis import given
from hypothesis import strategies as st

from lrwatch.notify.quoting import MAX_MESSAGE, quoted, without_secrets

HOSTILE = (
    "<!channel> <!here|x> <@U123> @everyone @here [click](https://evil.example) https://evil.example <https://evil.example|ok> "
    "`rm -rf` *bold* ~gone~ ||hidden|| <b>x</b> <script>alert(1)</script> &lt;!channel&gt; \u202ereversed\nSubject: other\r\n.\r\n\x1b[31m\x07"
)


@given(st.text(max_size=2 * MAX_MESSAGE))
def test_whatever_a_log_says_becomes_one_printable_bounded_line_without_markup(text: str) -> None:
    shown = quoted(text)
    assert len(shown) <= MAX_MESSAGE * 3  # a blank without width behind each `@`
    assert not set("<>`*[]~|\n\r\x1b\u202e") & set(shown)
    assert "://" not in shown
    assert shown.replace("\u200b", "").isprintable()
    shown.encode()
    assert quoted(shown, 3 * MAX_MESSAGE) == shown


def test_what_people_need_to_read_stays_as_it_is() -> None:
    said = "loss improves by 0.258 % per 175 steps, surely by less than 0.497 %; approve with: lrwatch approve 'gpt2+rope/lr(3e-4)' 12"
    assert quoted(said) == said
    assert quoted("val_loss #3 = 2.5e-3 & more!") == "val_loss #3 = 2.5e-3 & more!"


def test_no_service_of_apprise_makes_anything_of_it() -> None:
    """What is handed to the service at last, after all conversions of apprise."""
    for url in (
        "slack://xoxb-1234-1234-abcdefg/#c", "tgram://123456789:abcdefg_hijklmnop/12315544/", "discord://1234/abcdef",
        "mailto://u:p@localhost:25", "ntfy://topic", "matrix://u:p@localhost/#room",
    ):  # fmt: skip
        service = apprise.Apprise.instantiate(url)
        assert isinstance(service, apprise.NotifyBase)
        (call,) = service._build_send_calls(
            body=quoted(HOSTILE), title=quoted(HOSTILE, 80), notify_type="warning", body_format="text"
        )
        sent = f"{call['title']} {call['body']}"
        assert "\u2039!channel\u203a" in sent, url  # seen by people, and no call to everybody
        for active in ("<!", "<@", "@everyone", "@here", "](", "http://", "https://", "<script", "\u202e"):
            assert active not in sent, (url, active)


def test_every_part_of_a_url_is_taken_for_a_secret() -> None:
    url = "slack://xoxb-1234-5678-s3cr3t/#ops?footer=yes"
    said = "403 for xoxb-1234-5678-s3cr3t in #ops"
    assert without_secrets(said, [url]) == "403 for *** in #ops"
    assert "pa55" not in without_secrets("bad login anna pa55word", ["mailto://anna:pa55word@mail.example:25"])
