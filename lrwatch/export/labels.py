"""Label values from untrusted text: a run's name and its metrics come from file names and log lines."""

from __future__ import annotations

import hashlib

# A label value is repeated in every sample of every scrape; real metric names stay below 80 characters.
MAX_LABEL_CHARS = 128

# 32 bits keep two cut names of one run apart; a collision is counted as dropped, not served twice.
_DIGEST_CHARS = 8


def label_value(text: str, most: int = MAX_LABEL_CHARS) -> str:
    r"""Return the text itself if it is short and printable, else a printable form of at most `most` characters.

    Control and formatting characters, line ends and lone surrogates (which have no UTF-8 form and would fail the
    whole scrape) become U+FFFD. A changed text ends in a digest of the original, so that two long names with the same
    beginning stay two series.

    >>> label_value("loss/train")
    'loss/train'
    >>> label_value("loss\n")
    'loss�~58941f8f'
    """
    if len(text) <= most and text.isprintable():
        return text
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_CHARS // 2).hexdigest()
    start = text[: most - _DIGEST_CHARS - 1]
    return f"{''.join(c if c.isprintable() else '�' for c in start)}~{digest}"
