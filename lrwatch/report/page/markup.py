"""Text from outside, made harmless: every name, message and number that came out of a log goes through `esc`."""

from __future__ import annotations

import html
import re

# A log line may be of any length; what goes into one place of the page is cut here, so that the page stays small.
MAX_TEXT = 400

# Control characters have no place in a page, and the bidirectional ones could make a name read as another.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def clean(text: object, most: int = MAX_TEXT) -> str:
    """Text without control characters and lone surrogates, cut to `most` characters."""
    words = str(text)
    words = words if len(words) <= most else words[: most - 1] + "…"
    return _UNSAFE.sub("\ufffd", words)


def esc(text: object, most: int = MAX_TEXT) -> str:
    """Text that is safe within an element and within a quoted attribute.

    >>> esc('</script><img src="x">')
    '&lt;/script&gt;&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(clean(text, most), quote=True)
