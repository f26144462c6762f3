"""Text of logs in messages: quoted as data, so that no chat and no mail program acts on it, and nothing of a secret.

Names of runs and metrics come from files that anyone writes. A chat would make a mention of `@everyone` and a link of a URL, and
apprise turns `<!channel>` into a call to everybody. So the characters that start any of that are replaced by ones that look alike, in
every message and for every channel: which of them a channel acts on may change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# Width of a name in a title, and of a sentence.
MAX_TITLE = 160
MAX_MESSAGE = 600

# A shorter part of a URL is a port or a word, and replacing it would make a reason unreadable.
_SHORTEST_SECRET = 4

_BLANK = "\u200b"  # has no width
_LOOK_ALIKE = str.maketrans({
    "<": "\u2039", ">": "\u203a", "`": "'", "*": "\u2217", "[": "(", "]": ")", "@": f"@{_BLANK}", "~": "\u223c", "|": "\u00a6",
})  # fmt: skip


def quoted(text: object, most: int = MAX_MESSAGE) -> str:
    r"""Return text as data: on one line, printable, of at most `most` characters, and without anything that is acted on.

    >>> quoted("loss\n<!channel> @here *b* [x](http://e)").replace("\u200b", "")
    'loss ‹!channel› @here ∗b∗ (x)(http://e)'
    """
    words = str(text)[: 2 * most].replace(_BLANK, "")  # so that what is quoted already stays as it is
    words = " ".join("".join(c if c.isprintable() else "\ufffd" if not c.isspace() else " " for c in words).split())
    words = words if len(words) <= most else f"{words[: most - 1]}…"
    return words.translate(_LOOK_ALIKE).replace("://", f":{_BLANK}//")


def without_secrets(text: str, urls: Iterable[str]) -> str:
    """Replace every part of the URLs in a text: of channels, each word may be a token.

    >>> without_secrets("403 for T0KEN at hooks.example", ["slack://T0KEN/#ops"])
    '403 for *** at hooks.example'
    """
    parts = {
        part
        for url in urls
        for part in re.split(r"[/:@?&=#,%\s]+", url.partition("://")[2])
        if len(part) >= _SHORTEST_SECRET
    }
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "***")
    return text
