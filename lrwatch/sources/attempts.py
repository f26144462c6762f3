"""Attempts of one job, by the names of their logs: files that differ in numbers only."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

_NUMBER = re.compile(
    r"(?P<process>(?:rank|proc|process|worker|node|gpu|device|host|local)[-_.=]?)?(?P<number>\d+)", re.IGNORECASE
)


class Attempt(NamedTuple):
    """A path without its numbers, and the numbers: `attempts` count attempts, `processes` the processes of one."""

    shape: str
    attempts: tuple[int, ...]
    processes: tuple[int, ...]

    def follows(self, other: Attempt) -> bool:
        """Whether this is a later attempt of the job that `other` is an attempt of."""
        return self.shape == other.shape and self.attempts > other.attempts


@lru_cache(1024)
def attempt(path: str) -> Attempt:
    """Return which attempt the log at `path` is of.

    >>> attempt("logs/slurm-12.out").follows(attempt("logs/slurm-9.out"))
    True
    >>> attempt("a/attempt_0/1/stdout.log")
    Attempt(shape='a/attempt_#/#/stdout.log', attempts=(0,), processes=(1,))
    """
    attempts: list[int] = []
    processes: list[int] = []
    shape = []
    for part in path.split("/"):
        for found in _NUMBER.finditer(part):
            of_a_process = found["process"] or found.group() == part
            (processes if of_a_process else attempts).append(int(found["number"]))
        shape.append(_NUMBER.sub(lambda found: f"{found['process'] or ''}#", part))
    return Attempt("/".join(shape), tuple(attempts), tuple(processes))
