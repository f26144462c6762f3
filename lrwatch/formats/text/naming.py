"""Names of numbers in a line of text, and lines that are program code or a configuration."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from lrwatch.core.names import role, step_rank

# Bytes before a number that are searched for its name.
_LONGEST_NAME = 160

# Not within a word or another number. A number followed at once by a word has a unit (`35ms`) and is no sample.
NUMBER = (
    rb"[-+]?(?:\d{1,3}(?:,\d{3}){1,4}(?!\d|,\d)(?:\.\d*)?|\d{1,3}(?:['_]\d{3}){1,4}(?!\w)(?:\.\d*)?|\d+(?:\.\d*)?|\.\d+|(?:nan|inf(?:inity)?)(?!\w))"
    rb"(?:[eE][-+]?\d+|(?<=[.\d])[dD][-+]\d\d|\s?(?:[x*]|\xc3\x97)\s?\d\d\^[-+]?\d+|\*\^[-+]?\d+)?"
)
# A well-known name may stand at once before its number: `loss2.345`, `epoch12`.
_GLUED = rb"(?<=loss)(?=\d+\.\d)|(?<=\blr)(?=\d+\.\d|\de)|(?:(?<=\bepoch)|(?<=\bstep)|(?<=\biter)|(?<=\bep))(?=\d+(?:[\s:,|/\]]|$))"
NUMBER_HERE = re.compile(rb"(?:(?<![\w.])|" + _GLUED + rb")" + NUMBER, re.IGNORECASE)
# A letter of a name in UTF-8: Latin, Greek, Cyrillic, Chinese, Japanese or Korean.
_FOREIGN = rb"[\xc3-\xca\xce-\xd4][\x80-\xbf]|(?:\xe3[\x81-\xbf]|[\xe4-\xed][\x80-\xbf])[\x80-\xbf]"
LETTER = rb"(?:[A-Za-z_]|" + _FOREIGN + rb")"
_IN_NAME = rb"(?:[\w./*@()-]|" + _FOREIGN + rb"|(?<=[a-z])'(?=[a-z\xc3]))*"
_KEY = re.compile(
    rb"(" + LETTER + _IN_NAME + rb"(?:'s)?(?: (?:\(|" + LETTER + rb")" + _IN_NAME + rb"){0,5})"
    rb"(\s*[=:]\s*[\[(]?\s*|\s+\[\s*|\[\s*|\s\(|\s+|(?<=[A-Za-z\x80-\xbf]))$"
)
_QUOTED_KEY = re.compile(rb"(?:'([^'\n]{1,120})'|\"([^\"\n]{1,120})\")\]?\s*[:=]\s*['\"]?$")
_WORD = re.compile(rb"[^ ]+")
# "number of skipped iterations", "time per step": no place.
_NO_PLACE = frozenset({
    b"per", b"number", b"num", b"total", b"max", b"skipped", b"nan", b"every", b"n", b"fps", b"sps", b"warmup", b"accumulation",
    b"logging", b"save", b"saving", b"this", b"each", b"episode", b"actor", b"evaluator",
})  # fmt: skip
# `base lr 0.1`: a setting of the schedule.
_OF_SCHEDULE = frozenset({b"base", b"min", b"max", b"peak", b"initial", b"init", b"final", b"target"})
# `best loss 2.36 at step 50` repeats what another line said.
_SAID_BEFORE = frozenset({b"best", b"lowest", b"highest", b"previous", b"minimum"})
# Words that begin a sentence around a name: "and the cls_loss is".
_FUNCTION_WORDS = frozenset({b"and", b"the", b"its", b"with", b"then", b"of", b"a", b"an", b"so"})
# `E001 I00100 loss2.5`: places that are glued to their letter. `10.5 s. Mean Reward: 2.5`: the unit of the number before.
_NO_WORD = re.compile(rb"[A-Za-z]0{2,}|m?s\.|sec\.|min\.|h\.")
_LEVELS = frozenset({b"DEBUG", b"INFO", b"WARNING", b"ERROR", b"CRITICAL", b"root"})
_FILE = re.compile(rb"\.(?:py|cc|cpp|cu|c|h|go|rs|lua)$")  # `trainer.py:120` is a place in a program

# Program code and configurations. Some trainers write their own source into the log.
_CODE = re.compile(
    rb"\b(?:def|import|return|class|lambda|elif|self|assert|argparse|torch)\b[ .(]"
    rb"|\b(?:for \w+(?:, \w+)* in|if|while)\b[ (].*:\s*(?:#|$|\w+ =)"
    rb"|\s--[A-Za-z][\w-]*(?:[ =]\S+)?\s+--[A-Za-z]|^\s*--[A-Za-z][\w-]*[ =]\S+\s*\\?$|[-+*/]=|[\w)\]'\"]\s*==\s*[\w('\"\[-]|\b(?:print|warn)\(|f[\"']|^\s*(?:#|//)(?!#+\s*(?i:epoch|iteration|iter|step|update)\W+\d)"
    rb"|[A-Za-z_]\([\w ]*=|^\s+[\w.]+ = (?!\s*[-+]?[\d.]\S*(?:,|;|\||\s)\s*\w[\w ]*=)|\w\s*:\s*(?:int|float|str|bool)\s*="
)

_IN_PARENTHESES = re.compile(rb"\d+(?=\s?[|,;:)/])")
# `Metrics(step=10, loss=2.5)` is a record, `Adam(lr=0.1)` is none.
_RECORD = re.compile(
    rb"\b(?!\w*(?:Namespace|Config|Args|Arguments|Params|Options|Settings)\()[A-Za-z_]\w*\("
    rb"(?=[^()\n]*\b(?:\w*step|epoch|iter\w*)=\d)(?=[^()\n]*loss=(?:[-+]?\d*\.\d|[-+]?nan|[-+]?inf))[\w./-]+=[^()\n]*\)\s*$"
)
_CELL_END = re.compile(rb"\s*%?\s*(?:[,|;]|$)")
# `Loss[2.34]`, not the index of `loss[0]=2.34`.
_CLOSED = re.compile(NUMBER + rb"\](?!\s?[=:])", re.IGNORECASE)
_CELL_START = re.compile(rb"(?:^|[,|;:>-])\s*$")

# `[olmo.util:159, rank=3]` and `__main__:main:12 - ` are places in a program.
_MODULE = re.compile(rb"\[[A-Za-z_][\w.]*:$")
_FUNCTION = re.compile(rb"(?:^|[\s|\[(])[A-Za-z_][\w.]*:[\w<>.]+:$")
_BEHIND_FUNCTION = re.compile(rb"\d+(?: [-|]|\])")

_COUNTED_IN_BRACKETS = frozenset({b"epoch", b"epoch(train)", b"epoch(val)"})

# `TRAIN [3][100/500]`: the epoch and a counter.
_SPLIT_OF_COUNTERS = re.compile(rb"(?:train|training)\s?\[\s*\d+\]\[.*", re.IGNORECASE)

_PLACES = frozenset({"step", "epoch"})
_LOSSES = frozenset({"train_loss", "val_loss"})


class Name(NamedTuple):
    """The name of a number.

    Attributes:
        text: The name.
        start, end: Offsets of its bytes in the line.
        explicit: A sign separates it from its number, or it is well known, so it is no prose.
    """

    text: str
    start: int
    end: int
    explicit: bool


# Punctuation of East Asian texts.
_WIDE = {
    "\uff1a": b":", "\uff0c": b",", "\uff1b": b";", "\uff08": b"(", "\uff09": b")", "\uff1d": b"=", "\uff05": b"%",
    "\u3010": b"[", "\u3011": b"]", "\u3001": b",", "\u3002": b";", "\uff5c": b"|", "\u3000": b" ", "\uff0f": b"/",
}  # fmt: skip
_WIDE_MARK = re.compile("|".join(_WIDE).encode())
# `np.float64(2.5)`, `tensor(2.5, device='cuda:0', grad_fn=<NllLossBackward0>)`, `Array(2.5, dtype=float32)`
_TYPED = re.compile(
    rb"(?:<tf\.Tensor: shape=\(\), dtype=\w+, numpy=|(?<![\w.])(?:[A-Za-z_]\w*\.)*"
    rb"(?:float\d*|bfloat\d+|double|half|u?int\d*|[Tt]ensor|EagerTensor|[Aa]rray|DeviceArray|Decimal|Scalar|Variable)\(\s*\[?\s*)"
    rb"(" + NUMBER + rb")(?:\s*\]?(?:,(?:[^()\n]|\([^()\n]*\))*)?\)|>)",
    re.IGNORECASE,
)
_QUOTED_NUMBER = re.compile(rb"(?<=[:=\s])(['\"])\s*(" + NUMBER + rb")\s*%?\1", re.IGNORECASE)
# `loss ........ 2.31`, `loss......: 2.31`
_LEADERS = re.compile(rb"(?<=[\w)%\]])( ?)(\.{3,}(?:\s*:)?)(?=\s*[-+]?\d)")
# `loss\u21922.5` names a value, `lr: 0.1 \u2192 0.05` and `lr 0.1 \u2192 0.05` say what it became.
_ARROW = re.compile(rb"(?<=[A-Za-z\x80-\xbf])(\s?)\xe2\x86\x92(?=\s?[-+]?[\d.])")
# `loss => 2.5`, `loss\u22482.5`, `loss ~ 2.5`; but `lr: 0.1 => 0.05` says what it became.
_SIGN = re.compile(rb"(?<=[A-Za-z])(\s?)(?:(=>)|(\xe2\x89\x88)|~)(?=\s?[-+]?[\d.])")
# `Step 100: train CrossEntropyLoss |  2.5`
_PIPE = re.compile(
    rb"(\b(?:step|iter|iteration|epoch)\s+\d+:[^|]*[A-Za-z]\s*)\|(?=\s*" + NUMBER + rb"\s*$)", re.IGNORECASE
)
# `[('step', 10), ('loss', 2.5)]`, `defaultdict(<class 'float'>, {'loss': 2.5})`
_PAIRED = re.compile(rb"\('([A-Za-z_][\w/. -]*)', (?=" + NUMBER + rb"\s*\))", re.IGNORECASE)
_CLASS = re.compile(rb"\w+\(<class '\w+'>,")
_HASH_NAME = re.compile(rb"(?<=[A-Za-z])#(?=\s?[:=])")
_HASH_NUMBER = re.compile(rb"(^\s*|\b(?:step|iter|iteration|epoch|batch|round)\s*)#(?=\d+(?:[\s:,|]))", re.IGNORECASE)


def plain(mask: bytes) -> bytes:
    """Return a mask of the same length in which numbers stand without the marks of their type.

    What is only around a number becomes blanks: quotes, `tensor(..., device='cuda:0')`. Wide punctuation becomes that of ASCII.
    """
    if b"\xef\xbc" in mask or b"\xe3\x80" in mask:
        mask = _WIDE_MARK.sub(lambda mark: _WIDE[mark[0].decode()].ljust(3), mask)
    if b"\xe2\x84\x96" in mask:  # the sign of a number
        mask = mask.replace(b"\xe2\x84\x96", b"   ")
    if b"(" in mask or b"<tf" in mask:
        mask = _TYPED.sub(_bare, mask)
    if b"'" in mask or b'"' in mask:
        mask = _QUOTED_NUMBER.sub(lambda quoted: _blanked(quoted, 2), mask)
    if b"...." in mask:
        mask = _LEADERS.sub(lambda dots: dots[1] + b" " * (len(dots[2]) - 1) + b":", mask)
    if b"\xe2\x86\x92" in mask:
        mask = _ARROW.sub(rb"\1:  ", mask).replace(b"\xe2\x86\x92", b"-> ")
    if b"=>" in mask or b"\xe2\x89\x88" in mask or b"~" in mask:
        mask = _SIGN.sub(lambda sign: sign[1] + b":" + b" " * (len(sign[0]) - len(sign[1]) - 1), mask)
    if b"('" in mask:
        mask = _PAIRED.sub(rb"  \1:  ", mask)
    if b"<class" in mask:
        mask = _CLASS.sub(lambda text: b" " * len(text[0]), mask)
    if b"`" in mask:
        mask = mask.replace(b"`", b" ")
    if mask.count(b"|") == 1:
        mask = _PIPE.sub(rb"\1:", mask)
    if b"**" in mask:  # Markdown's bold
        mask = mask.replace(b"**", b"  ")
    return _HASH_NUMBER.sub(rb"\1 ", _HASH_NAME.sub(b" ", mask)) if b"#" in mask else mask


def _bare(typed: re.Match[bytes]) -> bytes:
    return _blanked(typed, 1)


def _blanked(match: re.Match[bytes], group: int) -> bytes:
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    return b" " * start + match[group] + b" " * (len(match[0]) - end)


def code(mask: bytes) -> bool:
    """Return whether a line looks like program code or a configuration."""
    return _CODE.search(mask) is not None and _RECORD.search(mask) is None


def name_of(mask: bytes, start: int, end: int, flat: Sequence[tuple[int, int]]) -> Name | None:
    """Find the name of a number.

    Args:
        mask: The line.
        start: Offset behind the number before.
        end: Offset of the number.
        flat: Start and end of each dictionary whose names are in quotes. Where a line has no dictionary, names in quotes count too.

    Returns:
        The name, or None if there is none between `start` and `end`.
    """
    start = max(start, end - _LONGEST_NAME)
    if (flat or b"{" not in mask) and (quoted := _QUOTED_KEY.search(mask, start, end)) is not None:
        if flat and not any(a <= quoted.start() and end < b for a, b in flat):
            return None
        group = 1 if quoted[1] is not None else 2
        return Name(quoted[group].decode("utf-8", "replace"), *quoted.span(group), True)
    match = _KEY.search(mask, start, end)
    if match is None:
        return None
    words = [word.span() for word in _WORD.finditer(mask, match.start(), match.end(1))]
    # `step_avg:nanms train_time:`: the first word is a value. `INFO step:`: it is the level of the message.
    if len(words) > 1 and mask[start : match.start()].endswith((b":", b"=")):
        del words[0]
    level = max((i for i, (a, b) in enumerate(words) if mask[a:b] in _LEVELS), default=-1)
    words = words[level + 1 :]
    if _FUNCTION.search(mask, start, end) and _BEHIND_FUNCTION.match(mask, end):
        return None
    if _MODULE.search(mask, start, end) or mask[match.start() : match.end(1)].lower().endswith(b"rank"):
        return None
    while words and mask[slice(*words[-1])] in (b"is", b"was"):  # "the loss is"
        del words[-1]
    while len(words) > 1 and (mask[slice(*words[0])].lower() in _FUNCTION_WORDS or _NO_WORD.fullmatch(mask, *words[0])):
        del words[0]
    if not words or _FILE.search(mask, *words[-1]):
        return None
    opened = mask.rfind(b"(", words[0][0], words[-1][1]) + 1  # `Train metrics (step 100)`, `Metrics(step=100`
    if opened and mask.find(b")", opened, words[-1][1]) < 0:
        inside = [(max(a, opened), b) for a, b in words if b > opened]
        apart = mask[opened - 2 : opened - 1] == b" "
        if apart or (inside and role(mask[inside[0][0] : inside[-1][1]].decode("utf-8", "replace")) in _PLACES):
            words = inside
    if not words:
        return None

    def last(count: int, *, explicit: bool) -> Name:
        a, b = words[-count][0], words[-1][1]
        return Name(mask[a:b].decode("utf-8", "replace"), a, b, explicit)

    def role_of(count: int) -> str:
        return role(last(count, explicit=True).text) if count <= len(words) else "other"

    sign = match[2].strip()
    if sign == b"(":  # `Step (100 | loss 2.5)`, but not `acc (0.5)`
        is_place = role_of(1) in _PLACES and _IN_PARENTHESES.match(mask, end) is not None
        return last(1, explicit=True) if is_place else None
    of_something = any(mask[a:b].lower() in _NO_PLACE for a, b in words[:-1])
    if (
        role_of(1) in _PLACES and not of_something and (sign or mask[slice(*words[-1])].lower() != b"s")
    ):  # "validation loss at iteration"
        return last(2 if role_of(2) in _PLACES else 1, explicit=True)
    if sign and sign != b"[":
        return last(len(words), explicit=True)
    if sign == b"[":  # `Epoch [1]` is a place, `Train [` is not a name
        if mask[slice(*words[-1])].lower() in _COUNTED_IN_BRACKETS or _SPLIT_OF_COUNTERS.fullmatch(
            mask, words[-1][0], min(end + 24, len(mask))
        ):
            return last(1, explicit=True)
        if match[2] == b"[" and role_of(1) in _LOSSES and _CLOSED.match(mask, end):
            return last(1, explicit=True)
        return next((last(count, explicit=True) for count in (2, 1) if role_of(count) == "lr"), None)
    # Without a sign between them, name and number may be prose: only a well-known name of one or two words counts ...
    if len(words) > 1 and mask[slice(*words[-2])].lower() in _SAID_BEFORE:
        return None
    if role_of(1) in _LOSSES:
        alone = role(last(1, explicit=False).text) if len(words) > 1 else ""
        first = role(mask[slice(*words[-2])].decode("utf-8", "replace")) if len(words) > 1 else ""
        two = first == "other" and alone in _LOSSES and role_of(2) in _LOSSES
        return last(2 if two else 1, explicit=False)
    if (rate := next((last(count, explicit=False) for count in (2, 1) if role_of(count) == "lr"), None)) is not None:
        return None if len(words) > 1 and mask[slice(*words[-2])].lower() in _OF_SCHEDULE else rate
    # ... or a name and a number alone between separators.
    number = NUMBER_HERE.match(mask, end)
    closed = number is not None and _CELL_END.match(mask, number.end()) is not None
    opened = _CELL_START.search(mask, start, words[0][0]) is not None
    return last(len(words), explicit=False) if closed and opened and len(words) <= 3 else None


_CLOCK = re.compile(rb":\d\d(?![\d.])")
# Bytes before a number that make it a part of a name: `mean@1`, `top-5:`, `loss/0=`; not of a place: `epoch-3:`.
_JOINED = re.compile(rb"(?:[\w/)]@|([A-Za-z]+)[-/])$")


def in_name(mask: bytes, start: int, end: int) -> bool:
    """Return whether the number is a part of the name of the next one."""
    sign = mask[start : start + 1] in (b"-", b"+")
    if mask[start - 1 + sign : start + sign] not in (b"@", b"-", b"/"):
        return False
    joined = _JOINED.search(mask, max(0, start - 24), start + sign)
    if joined is None:
        return False
    if joined[1] is None:
        return True
    followed = mask[end : end + 1] in (b":", b"=") and not _CLOCK.match(mask, end)
    return followed and role(joined[1].decode()) not in _PLACES


# Names of counters that never restart.
_GLOBAL = re.compile(r"global|num.updates|total|consumed|update", re.IGNORECASE)


def is_global(name: str) -> bool:
    """Return whether a step of this name never restarts."""
    return _GLOBAL.search(name) is not None


def is_better(name: str, than: str) -> bool:
    """Return whether a place called `name` counts, and not one called `than`, in a line that has both."""
    return step_rank(name) < step_rank(than)
