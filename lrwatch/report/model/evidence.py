"""The evidence of a finding in words: what each number is, with its unit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from lrwatch.core.words import percent
from lrwatch.report.text import MINUS, short, spaced, whole

# More numbers than a detector ever gives as its evidence; a foreign journal may hold any number.
MAX_PARTS = 24


def _level(words: str) -> Callable[[float], str]:
    return lambda value: f"{words} {whole(value) if isinstance(value, int) else short(value)}"


def _share(words: str) -> Callable[[float], str]:
    return lambda value: f"{words} {percent(value).replace('-', MINUS)}"


def _step(words: str) -> Callable[[float], str]:
    return lambda value: f"{words} step {whole(round(value))}"


def _count(words: str) -> Callable[[float], str]:
    return lambda value: f"{whole(round(value))} {words}"


_WORDS: Mapping[str, Callable[[float], str]] = {
    "improvement": _level("improvement in a horizon"),
    "lower": _level("at least"),
    "upper": _level("at most"),
    "horizon_steps": _count("steps in a horizon"),
    "level": _level("level"),
    "level_before": _level("level before"),
    "samples": _count("values"),
    "values": _count("values"),
    "best": _level("best"),
    "best_step": _step("best at"),
    "now": _level("now"),
    "before": _count("such values before"),
    "start": _level("at the start"),
    "noise": _level("noise"),
    "allowed": _level("allowed"),
    "train_at_best": _level("training then"),
    "train_now": _level("training now"),
    "log_e": _level("log e-value"),
    "pairs": _count("pairs of training and validation"),
    "rises": _count("rises in a row"),
    "severity": lambda value: f"{short(value)} times the noise",
    "height": _level("height"),
    "from": _step("from"),
    "lasted": _count("values long"),
    "count": _count("in all"),
    "per_10000": lambda value: f"{short(value)} in 10,000 values",
    "gain_ratio": _share("improvement"),
    "slope_ratio": lambda value: f"second half {short(value)} times as steep as the first",
    "steps": _count("steps"),
    "scatter": _level("scatter"),
    "scatter_before": _level("scatter before"),
    "correlation": _level("correlation of neighbours"),
    "silent_seconds": lambda value: f"silent for {short(value)} s",
    "usual_seconds": lambda value: f"usually {short(value)} s apart",
}
"""Keys of evidence in words. Any other key is written with spaces."""

# Said by the sentence of the finding already, or of use for a computation only.
_LEFT_OUT = frozenset(
    {
        "recurring",
        "suspicion",
        "how",
        "train_metric",
        "statistic",
        "deviations",
        "von_neumann",
        "improvement_ratio",
        "upper_ratio",
    }
)


def in_words(evidence: object) -> tuple[str, ...]:
    """Return the evidence of a finding, a few words a number.

    >>> in_words({"improvement": -0.2, "horizon_steps": 2500, "samples": 1200, "advice": True, "new_key": 3})
    ('improvement in a horizon −0.2', '2,500 steps in a horizon', '1,200 values', 'not acted on', 'new key 3')
    """
    return tuple(islice(_parts(evidence), MAX_PARTS)) if isinstance(evidence, Mapping) else ()


def _parts(evidence: Mapping[object, object]) -> Iterator[str]:
    for key, value in evidence.items():
        name = str(key)
        if name in _LEFT_OUT or value is None:
            continue
        if isinstance(value, bool):
            if name == "advice" and value:
                yield "not acted on"
            continue
        if not isinstance(value, int | float):
            yield f"{spaced(name)} {value}"
        elif name == "asked":  # a threshold of the test; that of a plateau is in its sentence
            if "improvement" not in evidence:
                yield f"required {short(value)}"
        elif name in _WORDS:
            yield _WORDS[name](value)
        else:
            yield f"{spaced(name)} {whole(value) if isinstance(value, int) else short(value)}"
