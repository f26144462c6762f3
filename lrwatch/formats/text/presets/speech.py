"""Toolkits of speech and translation: Kaldi, ESPnet, wenet, fairseq, Marian."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from lrwatch.formats.text import general, naming
from lrwatch.formats.text.recipe import Recipe, Slot

_KALDI = re.compile(
    rb"Overall average (?:objective function|log-prob\w*|[\w-]+) for '([\w.-]+)' is (" + naming.NUMBER + rb")"
)
_ESPNET = re.compile(rb"(\d+)epoch:(train|valid):\d+-(\d+)batch:(?: ?\d+num_updates:)? ")
_RESULTS = re.compile(rb"\b(\d+)epoch results: ")
_SPLIT = re.compile(rb"\[(\w+)\] ")
_ITEM = re.compile(rb"(?:^|[\s,\]])([A-Za-z_]\w*)=(" + naming.NUMBER + rb")(?=,|\s|$)", re.IGNORECASE)
_WENET = re.compile(rb"\b(TRAIN|CV) Batch (\d+)/(\d+) ")
_PAIR = re.compile(rb" ((?:history )?[A-Za-z_]\w*) (" + naming.NUMBER + rb")(?= |$)", re.IGNORECASE)
_FAIRSEQ_EPOCH = re.compile(
    rb"\| INFO \| train \| epoch \d+ \| |^\s*\| epoch \d+ \| (?:train \| )?loss \S+ \|(?:.* \|)? num_updates \d+ \| lr "
)
_MARIAN = re.compile(
    rb"Ep\. (\d+) : Up\. ([\d,]+) : .*?Cost (" + naming.NUMBER + rb")(?:.*? : L\.r\. (" + naming.NUMBER + rb"))?"
)

_VITS = re.compile(rb"(?:INFO:[^:\s]+:|[^\[]*\bINFO\s+)\[(?:-?\d+\.\d+, )*(\d+), (0\.0+(?:e-0+)?)\]$")


def kaldi(mask: bytes, start: int) -> Recipe | None:
    """Read the objective of an iteration, which is maximised. A file has one for each output and no step."""
    if (match := _KALDI.search(mask, start)) is None:
        return None
    name = None if b"0" in match[1] else "objective/" + match[1].decode()
    return Recipe(
        (Slot(*match.span(2), name, *match.span(1), prefix="objective/"),),
        smoothing={} if name is None else {name: "window"},
    )


def espnet(mask: bytes, start: int) -> Recipe | None:
    """Read `3epoch:train:1-50batch: loss=2.5` of ESPnet2, means of the batches, or `3epoch results: [train] loss=2`."""
    if b"epoch:" in mask and (match := _ESPNET.search(mask, start)) is not None:
        validation = match[2] == b"valid"
        slots = tuple(_items(mask, match.end(), len(mask), general.VALIDATION if validation else ""))
        index = None if validation else Slot(*match.span(3), "index")
        windowed = {slot.name: "window" for slot in slots if slot.name is not None}
        return Recipe(slots, epoch=Slot(*match.span(1), "epoch"), index=index, smoothing=windowed)  # type: ignore[arg-type]
    if (match := _RESULTS.search(mask, start)) is None:
        return None
    splits = list(_SPLIT.finditer(mask, match.end()))
    found: list[Slot] = []
    for i, split in enumerate(splits):
        end = splits[i + 1].start() if i + 1 < len(splits) else len(mask)
        prefix = (
            "epoch."
            if split[1] == b"train"
            else general.VALIDATION
            if split[1] == b"valid"
            else split[1].decode() + "."
        )
        found.extend(_items(mask, split.end() - 1, end, prefix))
    return Recipe(tuple(found), epoch=Slot(*match.span(1), "epoch"))


def _items(mask: bytes, start: int, end: int, prefix: str) -> Iterator[Slot]:
    for item in _ITEM.finditer(mask, start, end):
        name = None if b"0" in item[1] else prefix + item[1].decode()
        yield Slot(*item.span(2), name, *item.span(1), prefix=prefix)


def wenet(mask: bytes, start: int) -> Recipe | None:
    """Read `DEBUG TRAIN Batch 1/200 loss 45.1 loss_att 50.2 lr 0.00002 rank 0`: epoch and batch."""
    if (match := _WENET.search(mask, start)) is None:
        return None
    prefix = general.VALIDATION if match[1] != b"TRAIN" else ""
    slots = tuple(
        Slot(*item.span(2), prefix + item[1].decode(), *item.span(1))
        for item in _PAIR.finditer(mask, match.end() - 1)
        if item[1] != b"rank" and b"0" not in item[1]
    )
    index = None if prefix else Slot(*match.span(3), "index")
    return Recipe(slots, "eval" if prefix else "record", epoch=Slot(*match.span(2), "epoch"), index=index)


def fairseq_epoch(mask: bytes, start: int) -> Recipe | None:
    """Read `| INFO | train | epoch 001 | loss 9.1 | ... | num_updates 500`, or `| epoch 001 | loss 9.1 | ...` of old versions: means of an epoch, beside `train_inner`."""
    if _FAIRSEQ_EPOCH.search(mask, start) is None or (found := general.search(mask, start)) is None:
        return None
    slots = tuple(
        replace(slot, name=None if slot.name is None else f"epoch.{slot.name}", prefix="epoch.") for slot in found.slots
    )
    return replace(found, slots=slots)


def marian(mask: bytes, start: int) -> Recipe | None:
    """Read `Ep. 1 : Up. 1000 : Sen. 12,345 : Cost 7.2 : Time 10s : 1000 words/s : L.r. 3.0e-4`."""
    if (match := _MARIAN.search(mask, start)) is None:
        return None
    slots = [Slot(*match.span(3), "Cost")]
    if match[4] is not None:
        slots.append(Slot(*match.span(4), "lr"))
    return Recipe(tuple(slots), step=Slot(*match.span(2), "step"), smoothing={"Cost": "window"})


def vits(mask: bytes, start: int) -> Recipe | None:
    """Read `INFO:model:[4200, 9.99e-05]` of VITS and RVC: the step and the rate of the losses in the next line."""
    if not mask.endswith(b"]") or (match := _VITS.match(mask, start)) is None:
        return None
    return Recipe((Slot(*match.span(2), "lr"),), step=Slot(*match.span(1), "step"))
