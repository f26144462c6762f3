"""Hints for a line that gave no sample, or for a file that is no log: the guesses of an explanation."""

from __future__ import annotations

import difflib
import re

from lrwatch.core.names import role
from lrwatch.formats.base import number
from lrwatch.formats.lines import ANSI
from lrwatch.formats.text.repetitions import ends_the_run, says_again

NO_NUMBER = "no number in it"
CODE = "looks like program code or a configuration"
NO_NAME = "numbers, but no name that is a step, an epoch or a loss"
PLACE_ONLY = "a step or an epoch, and no value beside it"
NOT_READ = "a known name, but no number that clearly belongs to it"
HEADER = "names of columns"
REPEATED = "repeats a line that was read, or the same bar on its way"
SUMMARY = "a summary: it says again what other lines said"
RATE_UNUSED = (
    "a learning rate that was seen and not used: no step or epoch came before it, or no number clearly belongs to it"
)
BINARY = "bytes that are no text"

# Bytes of a line that are examined, and distinct misspelt names that are remembered.
_LOOKED = 2048
MAX_NAMES = 256

_NUMBER = re.compile(rb"(?<![\w.])[-+]?(?:\.?\d|(?:nan|inf(?:inity)?)(?!\w))", re.IGNORECASE)
_NAMED = re.compile(
    rb"(?<![\w./-])([A-Za-z_][\w./-]{0,60})[\"']?\s*(?:[:=]\s*|\s)\s*[\"'\[(]*[-+]?(?:\.?\d|nan|inf)", re.IGNORECASE
)
_WORD = re.compile(rb"[A-Za-z_]\w*")
_RATE = re.compile(rb"\blearning[ _-]?rate\b", re.IGNORECASE)
_SPELLED = re.compile(rb"(?<![\w.])[-+]?(?:[\d,]*\.?\d+\.?(?:e[-+]?\d+)?|nan|inf)", re.IGNORECASE)
_CODE = re.compile(
    rb"\b(?:def|import|return|class|lambda|elif|self|assert)\b[ .(]|\bfor \w+ in |\bif __|[-+*/]=|[\w)\]'\"]\s*==\s*[\w('\"\[-]|\bprint\("
    rb"|^\s*#(?!#+\s*(?i:epoch|iteration|iter|step|update)\W+\d)"
    rb"|\w\([\w ]*=|^\s+[\w.]+ = |Namespace\(|\w\s*:\s*(?:int|float|str|bool)\s*="
)

_TEXT = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)) - {0x7F})
_WELL_KNOWN = (
    "loss", "train_loss", "val_loss", "eval_loss", "step", "global_step", "epoch", "iteration", "iter", "lr",
    "learning_rate",
)  # fmt: skip
# Similarity of a misspelt name, between 0 and 1: `los` and `lss` for loss, not `cost`.
_ALIKE = 0.75
# A name of more parts is a path. A date is no misspelt step.
_PART = re.compile(r"[./]")
_MAX_PARTS = 3
_MONTHS = frozenset({"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"})

# What begins with these bytes is no log that is read. What can be decompressed is, so it is not among them.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x28\xb5\x2f\xfd", "compressed with zstd", "Decompress it first: zstd -d FILE."),
    (b"PK\x03\x04", "a zip archive, such as a checkpoint", "Give the log itself; a checkpoint holds weights."),
    (b"\x89HDF", "an HDF5 file", "Give the log that was written beside it."),
    (b"\x93NUMPY", "a numpy array", "Give a log, which has a step or a loss by name; save the array as CSV."),
    (b"PAR1", "a Parquet file", "Save it as CSV."),
    (b"\x80\x02", "a Python pickle", "Give the log that was written beside it."),
    (b"\x80\x04", "a Python pickle", "Give the log that was written beside it."),
    (b"\x7fELF", "a program", "Give the log that it writes."),
)


def foreign(head: bytes) -> tuple[str, str] | None:
    """Name the kind of a file that is no log, by its first bytes, and what to do; None where they do not tell.

    >>> foreign(b"PAR1...")
    ('a Parquet file', 'Save it as CSV.')
    """
    return next(((what, hint) for magic, what, hint in _MAGIC if head.startswith(magic)), None)


def has_number(line: bytes) -> bool:
    """Return whether `line` has a number; a digit within a name is none."""
    return _NUMBER.search(line[:_LOOKED]) is not None


def reason(line: bytes) -> str:
    """Guess why `line` gave no sample.

    >>> reason(b"Loading data"), reason(b"los: 2.5"), reason(b"    loss = model(x, 2)")
    ('no number in it', 'numbers, but no name that is a step, an epoch or a loss', 'looks like program code or a configuration')
    """
    line = ANSI.sub(b"", line[:_LOOKED])
    if is_binary(line):
        return BINARY
    if says_again(line) or ends_the_run(line):
        return SUMMARY
    if _CODE.search(line):
        return CODE
    if not has_number(line):
        return NO_NUMBER
    roles = {role(name) for name in names(line)} | {role(word.decode()) for word in _WORD.findall(line)}
    if roles & {"train_loss", "val_loss"}:
        return NOT_READ
    if "lr" in roles or _RATE.search(line):
        return RATE_UNUSED
    return PLACE_ONLY if roles & {"step", "epoch"} else NO_NAME


def is_binary(line: bytes) -> bool:
    r"""Return whether a tenth of `line` or more is control characters, or there are any among bytes that are no UTF-8.

    >>> is_binary(b"loss 2.5"), is_binary(b"ab\x15\xffcdefghijklmnop"), is_binary(b"\xff\xfe\xfd 1")
    (False, True, True)
    """
    line = ANSI.sub(b"", line[:_LOOKED])
    controls = len(line.translate(None, _TEXT))
    if controls * 10 > len(line):
        return True
    if line.isascii():
        return False
    broken = len(line) - len(line.decode("utf-8", "ignore").encode())
    return (controls > 0 and broken > 0) or broken * 2 > len(line)


def names(line: bytes) -> list[str]:
    """Return the names before the numbers in `line`.

    >>> names(b"los: 2.5 foo 3 note=x")
    ['los', 'foo']
    """
    return [name.decode("utf-8", "replace") for name in _NAMED.findall(ANSI.sub(b"", line[:_LOOKED]))]


def spells(line: bytes, value: float) -> bool:
    """Return whether a number in `line` is `value`.

    >>> spells(b"step 10 loss 2.50", 2.5), spells(b"step 10 loss nan", float("nan")), spells(b"step 10", 1.0)
    (True, True, False)
    """
    found = (number(text.decode().replace(",", "")) for text in _SPELLED.findall(line[:_LOOKED]))
    return any(one == value or (one != one and value != value) for one in found if one is not None)


def meant(name: str) -> str | None:
    """Return the well-known name that `name` may be a misspelling of, or None.

    >>> meant("los"), meant("Los/train"), meant("accuracy")
    ('loss', 'loss', None)
    """
    if role(name) != "other":
        return None
    if len(parts := _PART.split(name.lower())) > _MAX_PARTS or name.lower()[:3] in _MONTHS:
        return None
    near = (difflib.get_close_matches(part, _WELL_KNOWN, 1, _ALIKE) for part in (name.lower(), *parts))
    return next((found[0] for found in near if found), None)
