"""No page without a reason, and none missed: days of healthy and of faulty runs, through the daemon and the shipped rules.

Here five run-days; `make simulate-alerts` does a hundred, in four fleets.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest
from support.simulated_fleet import Fired, Outages, Plan, faulty, healthy, simulate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="needs Debian's prometheus"),
]

LONG = bool(os.environ.get("LONG_TESTS"))
FLEETS = range(4 if LONG else 1)
# Kinds of runs by their number. The short fleet has those that have misled a rule before.
HEALTHY, FAULTY = (range(15), range(10)) if LONG else ((4, 5), (0, 2, 4))
MOST_FALSE = 1


def plans(seed: int) -> dict[str, Plan]:
    """The runs of one fleet; each fleet begins at another kind of trouble."""
    rng = random.Random(seed)
    found = {f"healthy{i:02}": healthy(i + seed * len(HEALTHY), rng) for i in HEALTHY}
    return found | {f"faulty{i:02}": faulty(i + seed * len(FAULTY), rng) for i in FAULTY}


def false_pages(runs: dict[str, Plan], fired: list[Fired], outages: Outages) -> list[str]:
    """What was sent though nothing was wrong, or before it was."""
    found = []
    for one in fired:
        since = outages.down[0] if one.alert == "LrwatchDown" else runs[one.run].fault
        if since is None or one.first < since - 2:  # a scrape is of the two minutes before it
            found += [f"{one}, {runs.get(one.run)}"] * one.episodes
    return found


def missed(runs: dict[str, Plan], fired: list[Fired], outages: Outages) -> list[str]:
    """What was wrong and not sent, or too late."""
    first = {(one.alert, one.run): one.first for one in fired}
    wanted = [(plan.page, run, plan.fault, plan.within) for run, plan in runs.items() if plan.fault is not None]
    wanted.append(("LrwatchDown", "", outages.down[0], 10))
    return [f"{page} {run} from {at}, {runs.get(run)}" for page, run, at, within in wanted
            if not at - 2 <= first.get((page, run), -1) <= at + within]  # fmt: skip


@pytest.mark.timeout(1800)
def test_days_of_healthy_and_faulty_runs_raise_at_most_one_false_page_and_miss_none(tmp_path: Path) -> None:
    false, unsent, days = list[str](), list[str](), 0
    for seed in FLEETS:
        # In the second fleet something goes wrong while the daemon is away, and is told when it is back.
        outages = Outages(down=(700, 720)) if seed == 1 else Outages()
        runs = plans(seed)
        if seed == 1:
            runs |= {
                name: Plan(name, plan.curve, 705, plan.page, 60, value=plan.value)
                for name, plan in runs.items()
                if plan.page == "LossNotFinite"
            }
        (home := tmp_path / str(seed)).mkdir()
        fired = simulate(home, runs, seed, outages)
        false += false_pages(runs, fired, outages)
        unsent += missed(runs, fired, outages)
        days += len(runs)
    print(f"{days} run-days: {len(false)} false pages, {len(unsent)} missed")
    assert unsent == []
    assert len(false) <= MOST_FALSE, "\n".join(false)
