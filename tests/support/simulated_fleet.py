"""Days of many runs in seconds: real logs, a real daemon with a clock that is set, and what it would serve at each scrape.

Each run writes a line a minute to a log of its own, by a plan: what is healthy about it, and what goes wrong when. The daemon reads
the logs every two minutes of simulated time; it is restarted, cannot be scraped for a while, and is down for twenty minutes. What the
collector serves becomes the input of `promtool test rules`, which evaluates the shipped rules as Prometheus does.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from lrwatch.config import load
from lrwatch.daemon.loop import Daemon
from lrwatch.export.collector import bounded
from lrwatch.export.metrics import RUN_METRICS
from lrwatch.protocol import OBSERVED_NAME, Observed, encode, own_process, publish
from lrwatch.protocol.process import Process, own_machine
from lrwatch.store import Store
from lrwatch.testing import FakeClock

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yml"
MINUTE = 60
SCRAPE = 2 * MINUTE
DAY = 24 * 60  # in minutes
WHERE = {"job": "lrwatch", "instance": "gpu1:9767"}

Curve = Callable[[int, random.Random], float]


@dataclass(frozen=True)
class Plan:
    """The day of one run.

    Attributes:
        name: What is special about it.
        curve: Loss at a step.
        fault: Minute from which on something is wrong, or None for a healthy run.
        page: The alert that must come then.
        within: Minutes that it may take.
        silent: Minutes without a line, from and to.
        back: Steps that the run goes back when it writes again after such a pause.
        says: What the trainer says in its control directory: nothing, that it lives until the fault and is then gone, or goodbye at `over`.
        over: Minute after which nothing is written, or None.
        value: The loss from the fault on, by the minutes since then; None leaves it to the curve.
        garbage: Share of the lines that are torn from the fault on.
    """

    name: str
    curve: Curve
    fault: int | None = None
    page: str = ""
    within: int = 60
    silent: tuple[tuple[int, int], ...] = ()
    back: int = 0
    says: Literal["nothing", "killed", "goodbye"] = "nothing"
    over: int | None = None
    value: Callable[[int, float], float] | None = None
    garbage: float = 0.0


def power(noise: float) -> Curve:
    """A loss that falls by the same share each time that the steps double, as those of language models do."""
    return lambda step, rng: 6 * step**-0.2 * (1 + noise * rng.gauss(0, 1))


def spiky(step: int, rng: random.Random) -> float:
    """One value in fifty is half as much again: bad batches."""
    return power(0.02)(step, rng) * (1.5 if rng.random() < 0.02 else 1)


def sawtooth(step: int, rng: random.Random) -> float:
    """Falls within each epoch of 40 steps, and starts the next one a little higher."""
    return power(0.01)(step, rng) * (1.05 - 0.05 * (step % 40) / 40)


CHECKPOINTS = tuple((start, start + 25) for start in range(100, DAY, 125))
"""A pause of 25 minutes after each 100 minutes."""


def healthy(i: int, rng: random.Random) -> Plan:
    """Return one of the healthy plans, in turn."""
    preempted = rng.randrange(300, 900)
    return [
        Plan("steady", power(0.01)),
        Plan("noisy", power(0.05)),
        Plan("spiky", spiky),
        Plan("epochs", sawtooth),
        Plan("checkpoints", power(0.01), silent=CHECKPOINTS),
        Plan("restarted", power(0.01), silent=((preempted, preempted + 20),), back=30),
        Plan("ends", power(0.01), says="goodbye", over=rng.randrange(600, 1200)),
        Plan("one long evaluation", power(0.02), silent=((700, 728),)),
    ][i % 8]


def faulty(i: int, rng: random.Random) -> Plan:
    """Return one of the plans in which something goes wrong, in turn."""
    at = rng.randrange(400, 1000)
    return [
        Plan("killed", power(0.01), at, "TrainingStalled", 15, says="killed", over=at),
        Plan("hangs", power(0.01), at, "TrainingStalled", 45, over=at),
        Plan("not a number", power(0.01), at, "LossNotFinite", 10, value=lambda _, __: math.nan),
        Plan("once not a number", power(0.01), at, "LossNotFinite", 10, value=lambda t, loss: loss if t else math.nan),
        Plan("diverges", power(0.02), at, "TrainingDiverging", 240, value=lambda t, loss: loss * (1 + t / 240)),
        Plan("torn lines", power(0.01), at, "LrwatchIngestErrors", 45, garbage=0.3),
        Plan("hangs after checkpoints", power(0.01), 1200, "TrainingStalled", 100, silent=CHECKPOINTS, over=1200),
        Plan("flat", lambda _, rng: 2 + 0.01 * rng.gauss(0, 1), 0, "TrainingPlateau", 900),
    ][i % 8]


@dataclass
class Writer:
    """A run that writes its log as its plan says."""

    run: str
    plan: Plan
    folder: Path
    rng: random.Random
    step: int = 0
    _paused: bool = False
    _told: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)

    @property
    def log(self) -> Path:
        """Its log."""
        return self.folder / "train.jsonl"

    def minute(self, now: int, gone: Process) -> None:
        """Write what it writes in this minute.

        Args:
            now: The minute.
            gone: A process that has ended.
        """
        plan = self.plan
        over = plan.over is not None and now >= plan.over
        if plan.says != "nothing":
            self._say(now, gone, over=over)
        if over:
            return
        if any(start <= now < end for start, end in plan.silent):
            self._paused = True
            return
        if self._paused:
            self.step, self._paused = max(0, self.step - plan.back), False
        self.step += 1
        loss = plan.curve(self.step, self.rng)
        wrong = plan.fault is not None and now >= plan.fault
        if wrong and plan.value is not None and plan.fault is not None:
            loss = plan.value(now - plan.fault, loss)
        line = json.dumps({"step": self.step, "loss": round(loss, 6)})
        if wrong and self.rng.random() < plan.garbage:
            line = line[: len(line) // 2]
        with self.log.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        os.utime(self.log, (now * MINUTE, now * MINUTE))

    def _say(self, now: int, gone: Process, *, over: bool) -> None:
        word = self.plan.says if over else "lives"
        if word in self._told:
            return
        self._told.add(word)
        (control := self.folder / "lrwatch").mkdir(mode=0o700, exist_ok=True)
        process = own_process()
        assert process is not None
        if word == "killed":
            process = gone
        said = Observed(
            run=self.run, incarnation="i", step=self.step, scale=1.0,
            life="ended" if word == "goodbye" else "running", goodbye="close" if word == "goodbye" else None,
            pid=process.pid, pid_start=process.start, machine=process.machine,
        )  # fmt: skip
        publish(control, OBSERVED_NAME, encode(said))


def ended_process() -> Process:
    """Return a process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    stat = Path(f"/proc/{child.pid}/stat").read_bytes().rpartition(b")")[2].split()
    child.communicate()
    return Process(child.pid, int(stat[19]), own_machine())


class Recorder:
    """The series that rules ask for, one value a scrape; what is absent is stale, as in Prometheus."""

    def __init__(self) -> None:
        asked = set(re.findall(r"\blrwatch_\w+", RULES.read_text(encoding="utf-8")))
        self._metrics = [metric for metric in RUN_METRICS if metric.name in asked]
        self._series: dict[tuple[str, tuple[tuple[str, str], ...]], list[str]] = {}
        self._scrapes = 0

    def scrape(self, found: Mapping[tuple[str, tuple[tuple[str, str], ...]], float]) -> None:
        """Take one scrape."""
        for key, value in found.items():
            values = self._series.setdefault(key, ["_"] * self._scrapes)
            values.append("NaN" if math.isnan(value) else f"{value:+.10g}".replace("+I", "I").lstrip("+"))
        self._scrapes += 1
        for values in self._series.values():
            if len(values) < self._scrapes:
                values.append("_" if values[-1] in ("_", "stale") else "stale")

    def daemon(self, daemon: Daemon) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """Return what a daemon serves now."""
        families = bounded(daemon.snapshot(), 100_000).families
        return {
            (metric.name, tuple(zip(metric.labels, values, strict=False))): value
            for metric in self._metrics
            for values, value in families[metric.name].items()
        }

    def input_series(self) -> list[dict[str, str]]:
        """Return the series as promtool reads them."""
        return [
            {
                "series": f"{name}{{{', '.join(f'{k}={json.dumps(v)}' for k, v in [*WHERE.items(), *labels])}}}",
                "values": _shortened(values),
            }
            for (name, labels), values in self._series.items()
        ]


def _shortened(values: list[str]) -> str:
    """Return values with repetitions written as promtool's `AxN`."""
    words: list[str] = []
    at = 0
    while at < len(values):
        end = at + 1
        while end < len(values) and values[end] == values[at]:
            end += 1
        value, count = values[at], end - at
        if count == 1 or value in ("NaN", "stale") or "Inf" in value:
            words += [value] * count
        else:
            words.append(f"_x{count}" if value == "_" else f"{value}x{count - 1}")
        at = end
    return " ".join(words)


@dataclass(frozen=True)
class Fired:
    """One alert that somebody was sent, in minutes."""

    alert: str
    run: str
    first: int
    episodes: int


@dataclass(frozen=True)
class Outages:
    """Minutes in which, from and to: the daemon restarts, Prometheus is away, the daemon is down for long."""

    restart: tuple[int, int] = (500, 504)
    gap: tuple[int, int] = (620, 628)
    down: tuple[int, int] = (1010, 1030)


def simulate(home: Path, plans: Mapping[str, Plan], seed: int, outages: Outages) -> list[Fired]:
    """Let runs train for a day, and return the alerts for a person, critical ones and warnings, that fired.

    Args:
        home: An empty directory.
        plans: The runs.
        seed: Of their noise.
        outages: When the daemon or the scrapes are away.
    """
    clock, recorder, gone = FakeClock(0.0), Recorder(), ended_process()
    writers = [Writer(run, plan, home / "runs" / run, random.Random(f"{seed}/{run}")) for run, plan in plans.items()]
    config = load(flags={"watch.paths": (str(home / "runs"),)})
    store = Store(home / "state", exclusive=True)
    daemon: Daemon | None = None
    rounds = 0
    for minute in range(0, DAY, SCRAPE // MINUTE):
        for now in range(minute, minute + SCRAPE // MINUTE):
            for writer in writers:
                writer.minute(now, gone)
        clock.now = float((minute + SCRAPE // MINUTE - 1) * MINUTE)
        away = any(start <= minute < end for start, end in (outages.restart, outages.down))
        if away and daemon is not None:
            daemon.save()
            daemon.close()
            daemon = None
        elif not away and daemon is None:
            daemon = Daemon(config, store, lambda _: None, clock=clock, monotonic=clock)
            daemon.discover()
        if daemon is not None:
            daemon.turn()
            while daemon.behind:
                daemon.turn()
            rounds += 1
        if outages.gap[0] <= minute < outages.gap[1]:
            recorder.scrape({})
        elif daemon is None:
            recorder.scrape({("up", ()): 0.0})
        else:
            own = {("up", ()): 1.0, ("lrwatch_loop_duration_seconds_count", ()): 60.0 * rounds}
            recorder.scrape(recorder.daemon(daemon) | own)
    assert daemon is not None
    daemon.close()
    store.close()
    return _fired(home, recorder)


def _fired(home: Path, recorder: Recorder) -> list[Fired]:
    """Evaluate the shipped rules over what was scraped."""
    (home / "rules.yml").write_text(RULES.read_text(encoding="utf-8"), encoding="utf-8")
    person = 'ALERTS{alertstate="firing",severity!="info"}'
    # No alert is shorter than ten minutes, so every sixth finds each; more samples than these promtool does not load for one query.
    firsts = f"min by (alertname, run) (min_over_time((timestamp({person}))[25h:6m]))"
    begun = f"(ALERTS_FOR_STATE and ignoring (alertstate) {person})"
    episodes = f"sum by (alertname, run) (1 + changes({begun}[25h:6m]))"
    end = f"{DAY}m"
    test = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{SCRAPE}s",
        "tests": [
            {
                "interval": f"{SCRAPE}s",
                "input_series": recorder.input_series(),
                "promql_expr_test": [
                    {"expr": expr, "eval_time": end, "exp_samples": []} for expr in (firsts, episodes)
                ],
            }
        ],
    }
    (home / "test.yml").write_text(yaml.dump(test, Dumper=yaml.CSafeDumper, width=10**9), encoding="utf-8")
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"], cwd=home, capture_output=True, text=True, timeout=600
    )
    output = done.stdout + done.stderr
    assert "err:" not in output, output[:2000]
    found: list[dict[tuple[str, str], float]] = []
    for answer in output.split("expr: ")[1:]:  # promtool says what it got where nothing was expected
        samples = re.findall(r"\{([^}]*)\} ([0-9.E+]+)", answer.partition("got:")[2].replace("\\", ""))
        named = [(dict(re.findall(r'(\w+)="([^"]*)"', labels)), float(value)) for labels, value in samples]
        found.append({(labels["alertname"], labels.get("run", "")): value for labels, value in named})
    assert len(found) in (0, 2), output[:2000]
    if not found:
        assert "SUCCESS" in output, output[:2000]
        return []
    starts, counts = found
    return [Fired(*key, int(first) // MINUTE, int(counts[key])) for key, first in sorted(starts.items())]
