"""Text of a report: numbers and lists as people write them, and text from outside made harmless."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence

# The minus sign of the figures; as wide as a plus.
MINUS = "\u2212"

# Stands where an event does not say anything.
DASH = "\u2013"

# A log line may be of any length; what goes into one place of the page is cut here, so that the page stays small.
MAX_TEXT = 400

# Control characters have no place in a page, and the bidirectional ones could make a name read as another.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff\ud800-\udfff]"
)


def short(value: float) -> str:
    """Format a value in four significant digits.

    >>> short(3.22174), short(-0.00006), short(1e300), short(float("nan"))
    ('3.222', '−6e-5', '1e300', 'NaN')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else f"{MINUS}∞"
    return tidy(f"{value:.4g}")


def whole(step: int) -> str:
    """Format a step with its thousands grouped.

    >>> whole(1234567)
    '1,234,567'
    """
    return f"{step:,}".replace("-", MINUS)


def tidy(digits: str, *, trim: bool = True) -> str:
    """Rewrite a number that Python formatted: a true minus sign, a short exponent, and, with `trim`, no zeros at the end.

    >>> tidy("1e-05"), tidy("-2.500"), tidy("1e+06")
    ('1e-5', '−2.5', '1e6')
    """
    mantissa, _, exponent = digits.partition("e")
    if trim and "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    mantissa = mantissa.replace("-", MINUS) if float(mantissa) else mantissa.lstrip("-")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def listed(parts: Sequence[str]) -> str:
    """Join parts of a sentence with commas and an `and`.

    >>> listed(["1 helped", "1 cost progress", "2 were taken back"])
    '1 helped, 1 cost progress and 2 were taken back'
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentence(words: str) -> str:
    """Give words a capital at their beginning and a full stop at their end.

    >>> sentence("no range test: mode must be auto")
    'No range test: mode must be auto.'
    """
    return f"{words[:1].upper()}{words[1:]}" + ("" if words.endswith((".", "!", "?")) or not words else ".")


def spaced(word: str) -> str:
    """Write a name of the code as people write it.

    >>> spaced("range_test")
    'range test'
    """
    return word.replace("_", " ")


def clean(text: object, most: int = MAX_TEXT) -> str:
    """Replace control characters and lone surrogates, and cut to `most` characters. Nothing is escaped."""
    words = str(text)
    words = words if len(words) <= most else words[: most - 1] + "…"
    return _UNSAFE.sub("\ufffd", words)


def escaped(text: object, most: int = MAX_TEXT) -> str:
    """Clean a text and escape it for an element or a quoted attribute of an SVG; templates do so by themselves.

    >>> escaped('</script><img src="x">')
    '&lt;/script&gt;&lt;img src=&quot;x&quot;&gt;'
    """
    return html.escape(clean(text, most), quote=True)
