"""Presets: lines that the general extractor cannot understand.

There is one file per family of trainers, and one function per kind of line. A preset is a function of
a mask (the line with all digits made zeros) and the offset behind the prefix of a launcher. It returns the recipe of
the line, or None. The first preset that knows a line reads it; the general extractor reads the others.

To add one: write the function, with the line itself in its docstring; add it to `PRESETS`; add a real log of the
trainer to the tests. It sees every new mask, so it must return None for lines of other trainers, and do so fast. A mask
comes once: recipes are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from lrwatch.formats.text import general, naming
from lrwatch.formats.text.presets import (
    bars,
    blocks,
    boosting,
    boxes,
    federated,
    lengths,
    speech,
    tables,
    tutorials,
    vision,
)
from lrwatch.formats.text.ranks import process_number
from lrwatch.formats.text.recipe import NUMBER_OF_RANK, Recipe, Slot

PRESETS: tuple[Callable[[bytes, int], Recipe | None], ...] = (
    lengths.length, vision.yolo, bars.keras, bars.tqdm, bars.rich, bars.tflearn, bars.drawn, boxes.box, blocks.open_block, blocks.line_of_block,
    blocks.result, blocks.section, boosting.catboost, boosting.best_iteration, federated.fit_progress, tutorials.time_since,
    vision.darknet, vision.caffe_train_output, speech.kaldi, speech.fairseq_epoch, speech.espnet, speech.wenet,
    speech.marian, speech.vits, tables.header, tables.row,
)  # fmt: skip
"""All presets, in the order in which they are asked."""

# The longest lines of metrics in real logs have some kilobytes; longer ones are configurations.
_LONGEST_LINE = 1 << 14

# Prefixes of launchers and log collectors, with the number that tells their processes apart.
_RANK = re.compile(
    rb"^(?:\d{4}-\d\d-\d\d[ T][\d:.,]+Z? (?=\[|\())?(?:"
    rb"\[(?:rank|default)?(\d+)\]: ?|(\d+): (?=\D|\d{4}-\d\d-\d\d[ T]|\d\d:\d\d:\d\d)(?!-?(?:nan|inf)\b)"  # torchrun, DeepSpeed, srun -l
    rb"|\[\d+,(?:mpirank:)?(\d+)(?:,[\w.-]+)?\]<std(?:out|err)>: ?|\[(\d+)\]<std(?:out|err)>: ?"  # mpirun, horovodrun
    rb"|\([\w.]+ (?:rank=\d+ )?pid=(\d+)[^)]*\) "  # Ray
    rb"|\[pod/[^/\]\s]*?-(\d+)(?:-[a-z\d]+)*/[^\]\s]+\] ?"  # kubectl logs --prefix
    rb"|(?!(?i:global_?)?(?i:step|epoch|iter|batch|round)|algo-)(?:[A-Za-z][A-Za-z_-]*(\d+[-_]\d+)|[A-Za-z][\w.-]*[-_](\d+))\s+\| "  # docker compose
    rb"|[A-Za-z][\w.-]*\.(\d+)\.[a-z\d]+@[\w.-]+\s+\| "  # docker service logs
    rb"|[a-z][a-z\d.-]*-(\d+) [a-z][\w-]* (?=\d{4}-\d\d-\d\dT)"  # stern
    rb"|[\[<]?(?:[a-z][a-z\d]*[-_])*((?i:rank|worker|node|gpu|host|proc|process|trainer|replica|task|machine|master|server|compute|device|cuda|xla|npu|hpu)[-_ #:]?\d+(?:-\d+)?)"
    rb"(?:[\]>]:? ?|\s?[:>] )"
    rb"|(?:[a-z][a-z\d]*-)*((?i:rank|worker|c?node|gpu|host|machine)-?\d+) +(?=[A-Za-z\[(])"  # `gpu-node-1 step 10`
    rb"|(\d+)_(?:rank|worker|node|gpu|host)(?:_[a-z]+)*:? "
    rb"|algo-(\d+)-[a-z\d]+(?:_\d+)?\s+\| "  # SageMaker's local mode
    rb"|(?:[A-Z]+\t)?\d{4}-\d\d-\d\d[ T][\d:.]+ [-+]\d{4}\tworkerpool(\d+-\d+)\t+"  # Vertex AI
    rb"|\([\w.-]+, rank=(\d+),[^)\n]*\) "  # a head and its workers
    rb"|\[?(?i:(?:local|global)[-_ ])?(?i:rank)\s?[=:]\s?(\d+)(?:\]:? ?|[,;|]? +)"
    rb"|(?:\d{1,3}\.){3}(\d{1,3}): "  # pdsh and pssh with addresses
    rb"|\((?i:rank|worker|node|gpu|proc|process)[-_ #:=]?(\d+)\):? "
    rb"|(?:\[[^\]\n]{1,40}\] ?){0,2}\[(?i:rank)[ =:]?(\d+) ?(?:/|of) ?\d+\]:? ?"
    rb"|\d{13} \S+ \w+ )+"  # ClearML
)
_BARE_NUMBER = 2  # the group of `_RANK` that may be a step as well
_RANK_WITHIN = re.compile(
    rb"\brank[ =:]+(\d+)\b(?=\s*\]|\s*$)|(?:^|[\s\[(|])(?i:rank|process|proc)[ _=:#]{0,2}(\d+)(?=\s?[\]):|] )"
    rb"|(?:[\[(|,;]|\s-) ?(?i:rank)[ =:]{1,2}(\d+)(?=\s?(?:[,;]|-) )"  # `Step: 10, Rank: 1, loss = 2.5`, `- rank 1 - `
    rb"|[\[|]DP=(\d+)(?=[,|\]])|\bDevice=[a-z]+:(?:\d+/)?(\d+) "  # nanotron and others, PyTorch/XLA
    rb"|\[(?i:rank|gpu|node|worker|process|device|host)[ :=]?(\d+)\] "
)


def rank_of(line: bytes) -> int | None:
    """Return the number of the process that wrote a line, by the prefix that its launcher gave it; None without one."""
    prefix = _RANK.match(line)
    return process_number(prefix[prefix.lastindex]) if prefix is not None and prefix.lastindex is not None else None


def search(mask: bytes) -> Recipe | None:
    """Find the recipe of a mask; None if its lines have no metrics."""
    if mask.endswith(b"\r"):
        mask = mask[:-1]
    if len(mask) > _LONGEST_LINE:
        return None
    mask = naming.plain(mask)
    start, rank = 0, None
    if (prefix := _RANK.match(mask)) is not None:
        start = prefix.end()
        if (group := prefix.lastindex) is not None:
            rank = Slot(*prefix.span(group), NUMBER_OF_RANK if group == _BARE_NUMBER else "rank")
    elif (within := _RANK_WITHIN.search(mask)) is not None:
        rank = Slot(*within.span(within.lastindex or 1), "rank")
    for preset in PRESETS:
        if (recipe := preset(mask, start)) is not None:
            return recipe
    if (recipe := boosting.mllog(mask, start)) is not None:
        return replace(recipe, rank=rank)
    return general.search(mask, start, rank) or blocks.loose_item(mask, start)
