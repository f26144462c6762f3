"""A log read in every way that must not matter."""

from __future__ import annotations

from textwrap import dedent

from support.format_samples import feed, random_cuts

from lrwatch.core.sample import Batch
from lrwatch.formats import by_name, detect

Samples = list[tuple[int, float]]


def found(batches: list[Batch]) -> dict[str, Samples]:
    samples: dict[str, Samples] = {}
    for batch in batches:
        for name, column in batch.columns.items():
            pairs = zip(batch.steps_of(column).tolist(), column.values.tolist(), strict=True)
            samples.setdefault(name, []).extend(pairs)
    return samples


def read(log: str | bytes) -> dict[str, Samples]:
    """Read a log at once, in three random cuts, and with a restart at each cut: all the same."""
    data = log if isinstance(log, bytes) else dedent(log).lstrip("\n").encode()
    reader = detect(data, final=True)
    assert reader is not None, "nothing understands it"
    name = reader.name
    whole = found([reader.feed(data, final=True)[0]])
    for seed in range(3):
        cut = feed(by_name(name), random_cuts(data, 9, seed), restart=seed == 2)
        tail = {metric: [(step, repr(value)) for step, value in samples] for metric, samples in found(cut).items()}
        assert tail == {metric: [(s, repr(v)) for s, v in samples] for metric, samples in whole.items() if samples}
    return whole
