"""Progress bars: Keras, and every trainer that draws with tqdm (also Lightning and the Hugging Face Trainer)."""

from __future__ import annotations

import re
from dataclasses import replace

from lrwatch.formats.text import general, naming
from lrwatch.formats.text.recipe import Recipe, Slot

# `28700/28700 [=====] - 162s 6ms/step - loss: 1.42`, in Keras 3 with a bar of ━; `4096/4096 - 658s - loss: 0.2`;
# ` - 10s - loss:`.
_KERAS = re.compile(
    rb"^\s*(?:(\d+)/(\d+|Unknown)\s+(?:\[[=>.]*\]|[\xe2\x94\x81\xb8\xba\x95]+|-(?= \d+m?s\b))|(?:\d+/\d+ )?- \d+s\b)"
)
_KERAS_ITEM = re.compile(rb" - ([A-Za-z_][\w/. ()@-]{0,80}?): (" + naming.NUMBER + rb")(?![\w/])", re.IGNORECASE)

_TQDM = re.compile(
    rb"(?:(?<!\d)(\d+)%\|[^|]*\|\s*(\d+)/(\d+)|(?:^|: )\s*(\d+)it) \[[^\[\]<,]*(?:<[^,\[\]]*)?(?:, *\??[^,\[\]]*/[^,\[\]]*)?"
)
# `Epoch 3/10:  45%|`, `Train    3:  45%|` of RecBole
_EPOCH = re.compile(rb"\b(?:epoch\s*[:\[=#]?|train\s+(?=\d+:))\s*(\d+)(?:\s*/\s*(\d+))?", re.IGNORECASE)
# `Validation:  45%|`: a bar of the validation.
_OF_VALIDATION = re.compile(
    rb"\b(val|valid|validation|validating|eval|evaluation|evaluating|test|testing)\b", re.IGNORECASE
)
# `Steps:  45%|`: a bar that is called after steps counts those of the run (diffusers).
_OF_STEPS = re.compile(rb"(?:^|[\s\]])(?:global steps?|steps?|iterations?|train steps?):\s*$", re.IGNORECASE)


# Bars that load or prepare data: `Map: 50%|...| 5000/10000 [00:01<00:01, 4321.12 examples/s]`, `1.21MB/s]`.
_OF_DATA = re.compile(
    rb"(?:examples|files|[kKMG]?i?B)/s\s*\]|\b(?:map|filter|download\w*|fetching|loading|generating|tokeniz\w*|saving|extracting)\b[^|\n]*%\|",
    re.IGNORECASE,
)


def keras(mask: bytes, start: int) -> Recipe | None:
    """Read a line of `keras.callbacks.ProgbarLogger`: its values are means since the epoch began."""
    if b" - " not in mask or (match := _KERAS.match(mask, start)) is None:
        return None
    items = list(
        _KERAS_ITEM.finditer(mask, match.end() - 2 if mask[match.end() - 1 : match.end()] == b"-" else match.end())
    )
    if not items:
        return None
    slots = tuple(Slot(*item.span(2), _name(item[1]), *item.span(1)) for item in items)
    names = [item[1].decode() for item in items]
    counted = match[1] is not None and match[2] != b"Unknown"
    return Recipe(
        slots,
        "epoch bar",
        index=Slot(*match.span(1), "index") if counted else None,
        total=Slot(*match.span(2), "total") if counted else None,
        smoothing={**dict.fromkeys(names, "window"), **{general.RUNNING + name: "running" for name in names}},
    )


# `| Adam | epoch: 001 | loss: 1.87 - acc: 0.32 -- iter: 00640/55000`, below a line with the step.
_OF_SAMPLES = re.compile(rb"\|[^|]+\| epoch: \d+ \| .* -- iter: \d+/\d+\s*$")


def tflearn(mask: bytes, start: int) -> Recipe | None:
    """Read the second line of TFLearn, which counts the samples of the epoch: the line above it has the step."""
    if b" -- iter: " not in mask or _OF_SAMPLES.match(mask, start) is None:
        return None
    inner = general.search(mask, start)
    return None if inner is None else replace(inner, index=None, total=None)


# ` [==>..]  Step: 61ms | Tot: 1s1ms | Loss: 2.389 | Acc: 10.156% (13/128)  1/50`
_DRAWN = re.compile(rb"\s*\[[=>.#-]+\]\s")


def drawn(mask: bytes, start: int) -> Recipe | None:
    """Read the bar of many scripts, whose counter comes last. Its values are means since the epoch began."""
    if (match := _DRAWN.match(mask, start)) is None:
        return None
    inner = general.search(b" " * match.end() + mask[match.end() :], match.end())
    if inner is None or inner.total is None:
        return None
    return replace(inner, kind="bar", smoothing={slot.name: "running" for slot in inner.slots if slot.name is not None})


# `Epoch 0/2 ━━━━━ 1/4 0:00:01 • 0:00:02 12.31it/s v_num: 0 train/loss: 2.3` of rich, also in Lightning.
_RICH = re.compile(
    rb"(?:\xe2\x94\x81|\xe2\x95[\xb8\xba])+ +(?:(?:\d+/--|\d+%|(\d+)/(\d+)|\d+:\d\d:\d\d|-:--:--|\xe2\x80\xa2|[\d.]+ ?it/s) *)+"
)


def rich(mask: bytes, start: int) -> Recipe | None:
    """Read a bar of rich: the counter and the times behind it, and names and values."""
    if b"\xe2\x94\x81 " not in mask and b"\xe2\x95\xb8" not in mask and b"\xe2\x95\xba" not in mask:
        return None
    if (match := _RICH.search(mask, start)) is None or match[1] is None:
        return None
    inner = general.search(mask[: match.start()] + b" " * (match.end() - match.start()) + mask[match.end() :], start)
    index, total = Slot(*match.span(1), "index"), Slot(*match.span(2), "total")
    if inner is None:
        return Recipe(kind="bar", index=index, total=total)
    return replace(inner, kind="bar", index=index, total=total, named=False, may_restart=False)


def _name(name: bytes) -> str | None:
    """Return the name; None if it has digits, which are zeros in a mask."""
    return None if b"0" in name else name.decode()


def _prefixed(slot: Slot, prefix: str) -> Slot:
    """Return a metric with the prefix of a split, unless its name says its split itself."""
    if slot.name is None or slot.prefix or general.names_split(slot.name):
        return slot
    return replace(slot, name=prefix + slot.name, prefix=prefix)


def tqdm(mask: bytes, start: int) -> Recipe | None:
    """Read a bar of tqdm. A postfix, or a record that was printed over the bar, may follow its times."""
    if (match := _TQDM.search(mask, start)) is None:
        return None
    counter = match.span(2) if match[2] is not None else match.span(4)
    epoch = _EPOCH.search(mask, start, match.start())
    inner = general.search(mask, match.end())
    if inner is None and (b"=" in mask[match.end() :] or b": " in mask[match.end() :]):
        inner = general.search_any(mask, match.end())
    before = general.search_any(mask[: match.start()], start)  # `loss: 0.43:  45%|`
    slots = (inner.slots if inner is not None else ()) + (before.slots if before is not None else ())
    if (split := _OF_VALIDATION.search(mask, start, match.start())) is not None and b"rain" not in mask[
        start : match.start()
    ]:
        slots = tuple(_prefixed(slot, general.split_prefix(split[1])) for slot in slots)
    if not slots and _OF_DATA.search(mask, start) is not None:
        return Recipe(kind="length")
    of_steps = epoch is None and _OF_STEPS.search(mask, start, match.start()) is not None
    return Recipe(
        slots,
        "log" if inner is not None and inner.kind == "log" else "bar",
        step=inner.step if inner is not None else None,
        epoch=Slot(*epoch.span(1), "epoch") if epoch is not None else inner.epoch if inner is not None else None,
        index=Slot(*counter, "index"),
        total=Slot(*match.span(3), "total") if match[3] is not None else None,
        epochs=Slot(*epoch.span(2), "epochs") if epoch is not None and epoch[2] is not None else None,
        run=Slot(*match.span(3), "run") if match[3] is not None and of_steps else None,
        smoothing=inner.smoothing if inner is not None else {},
    )
