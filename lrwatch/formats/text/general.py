"""The general extractor: names, numbers and counters in a line of text, from its mask.

A mask is a line with all digits made zeros. The extractor reads it from left to right; each number is one of

- the value of a name: ``loss=2.5``, ``loss: 2.5``, ``'loss': 2.5``, ``lr=[0.1, ...]``, ``loss: tensor(2.5``, and
  ``loss 2.5`` if the name is a well-known one or stands alone between separators;
- the mean beside a value: ``Loss: 6.94 (6.95)``, the metric ``running.Loss``;
- a counter: ``step 10/100``, ``[50/489]``, ``200/ 2983 batches``. It is called a step or an epoch, stands right behind the
  epoch, leads or ends the line, or is in brackets that follow no value: ``acc 61% (6037/10000)`` counts correct answers,
  and ``05/03 10:00`` is a date;
- the place of the line: ``[1000] loss = 2.5``, ``17  loss=2.5``, ``#17 loss: 2.5``, ``the 17th step``, ``第 17 轮``;
- or nothing: a date, a unit, a number in prose.

A word such as ``[eval]`` or ``Test:`` makes the metrics behind it those of the validation: ``[eval] loss 2.5`` is
``val.loss``. Averaged weights are kept apart: ``Test (EMA): loss 2.5`` is ``val.EMA.loss``.

One file because one search decides of each number what it is, in the light of those before it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from lrwatch.core.names import is_measure, role, should_rise
from lrwatch.core.sample import Smoothing
from lrwatch.formats.base import UNNAMED
from lrwatch.formats.counters import restarts
from lrwatch.formats.text import naming
from lrwatch.formats.text.naming import NUMBER, NUMBER_HERE, Name, code, in_name, name_of
from lrwatch.formats.text.ordinals import ordinals
from lrwatch.formats.text.recipe import Kind, Recipe, Slot, factor_of
from lrwatch.formats.text.repetitions import ends_the_run, says_again
from lrwatch.formats.text.summaries import MEAN

RUNNING = "running."
"""Prefix of the name of a metric that is the mean since the epoch began."""
VALIDATION = "val."
"""Prefix of the name of a metric in a line about a validation."""
TEST = "test."
"""Prefix of the name of a metric in a line about a test, which a log may have beside the validation."""

_FLAT_DICTIONARY = re.compile(rb"\{ ?['\"][^{}\n]*\}")
_UNIT = re.compile(rb"[A-Za-z_][\w/]*|\.\d[\w.]*|\s?(?:\xc2\xb7|\xc3\x97)\s?\d\d(?!\d)\S*")
# Neither a date (`05/03 10:00`, `05/03/2024`) nor a duration or a size (`12/300s`, `3/16 GB`).
_COUNTER = re.compile(
    rb"\s*(?:/|\bof\b)\s*(\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?![\d./])(?!,?[ T]\s?\d{1,2}:\d\d)(?!\s?(?:ms|s|secs?|seconds|min|h|[KMGT]i?B)\b)"
)
_COUNTED = re.compile(rb"\]?\s*(?:\xe6\xad\xa5|batches|steps|iters|iterations|it\b|batch\b)")
# `Cost after iteration 100: 0.64`, `average loss at step 200 is 5.2`: the name before the place, the value behind it.
_TOLD_AT = re.compile(
    rb"((?:[A-Za-z][\w-]*\.? ){0,2}[A-Za-z][\w-]*)(?: \([\w ]+\))? (?:at|after|@|on|for|of|in) (?:the )?(?:end of )?(?:training |global )?"
    rb"(?:step|epoch|iter|iteration|update|batch)s?\s*[#:=]?\s*$",
    re.IGNORECASE,
)
_LONGEST_TOLD = 120
_TELLS = re.compile(rb"\]?\s*(?:[:=]|->|is:?|was:?|=>)\s*$")
# `LOSS train 0.5 valid 0.75`, `loss: train=0.5, val=0.75`
_OF_SPLITS = re.compile(
    rb"\bloss(?:es)?\b[\s:|(-]{1,4}(train(?:ing)?)[\s:=]{1,3}(" + NUMBER + rb")[\s,;|/-]{1,4}"
    rb"(val|valid|validation|test|dev|eval)[\s:=]{1,3}(?:(" + NUMBER + rb")(?![\w.])|n/?a\b|none\b|-+(?!\S))",
    re.IGNORECASE,
)  # fmt: skip
# `100 iterations` or `run [100]:` alone: the place of the lines below.
_PLACE_ALONE = re.compile(
    rb"\s*(?:run \[(?=\d+\]))?(\d+)(?: (?:iterations?|iters|steps|updates)|\])\s*(?::\s*)?$", re.IGNORECASE
)
# `  100/ 20000: 3.29`: a loss without a name.
_UNNAMED_VALUE = re.compile(rb"\s*(\d+)\s*/\s*(\d+)\s*:\s+(" + NUMBER + rb")\s*$")
# `cost 143.7 s`: a duration, whatever its name.
_OF_TIME = re.compile(rb"\s(?:s|secs?|seconds?|ms|min|minutes?|h|hours?)\s*(?:$|[,;|)\]])")
_BEFORE_VALUE = re.compile(rb"(?::\s+|\s+)(?=[-+]?\d+\.\d|nan\b)")
# `2.5 loss, 0.001 LR`
_NAME_BEHIND = re.compile(rb" ([A-Za-z_]+(?:[ _][A-Za-z_]+){0,2})(?=\s*(?:[,;|)]|$))")
_NAME_BEFORE = re.compile(rb"[A-Za-z][\w ]*[=:]\s*$")
_CELL_START = re.compile(rb"(?:^|[,;|:>-])\s*$")
_HALF = re.compile(rb",\d+")
_CLOCK = re.compile(rb":\d\d(?!\d)")
# `0.5k/100k`, `1.2kit/10.0kit` of tqdm_loggable: a counter in thousands, behind its first number.
_THOUSANDS = re.compile(rb"(?:([kKM])(?:it)?|it)\s*/\s*\d+(?:\.\d+)?[kKM]?(?:it)?\b")
_OPEN = re.compile(rb"[\[(]\s*$")
# `Epoch(1/3)`, `Step (100/500)`
_PLACE_OF_COUNTER = re.compile(rb"\b(epoch|step|iter|iteration|batch)\s?\(\s*$", re.IGNORECASE)
_CELL_OF_COUNTER = re.compile(rb"\b(?:train|training|val|valid|validation|eval|test)\s*[|:]\s*$", re.IGNORECASE)
# `Train |████  | 50/100`
_OPEN_OR_BAR = re.compile(rb"(?:[\[(]|\xe2\x96[\x80-\xbf]\s*\|)\s*$")
_OF_VALUE = re.compile(rb"(?:%\s*[\[(]|\d\s*\(|\b(?:acc(?:uracy)?|correct|top-?\d+)\W{0,3}[\[(])\s*$", re.IGNORECASE)
_BEFORE_LAST = re.compile(rb"(?:[|)\]]\s*|\S\s{2,})$")
_LEADING_PLACE = re.compile(rb"(?:^\s*|\] )\[\s*$")
# `[1,  2000] loss: 2.18`, `DLL 2020-05-03 10:00:00.123456 - (1, 20) loss : 2.18`
_LEADING_PAIR = re.compile(rb"(?:\s*\[(?=[^\]]*\])|DLL [\d-]+ [\d:.]+ - \()(\d+), +(\d+)[\])] +\S")
# `[1000 | 28.12] loss=2.5`: the step, and seconds.
_LEADING_STEP = re.compile(rb"^\s*\[(\d{1,9}) \| [^\]\d\n]{0,20}\d+(?:\.\d+|:\d\d|s)[^\]\n]{0,20}\] ?(?=[A-Za-z])")
# `Epoch[1 of 25]-Minibatch[ 11- 20, 0.6%]`, `Batch [20-40]`: the batches since the last line, of which the last one counts.
_RANGE = re.compile(rb"batch(?:es)?\s*\[\s*\d+\s*-\s*(\d+)(?=[\],])", re.IGNORECASE)
# `[0/25][400/1583] Loss_D: 1.2`: the epoch, and a counter in it.
_TWO_COUNTERS = re.compile(rb"\[\s*(\d+)\s*/\s*(\d+)\]\s?\[\s*(\d+)\s*/\s*(\d+)\]")
_NAMED_COUNTER = re.compile(rb"(?:step|iter|batch|epoch)\w*\W*$", re.IGNORECASE)
_MEAN = re.compile(rb"\s*\(\s*$")
_SO_FAR = re.compile(rb"\b(?:is|at|after|done|finished|completed)\s+$", re.IGNORECASE)
_STEPS_DONE = re.compile(rb"\s+(steps|iterations|iters|updates)\b(?!\s*(?:/|per))")
# `17  loss=2.5`, `17 | loss 2.5`, `17: loss 2.5`, `(17) loss 2.5`. Longer numbers are dates and times.
_BARE_PLACE = re.compile(rb"\s*(?:[(<](?=\d+[)>]))?(\d{1,7})(?=\s|[,;|]|:\s|[)>]\s)")
# `2024-05-03 10:00:00,123 - INFO - 17: loss 2.5`
_BEHIND_LOGGER = re.compile(rb"(?:[\]|]\s|\s-\s|\bINFO[:\s]\s?(?:[\w.]+:)?)(\d{1,7}):\s$")
# `Start training from epoch 0 of 90`, which may count from another number than the records do.
_BEGINS = re.compile(rb"\D*\b(?:start|resum|restart|continu|restor)\w*\b[^\d\n]{0,40}\b(?:from|at)\b", re.IGNORECASE)
# `E001 | loss 2.5`, `[E01] loss 2.5`, `E001 I00100 loss 2.5`
_LETTERED = re.compile(rb"\s*\[?[Ee](\d{1,5})\]?(?:\s*[|:,;]|\s+(?!\d))(?:\s*\[?[Ii](\d{1,9})(?=[\s|:,;\]]))?")
_ONLY_MARKS = re.compile(rb"[\s:|,\]\[()>-]*$")
_MODE = re.compile(
    rb"(?:(?<![^\s\[(|:>-])|(?<=\()|(?<=phase=)|(?<=mode=)|(?<=split=)|(?<=stage=))"
    rb"(?:(val|valid|validation|validate|validating|eval|evaluation|evaluating|evaluate|test|testing|dev|cv|Saving dict)"
    rb"|(train|training|train_inner))(?=[\s\]):|\[,>]|[-_(]ema\b|$)(?!\s(?:steps|batches|samples|size|time)\b)(?:[\s(\[_-]{1,2}(ema)\b)?",
    re.IGNORECASE,
)
_EMA, _COST, _DURATION = "EMA.", "cost", "time."
# Prefix of the names that a line has a second time, as those of the validation behind those of the training are.
_SECOND = "second."
# `avg_test_scalars: {'loss': 2.5}`
_SPLIT_OF_DICTIONARY = re.compile(
    rb"(?<![A-Za-z])(val|valid|validation|eval|test)_[A-Za-z_]*\s?[:=]?\s?$", re.IGNORECASE
)
# `head: default, loss=2.5`: one of several outputs, whose losses are on lines of their own.
_OUTPUT = re.compile(rb"\b(?:head|task)\s?[:=]\s?'?([A-Za-z][A-Za-z_-]*)'?\s?[,;|]")
# ` * Acc@1 78.1 loss 0.9`: the end of a pass over the validation data.
_END_OF_PASS = re.compile(rb"\s*\* (?:Acc|Prec)@")
# `tot_loss[loss=2.5`: the loss that the bracket belongs to.
_OUTER = re.compile(rb"\b([A-Za-z_]+)\[$")
_LONGEST_OUTER = 24
_PART_OF_MODE = re.compile(rb"\((?:train|val|valid|test|eval)\)$", re.IGNORECASE)
_SPLITS = frozenset(
    {"train", "training", "test", "testing", "val", "valid", "validation", "eval", "evaluation", "epoch"}
)
_VALIDATED = re.compile(rb"(?:val|valid|validation|eval|evaluation|test|dev)\s", re.IGNORECASE)
# `iter: 0.501`, `time/batch = 0.52`: what a step took.
_SECONDS = re.compile(rb"\d+\.\d\d?(\d+)?")
_OWN_SPLIT = re.compile(r"(?i)(?<![a-z])(train|training|val|valid|validation|eval|evaluation|test|dev)(?![a-z])")

# `total_step 22050` beside a loss is the step; `total_steps` may be the length of the run.
_STEP_SO_FAR = re.compile(r"(?i)total[ _](?:step|iter|iteration|update)")
_BASE_RATE = re.compile(r"(?i)base[ _]lr")
_VAL_STEPS = re.compile(r"(?i)(?:val|valid|validation|eval|test)[ _]steps")

_OWN_VALIDATION = re.compile(r"(?i)\((?:val|valid|eval|test)\)")
_PLACES = frozenset({"step", "epoch"})
_EPISODES = frozenset({"episode", "round"})
_NUMBERS_OF_STEPS = frozenset({"steps", "iterations", "iters", "timesteps", "updates"})
# Names of numbers of a configuration: `args: {'lr': 0.1, 'epochs': 90, 'steps': 1000}` is neither a step nor a rate.
_CONFIGURES = frozenset({
    "epochs", "num_epochs", "n_epochs", "max_epochs", "num_train_epochs", "max_steps", "warmup_steps", "warmup_epochs", "seed",
    "batch_size", "num_workers", "hidden_size", "num_layers", "n_layers", "n_layer", "dropout", "patience",
})  # fmt: skip
_LOSSES = frozenset({"train_loss", "val_loss"})
_STATED_ROLES = _LOSSES | {"lr"}
# `Adjusting learning rate of group 0 to 1.0e-03.`, `Setting LR to 0.1`
_RATE_SET = re.compile(
    rb"\b(learning[ _-]?rate|lr)\b(?:[^:=|;\n]{0,60}?|[^|;\n]{0,40}?[:=]\s*"
    + NUMBER
    + rb"\s+)(?:\b(?:to|is now)|->|=>)\s+("
    + NUMBER
    + rb")\.?\s*(?:$|[,;|)])",
    re.IGNORECASE,
)

# Lines of trainers that write means over the steps since their last line.
_WINDOWED = re.compile(rb"elapsed time per iteration|train_inner|\bdata_time\b|\d+epoch:|\{'loss': .*'epoch': ")
# Megatron's counter of the steps whose loss was not a number, for which it omits the loss.
_NOT_A_NUMBER = "number of nan iterations"
_SKIPPED = "number of skipped iterations"


def search(mask: bytes, start: int = 0, rank: Slot | None = None) -> Recipe | None:
    """Find the recipe of a mask.

    Args:
        mask: The mask.
        start: Offset behind the prefix of a launcher.
        rank: Slot of the number of the process, if the line has one.

    Returns:
        The recipe, or None if the line has no step, epoch or loss, nor a learning rate alone.
    """
    if code(mask) or says_again(mask, start):
        return None
    if (alone := _PLACE_ALONE.match(mask, start)) is not None:
        return Recipe(step=Slot(*alone.span(1), "step"), rank=rank)
    if (unnamed := _UNNAMED_VALUE.match(mask, start)) is not None and b"." in unnamed[3]:
        index, total, value = (Slot(*unnamed.span(i), name) for i, name in ((1, "index"), (2, "total"), (3, UNNAMED)))
        return Recipe((value,), index=index, total=total, named=True, rank=rank)
    if (rate := _RATE_SET.search(mask, start)) is not None:
        return _rate_set(mask, start, rate, rank)
    return _Search(mask, start).recipe(rank)


def _rate_set(mask: bytes, start: int, rate: re.Match[bytes], rank: Slot | None) -> Recipe:
    """Return the recipe of a sentence that says what the learning rate was set to, with the epoch that it may name."""
    before = _Search(mask[: rate.start()], start)
    slot = Slot(*rate.span(2), mask[slice(*rate.span(1))].decode(), *rate.span(1))
    return Recipe((slot,), "measure", epoch=before.places.get("epoch"), step=before.places.get("step"), rank=rank)


def search_any(mask: bytes, start: int) -> Recipe | None:
    """Return a recipe of all names and numbers from byte `start` on, whatever the names; None if there are none."""
    slots = _Search(mask, start).slots
    return Recipe(tuple(slots)) if slots else None


class _Search:
    """One search of a mask. Its slots are those of the metrics, without the places."""

    def __init__(self, mask: bytes, start: int) -> None:
        self._mask = mask
        self._start = start
        self.slots: list[Slot] = []
        self.places: dict[str, Slot] = {}
        self._place_names: dict[str, str] = {}
        self._index: Slot | None = None
        self._total: Slot | None = None
        self._epochs: Slot | None = None
        self._named = False
        self._weak: Slot | None = None  # a step if nothing else is
        self._leading: Slot | None = None  # a number in brackets at the beginning
        self._names: list[tuple[int, int]] = []
        self._explicit: set[int] = set()
        self._means: list[tuple[int, str]] = []
        self._flat = [
            match.span()
            for match in (_FLAT_DICTIONARY.finditer(mask) if b"{" in mask else ())
            if mask.count(b"{", 0, match.start()) == mask.count(b"}", 0, match.start())
        ]
        self._read()

    # ---- left to right --------------------------------------------------------------------------------------------

    def _read(self) -> None:
        mask = self._mask
        before = self._start
        batches = None
        if (pair := _LEADING_PAIR.match(mask, self._start)) is not None:
            self.places["epoch"] = Slot(*pair.span(1), "epoch")
            self._index = Slot(*pair.span(2), "index")
            before = pair.end(2)
        elif (leading := _LEADING_STEP.match(mask, self._start)) is not None:
            self.places["step"], self._place_names["step"] = Slot(*leading.span(1), "step"), "step"
            before = leading.end()
        elif (pair := _TWO_COUNTERS.search(mask, self._start)) and not _NAMED_COUNTER.search(
            mask, self._start, pair.start()
        ):
            self.places["epoch"], self._epochs = Slot(*pair.span(1), "epoch"), Slot(*pair.span(2), "epochs")
            self._index, self._total = Slot(*pair.span(3), "index"), Slot(*pair.span(4), "total")
            before = pair.end()
        elif b"atch" in mask and (batches := _RANGE.search(mask, self._start)) is not None:
            self._index = Slot(*batches.span(1), "index")
        splits = _OF_SPLITS.search(mask, self._start) if b"loss" in mask.lower() else None
        ordinals = self._ordinals()
        last: tuple[int, str] | None = None  # end and name of the last value
        skip_to = before
        for match in NUMBER_HERE.finditer(mask, self._start):
            start, end = match.span()
            if start < skip_to or in_name(mask, start, end):
                continue
            if splits is not None and start == splits.start(2):
                before = skip_to = self._of_splits(splits)
                continue
            if batches is not None and batches.start() < start < batches.end():
                before = batches.end()
                continue
            if start in ordinals:
                before = skip_to = ordinals[start]
                last = None
                continue
            if _CLOCK.match(mask, end):  # `eta: 1:02:03`
                before = end
                continue
            unit = _UNIT.match(mask, end)
            factor = factor_of(unit.group()) if unit else None
            counter = _COUNTER.match(mask, end) if unit is None else None
            if (
                half := _HALF.match(mask, end)
            ) is not None and match.group().isdigit():  # half of a number with a decimal comma, or of a list
                before = skip_to = half.end()
                continue
            name = name_of(mask, before, start, self._flat)
            if (thousands := _THOUSANDS.match(mask, end)) is not None and (
                b"it" in thousands[0] or self._is_step(name, start)
            ):
                self.places["step"] = Slot(start, end, "step", factor=factor_of(thousands[1] or b"") or 1.0)
                self._place_names["step"] = "step"
                before = skip_to = thousands.end()
                last = None
                continue
            if counter is not None and self._count(name, before, start, end, counter):
                before = skip_to = counter.end()
                last = None
                continue
            if name is None and last is not None and unit is None and self._is_mean(last, start, end):
                self._means.append((len(self.slots), last[1]))
                mean = None if "0" in last[1] else last[1]
                self.slots.append(Slot(start, end, mean, self.slots[-1].name_start, self.slots[-1].name_end))
            elif (behind := self._behind(name, before, match)) is not None:
                self._put(behind, Slot(start, end, behind.text, behind.start, behind.end))
                before = skip_to = behind.end
                continue
            elif name is None and unit is None and self._follows_epoch(start, end):
                self._index = Slot(start, end, "index")
            elif name is None and unit is None and self._leads(before, start, end):
                self.places["step"] = self._leading = Slot(start, end, "step")
                self._place_names["step"] = "step"
            elif name is None and unit is None and (told := self._told_at(before, start)) is not None:
                self._put(told, Slot(start, end, told.text, told.start, told.end))
            elif not self.slots and (done := _STEPS_DONE.match(mask, end)) and _SO_FAR.search(mask, self._start, start):
                self._weak = Slot(start, end, "step")
                before = done.end()
                continue
            elif name is not None and unit is None and (value := self._behind_place(name, match)) is not None:
                self.places["step"], self._place_names["step"] = Slot(start, end, "step"), "step"
                self._put(name, Slot(*value.span(), name.text, name.start, name.end))
                before = skip_to = value.end()
                last = None
                continue
            elif name is not None and (unit is None or (factor is not None and name.explicit)):
                self._put(name, Slot(start, end, name.text, name.start, name.end, factor=factor or 1.0))
                last = (end, name.text) if self.slots and self.slots[-1].start == start else None
            elif match.group().lstrip(b"+-")[:1].isalpha():
                continue  # "number of nan iterations": a word
            before = unit.end() if unit else end
            if last is not None and last[0] < end:
                last = None

    def _is_step(self, name: Name | None, start: int) -> bool:
        """Return whether a counter in thousands is one of steps: it is called so, or leads the line."""
        return (name is not None and role(name.text) == "step") or not self._mask[self._start : start].strip(b" [(")

    def _behind(self, name: Name | None, before: int, number: re.Match[bytes]) -> Name | None:
        """Return the name of a loss or a learning rate that its value stands before, in a cell of its own: `10 ms, 2.5 loss`."""
        if name is not None or _NAME_BEFORE.search(self._mask, before, number.start()):
            return None
        behind = _NAME_BEHIND.match(self._mask, number.end())
        if behind is None or not _CELL_START.search(self._mask, self._start, number.start()):
            return None
        found = Name(behind[1].decode(), *behind.span(1), True)
        return found if role(found.text) in _STATED_ROLES else None

    def _behind_place(self, name: Name, place: re.Match[bytes]) -> re.Match[bytes] | None:
        """Return the value of a loss that its step stands before, without any sign: `Train loss 100 2.345`."""
        if name.explicit or self.places or not place.group().isdigit() or role(name.text) not in _LOSSES:
            return None
        if (gap := _BEFORE_VALUE.match(self._mask, place.end())) is None:
            return None
        value = NUMBER_HERE.match(self._mask, gap.end())
        return None if value is None or _UNIT.match(self._mask, value.end()) else value

    def _of_splits(self, splits: re.Match[bytes]) -> int:
        """Take the losses of two splits behind the word, and return where they end."""
        for split in (1, 3):
            if splits[split + 1] is None:  # `val: n/a`
                continue
            name = splits[split].decode() + " loss"
            self._names.append(splits.span(split))
            self.slots.append(Slot(*splits.span(split + 1), name, *splits.span(split)))
        return splits.end()

    def _told_at(self, before: int, start: int) -> Name | None:
        """Return the name of the value at `start` if it stands before the place that ends at byte `before`."""
        place = next((slot for slot in self.places.values() if slot.end == before), None)
        if place is None or _TELLS.fullmatch(self._mask, before, start) is None:
            return None
        told = _TOLD_AT.search(self._mask, max(self._start, place.start - _LONGEST_TOLD), place.start)
        return None if told is None else naming.measure(self._mask, *told.span(1))

    def _follows_epoch(self, start: int, end: int) -> bool:
        """Return whether a number is a counter directly behind the epoch: `Epoch: [2][50]`."""
        epoch = None if _OWN_VALIDATION.search(self._place_names.get("epoch", "")) else self.places.get("epoch")
        between = b"" if epoch is None or self._index is not None else self._mask[epoch.end : start]
        return between.replace(b" ", b"") == b"][" and self._mask[end : end + 1] == b"]"

    def _put(self, name: Name, slot: Slot) -> None:
        self._names.append((name.start, name.end))
        if name.explicit:
            self._explicit.add(slot.start)
        kind = role(_PART_OF_MODE.sub(b"", name.text.encode()).decode())
        followed = self._mask[slot.end : slot.end + 8].lstrip()
        if name.text.strip("()").lower() in _SPLITS and (followed.lstrip(b"]").startswith(b"[") or kind == "epoch"):
            kind = "epoch"
            if name.text.lower() != "epoch":
                self._names.pop()  # it is the split of the line as well
        decimals = _SECONDS.fullmatch(self._mask, slot.start, slot.end) if kind == "step" else None
        if decimals is not None and (decimals[1] or "time" in name.text.lower()):
            kind = "time"
        if kind == "step" and restarts(name.text) and b"." in self._mask[slot.start : slot.end]:
            return  # `Batch 0.512`: seconds
        if _VAL_STEPS.fullmatch(name.text) and self._place_names.get("step", "").endswith("steps"):
            del self.places["step"], self._place_names["step"]  # `Train steps: 100 Val steps: 20`: numbers of steps
        if kind in _PLACES:
            if kind not in self.places or kind == "step":
                best = self._place_names.get(kind)
                if best is None or naming.is_better(name.text, best):
                    self.places[kind], self._place_names[kind] = slot, name.text
            return
        outer = _OUTER.search(self._mask, max(0, name.start - _LONGEST_OUTER), name.start)
        if name.text and "0" in name.text:
            slot = Slot(slot.start, slot.end, None, name.start, name.end, "", slot.factor)
        elif kind in _LOSSES and outer is not None and role(outer[1].decode()) in _LOSSES:
            whole = outer[1].decode()
            slot = slot if whole == name.text else replace(slot, name=f"{whole}.{name.text}")
        self.slots.append(slot)

    def _count(self, name: Name | None, before: int, start: int, end: int, counter: re.Match[bytes]) -> bool:
        """Take the number from `start` to `end` and the match behind it as a counter; return whether they are one."""
        mask = self._mask
        kind = role(_PART_OF_MODE.sub(b"", name.text.encode()).decode()) if name is not None else "other"
        in_parentheses = _PLACE_OF_COUNTER.search(mask, max(0, start - 24), start) if name is None else None
        if in_parentheses is not None:
            name = Name(in_parentheses[1].decode(), *in_parentheses.span(1), True)
            kind = role(name.text)
        if name is not None and name.text.lower() == "epochs":
            kind = "epoch"
        if kind == "other" and name is not None and "/" in name.text:  # `global_step/max_steps: 10/1000`
            kind = role(name.text.partition("/")[0])
        index, total = Slot(start, end, "index"), Slot(*counter.span(1), "total")
        if kind == "epoch" and name is not None:
            self._names.append((name.start, name.end))
            self.places["epoch"], self._epochs = index, total
            return True
        after_epoch = "epoch" in self.places and _ONLY_MARKS.match(mask[self.places["epoch"].end : start]) is not None
        around = max(0, start - 24)
        bracketed = (_OPEN if b"\xe2\x96" not in mask else _OPEN_OR_BAR).search(
            mask, around, start
        ) is not None and not _OF_VALUE.search(mask, around, start)
        counted = _COUNTED.match(mask, counter.end()) is not None
        leading = not mask[self._start : start].strip(b" \t|")
        last = not mask[counter.end() :].strip() and _BEFORE_LAST.search(mask, around, start) is not None
        of_split = name is None or name.text.lower() in _SPLITS  # `train | 100/500 | loss 2.5`
        celled = of_split and not self.slots and _CELL_OF_COUNTER.search(mask, around, start) is not None
        if mask[start - 1 : start] == b"/" or not (
            kind == "step" or after_epoch or bracketed or counted or leading or last or celled
        ):
            return False
        if self._index is None or kind == "step" or (after_epoch and not self._named):
            self._index, self._total = index, total
            self._named = kind == "step" and name is not None and not restarts(name.text)
            if kind == "step" and name is not None:
                self._names.append((name.start, name.end))
        return True

    def _leads(self, before: int, start: int, end: int) -> bool:
        mask = self._mask
        return (
            "step" not in self.places
            and not self.slots
            and mask[end : end + 1] == b"]"
            and _LEADING_PLACE.search(mask, self._start, start) is not None
        )

    def _is_mean(self, last: tuple[int, str], start: int, end: int) -> bool:
        mask = self._mask
        sign, value = mask[start : start + 1], self.slots[-1].start
        if sign == b"+" or (sign == b"-" and mask[value : value + 1] != b"-"):
            return False  # `0.5 (-0.1)`: the change
        return _MEAN.fullmatch(mask, last[0], start) is not None and mask[end : end + 2].lstrip().startswith(b")")

    def _ordinals(self) -> dict[int, int]:
        """Take places that are spelled as ordinals, and return the ends of those texts by the start of the number."""
        ends = {}
        for ordinal in ordinals(self._mask, self._start):
            if ordinal.kind not in self.places:
                self.places[ordinal.kind] = Slot(*ordinal.number, ordinal.kind)
                self._place_names[ordinal.kind] = ordinal.name
                self._epochs = Slot(*ordinal.total, "epochs") if ordinal.total else self._epochs
            ends[ordinal.number[0]] = ordinal.end
        return ends

    # ---- the whole ------------------------------------------------------------------------------------------------

    def recipe(self, rank: Slot | None) -> Recipe | None:
        modes = [
            (start, split_prefix(split[1]))
            for start, _ in self._flat
            if (split := _SPLIT_OF_DICTIONARY.search(self._mask, max(0, start - _LONGEST_OUTER), start)) is not None
        ]
        modes += [
            (mode.start(), "" if mode[1] is None else _prefix(mode[1]) + (_EMA if mode[3] else ""))
            for mode in _MODE.finditer(self._mask, self._start)
            if not any(a <= mode.start() < b for a, b in self._names)
        ]
        running = {i for i, _ in self._means}
        windowed = _WINDOWED.search(self._mask) is not None
        slots: list[Slot] = []
        smoothing: dict[str, Smoothing] = {}
        validation, validated = False, VALIDATION
        first = self.slots[0] if self.slots else None
        begun = _VALIDATED.match(self._mask, first.name_start) if first is not None and first.name_end else None
        modes.sort()
        if first is not None and begun and self._speaks_for_all(first):
            modes.insert(0, (first.name_start, _prefix(begun[0])))  # `val Loss: 0.2 Acc: 0.9`
        if (ends_pass := _END_OF_PASS.match(self._mask, self._start)) is not None:
            modes.insert(0, (ends_pass.start(), VALIDATION))
        roles: set[str] = set()
        spelled = [self._spelled(slot) for slot in self.slots]
        averaged = b"[avg]" in self._mask.lower()  # the means of an epoch, whatever counter stands beside them
        if averaged:
            self._index = self._total = None
        any_loss = any(role(name) in _LOSSES and not _is_cost(name) for name in spelled)
        trained = [name for name in spelled if role(name) == "train_loss"]
        # `perplexity: 12.2 eval_loss: 2.5`: the perplexity is that of the validation, too.
        of_validation = any(role(name) == "val_loss" for name in spelled) and all(map(is_measure, trained))
        output = _OUTPUT.search(self._mask, self._start) if any_loss else None
        of_output = "" if output is None else output[1].decode() + "."
        met: set[str] = set()
        for i, slot in enumerate(self.slots):
            name = self._spelled(slot)
            kind = role(name)
            roles.add(kind)
            mode = next((mode for at, mode in reversed(modes) if at < slot.name_start), "")
            prefix = ""
            if of_validation and kind == "train_loss":
                mode = mode or VALIDATION
            if mode and kind not in ("lr", "time", "epoch") and not names_split(name):
                prefix, validation, validated = mode, True, mode
            if i in running:
                prefix = prefix or (validated if validation else RUNNING)
            if averaged and not prefix and kind != "lr":
                prefix = MEAN
            if kind in _LOSSES and _is_cost(name) and any_loss:  # beside a loss it is what the step took
                prefix = _DURATION
            if kind in _LOSSES and _OF_TIME.match(self._mask, slot.end):
                prefix = _DURATION
            if i not in running and kind in _LOSSES:
                if prefix + name in met:
                    prefix = _SECOND + prefix
                met.add(prefix + name)
            if _BASE_RATE.fullmatch(name) and any_loss and not any(role(name) == "lr" for name in spelled):
                slot = replace(slot, name="lr")
            if kind not in ("lr", "time", "epoch"):
                prefix += of_output
            prefixed = None if slot.name is None else prefix + slot.name
            if prefixed is not None and prefix.startswith(RUNNING):
                smoothing[prefixed] = "running"
            elif prefixed is not None and windowed and kind in _LOSSES and not prefix:
                smoothing[prefixed] = "window"
            slots.append(Slot(slot.start, slot.end, prefixed, slot.name_start, slot.name_end, prefix, slot.factor))
        in_a_pass = validation and ((self._index is not None and not self._named) or ends_pass is not None)
        if in_a_pass:  # of a value and its mean over the pass, the mean counts
            slots = _last_of_each(slots)
        missing = None
        if _NOT_A_NUMBER in (names := {slot.name: slot for slot in slots}) and not roles & _LOSSES:
            missing = (names.get(_SKIPPED), names[_NOT_A_NUMBER])
        if (
            not self.places
            and self._index is None
            and slots
            and (lettered := _LETTERED.match(self._mask, self._start)) is not None
        ):
            self.places["epoch"] = Slot(*lettered.span(1), "epoch")
            if lettered[2] is not None:
                self._index = Slot(*lettered.span(2), "index")
        if not self.places and self._index is None and slots and (weak := self._weak or self._bare()) is not None:
            self.places["step"], self._place_names["step"] = weak, "step"
        self._settle_step(spelled, any_loss=any_loss)
        has_place = bool(self.places) or self._index is not None
        if ends_the_run(self._mask, self._start) and (not has_place or b"best" in self._mask):
            return None
        if not roles & _LOSSES and self._configures(spelled):
            return None
        if not has_place and not roles & _LOSSES:
            # A trainer may print the rate of an epoch, or a score, on a line of its own.
            known = [slot for slot in self.slots if self._is_known(slot)]
            measures = tuple(slot for slot in slots if any(slot.start == one.start for one in known))
            return Recipe(measures, "measure", rank=rank) if measures else None
        if _BEGINS.match(self._mask, self._start) or (not slots and not self.places and not self._named):
            return None
        if self._total is not None and self._place_names.get("step", "").lower() in _EPISODES:
            self.places.pop("step", None)  # the counter of steps places the line
        step, epoch, index, total = self.places.get("step"), self.places.get("epoch"), self._index, self._total
        ahead = index is not None and epoch is not None and index.start < epoch.start
        if in_a_pass or (ahead and step is not None and not self._named):  # `(0/4) Epoch 1, batch 50`: of ranks
            index = total = None
        called = self._place_names.get("step", "")
        may_restart = not in_a_pass and index is None and step is not None and not naming.is_global(called)
        if may_restart and epoch is not None:
            step, index, self._named = None, step, True  # it may restart with each epoch
        elif may_restart:
            self._named = not restarts(called)
        announces = next((mode for _, mode in modes if mode), "") if not slots and rank is None else ""
        line_kind: Kind = "eval" if in_a_pass else "log" if self._flat and not (step or index) else "record"
        return Recipe(
            tuple(slots), line_kind, step, epoch, index, total, self._epochs, None, self._named, rank, smoothing, missing,
            may_restart=may_restart and epoch is None, announces=announces,
        )  # fmt: skip

    def _speaks_for_all(self, first: Slot) -> bool:
        """Return whether the validation that the first name of a line names is what all of the line is about."""
        name = self._spelled(first)
        if role(name) in _LOSSES:
            return True
        behind = self._mask[first.end : self.slots[1].name_start] if len(self.slots) > 1 else b""
        return should_rise(name) and not any(sign in behind for sign in (b",", b";", b"|"))

    def _settle_step(self, names: list[str], *, any_loss: bool) -> None:
        """Choose among what may be the step, now that all of the line is known."""
        if self._leading is not None and self._index is not None and self._named and "epoch" in self.places:
            del self.places["step"]  # `[42292] [INFO] Epoch: 2/50, Iter: 1/4`: the number of a process
            self._place_names.pop("step", None)
        if any_loss and "step" not in self.places and self._index is None:
            so_far = next((i for i, name in enumerate(names) if _STEP_SO_FAR.fullmatch(name)), None)
            if so_far is not None:
                self.places["step"], self._place_names["step"] = self.slots[so_far], names[so_far]

    def _configures(self, names: list[str]) -> bool:
        """Return whether a line of these names and no loss is a configuration: beside a place it takes two of its words."""
        words = sum(name.lower() in _CONFIGURES for name in names)
        counted = self._index is not None or self._place_names.get("step", "steps").lower() not in _NUMBERS_OF_STEPS
        least = 2 if counted or "epoch" in self.places else 1
        if self._index is None and "epoch" not in self.places and restarts(self._place_names.get("step", "")):
            behind = self.slots and self.places["step"].start > self.slots[0].start
            least = 0 if behind else least  # `lr: 0.1, batch 32`: a size
        return words >= least and not any(map(should_rise, names))

    def _bare(self) -> Slot | None:
        """Return the number at the beginning of the line, if it is followed by names alone."""
        bare = _BARE_PLACE.match(self._mask, self._start)
        if behind := _BEHIND_LOGGER.search(self._mask, self._start, self.slots[0].name_start):
            return Slot(*behind.span(1), "step")
        if bare is not None and self.slots[0].start < self.slots[0].name_start:  # `10 93.4 ms, 2.5 loss`
            return Slot(*bare.span(1), "step") if bare.end() < self.slots[0].start else None
        if bare is None or not _ONLY_MARKS.match(self._mask[bare.end() : self.slots[0].name_start]):
            return None
        return Slot(*bare.span(1), "step") if self.slots[0].name_start > bare.end() else None

    def _is_known(self, slot: Slot) -> bool:
        """Return whether a metric may be placed without a step or a loss beside it: a learning rate, or what should rise."""
        name = self._spelled(slot)
        return role(name) == "lr" or (slot.start in self._explicit and should_rise(name))

    def _spelled(self, slot: Slot) -> str:
        """Return the name of `slot`, with zeros for its digits."""
        name = slot.name
        return self._mask[slot.name_start : slot.name_end].decode("utf-8", "replace") if name is None else name


def configures(names: Collection[str]) -> bool:
    """Return whether a box of these names is a configuration: it has no loss, no place and no score, but a word of one."""
    roles = {role(name) for name in names}
    return (
        not roles & (_LOSSES | _PLACES)
        and not any(map(should_rise, names))
        and any(name.lower() in _CONFIGURES for name in names)
    )


def _is_cost(name: str) -> bool:
    """Return whether a name is a cost, which is a loss or a duration; a total cost is a loss."""
    name = name.lower()
    return name.endswith(_COST) and "total" not in name


def split_prefix(split: bytes) -> str:
    """Return the prefix of the names of metrics of a split; that of the training has none."""
    return "" if split.lower().startswith(b"train") else _prefix(split)


def names_split(name: str) -> bool:
    """Return whether a name says whether it is of the training or of a validation."""
    return _OWN_SPLIT.search(name) is not None


def _prefix(mode: bytes) -> str:
    return TEST if mode.lower().startswith(b"test") else VALIDATION


def _last_of_each(slots: list[Slot]) -> list[Slot]:
    named = {slot.name: slot for slot in slots if slot.name is not None}
    return [slot for slot in slots if slot.name is None or named[slot.name] is slot]
