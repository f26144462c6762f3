"""`lrwatch status`, `journal` and `explain`: the state of the runs, their history, and one decision with its reasons."""

from __future__ import annotations

import re
import shlex
import sys
import time
from collections import deque
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lrwatch.cli.completion import run_argument
from lrwatch.cli.output import (
    clock,
    decided_by,
    event_line,
    format_option,
    number,
    print_json,
    print_table,
    safe,
    sentence,
)
from lrwatch.cli.settings import config_option, load_config, open_store, require_run, state_option

if TYPE_CHECKING:
    from lrwatch.store import Entry, Store

# Runs of unknown length that `status` names.
_NAMED = 3

# Seconds between two looks of `journal --follow`.
_FOLLOW_SECONDS = 0.5

# Seconds in a unit of `journal --since`.
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}


@click.command()
@run_argument(required=False)
@click.option("--watch", "-w", is_flag=True, help="A table at a glance that goes on, until Ctrl-C.")
@config_option
@state_option
@format_option
def status(run: str | None, watch: bool, config_file: Path | None, state: str | None, form: str) -> int:
    """Show the state of each run."""
    from lrwatch.cli.live import watch_states
    from lrwatch.core.life import OVER
    from lrwatch.core.run_length import UNKNOWN
    from lrwatch.store import daemon_is_running

    config = load_config(config_file, daemon__state=state)
    store = open_store(config, run)
    try:
        if run is not None:
            require_run(store, run)
        if watch:
            watch_states(store, run, form, lambda: daemon_is_running(store.path.parent))
        statuses = {name: s for name, s in store.statuses().items() if run in (None, name)}
        damaged, missing = store.damaged, store.missing() if not statuses else ""
    finally:
        store.close()
    if missing:
        click.echo(safe(f"lrwatch: {missing}"), err=True)
    for what in damaged:
        click.echo(safe(f"lrwatch: {what} is damaged and left out; a running daemon writes it again"), err=True)
    if form == "json":
        for one in statuses.values():
            print_json(one)
        return 0
    rows: list[list[Any]] = []
    said: list[str] = []
    for name, one in statuses.items():
        watched = sorted((m for m in one["metrics"] if m["watched"]), key=lambda m: m["name"] != one["metric"])
        decides = watched[0] if watched and watched[0]["name"] == one["metric"] else None
        over = one.get("life") if one.get("life") in OVER else None
        if not over:
            said += [f"{name}: {m['name']}: {m['words']}" for m in watched]
        effect = _effect(one["effect"])
        said += [f"{name}: last effect: {effect}"] if effect else []
        state_now = _state(decides) if decides else "no metric decides" if one["up"] else "not readable"
        rows.append([
            name, _progress(one), one["metric"], decides["value"] if decides else None, over or state_now,
            f"{one['scale']:g}" + (f" -> {one['wanted']:g}" if one["wanted"] is not None else ""),
            effect.partition(" (")[0], one["mode"], one["strategy"], _age(one["last_sample_time"]), _waits(name, one),
            one["life_note"] if over else one["why"],
        ])  # fmt: skip
        rows += [
            ["", "", m["name"], m["value"], "" if over else _state(m), *[""] * 7] for m in watched if m is not decides
        ]
    print_table(
        ["run", "step", "metric", "value", "state", "scale", "last effect", "mode", "strategy", "last sample", "waits for you", "note"],
        rows, right=[1, 3],
    )  # fmt: skip
    for line in said:
        click.echo(safe(line))
    if not daemon_is_running(store.path.parent):
        click.echo("no daemon is running on this state; this is how the runs were when it ended", err=True)
    for name, one in statuses.items():
        others = [m["name"] for m in one["metrics"] if m["watched"] and m["name"] != one["metric"]]
        if one["metric"] and others:
            click.echo(safe(f"{name}: {one['metric']} decides, {decided_by(one['metric_source'])}"), err=True)
    if unknown := [name for name, one in statuses.items() if one["step"] is not None and not one["total_steps"]]:
        names = ", ".join(unknown[:_NAMED]) + (f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else "")
        click.echo(safe(f"{names}: {UNKNOWN}"), err=True)
    return 0


def _state(metric: dict[str, Any]) -> str:
    """Return where a metric stands in a word or two; its sentence stands below the table."""
    return str(metric["state"]).replace("_", " ")


def _progress(one: dict[str, Any]) -> str:
    """Return the step, with the length of the run and who says so."""
    step = number(one["step"])
    return f"{step} of {one['total_steps']} ({one['length_source']})" if step and one["total_steps"] else step


def _waits(name: str, one: dict[str, Any]) -> str:
    """Return what a person can do: approve a proposal, resume a run that is held, end one of two daemons."""
    parts = [f"held: lrwatch resume {shlex.quote(name)}"] if one["held"] else []  # before anything can be approved
    parts += [
        f"scale {p['scale']:g} ({p['cause']}): {p['approve']}, before step {p['expires_at']:,}"
        for p in one["proposals"]
    ]
    if one["fenced"]:
        parts.append("another daemon commands this run: end one of the two")
    return "; ".join(parts)


def _effect(effect: dict[str, Any] | None) -> str:
    from lrwatch.core.events import effect_in_words

    if effect is None:
        return ""
    return "; ".join([effect_in_words(effect["gain"], effect["lower"], effect["upper"]), *effect["others"]])


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    age = max(0, int(time.time() - seconds))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if age >= length:
            return f"{age // length} {unit} ago"
    return f"{age} s ago"


@click.command()
@run_argument(required=False)
@click.option(
    "--since",
    metavar="WHEN",
    help="Only what came after: a time ago (10m, 2h, 3d), a date (2026-01-31, 2026-01-31T12:00), or the ID of an entry.",
)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N of those that are there.")
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option(
    "--anchor",
    metavar="ID:HASH",
    help="End with an error unless entry ID is there with this hash: for one that was noted out of reach of who may write the state.",
)
@config_option
@state_option
@format_option
def journal(
    run: str | None, since: str | None, limit: int | None, follow: bool, anchor: str | None, config_file: Path | None, state: str | None,
    form: str,
) -> int:  # fmt: skip
    """Show the events in order: findings, commands, acknowledgements, effects, operators.

    The whole chain of hashes is checked first. It ends with exit code 4 where an entry was changed, or is missing.
    """
    anchors = {} if anchor is None else parse_anchor(anchor)
    after, not_before = (0, 0.0) if since is None else parse_since(since, time.time())
    store = open_store(load_config(config_file, daemon__state=state), run)
    try:
        if run is not None:
            require_run(store, run)
        fault = store.journal_fault(anchors)
        if dropped := store.journal_dropped:
            click.echo(f"entries 1 to {dropped} are no longer kept: see [journal] files", err=True)
        last = after
        while True:
            found = (entry for entry in store.journal(run, after=last) if entry.time >= not_before)
            for entry in found if limit is None else deque(found, limit):
                last = entry.id
                _print_entry(entry, form)
            limit = None  # what comes from now on is new
            if not follow or fault is not None:
                break
            sys.stdout.flush()
            time.sleep(_FOLLOW_SECONDS)
    finally:
        store.close()
    if fault is not None:
        from lrwatch.errors import InputError

        raise InputError(
            expected="a journal whose hashes form a chain", found=fault.found, where=str(store.path),
            hint="The journal was changed after it was written; entries from there on prove nothing.",
        )  # fmt: skip
    return 0


def parse_anchor(text: str) -> dict[int, str]:
    """Return the hash that `--anchor` gives, by the number of its entry.

    Raises:
        UsageError: It gives none.

    >>> parse_anchor("17:" + "0f" * 32) == {17: "0f" * 32}
    True
    """
    from lrwatch.errors import UsageError

    if found := re.fullmatch(r"([1-9]\d*):([0-9a-f]{64})", text):
        return {int(found[1]): found[2]}
    raise UsageError(
        expected="ID:HASH as a line of `lrwatch journal --format json` has them", found=repr(text), where="--anchor",
        hint="The hash has 64 hexadecimal digits.",
    )  # fmt: skip


def _print_entry(entry: Entry, form: str) -> None:
    event = entry.as_json()
    if form == "json":
        print_json(event)
    else:
        click.echo(f"{entry.id:>5}  {event_line(event)}")


def parse_since(text: str, now: float) -> tuple[int, float]:
    """Return the entry after which, and the time from which on, `--since` shows the journal.

    Args:
        text: A time ago, a date, or the number of an entry.
        now: Seconds since the epoch.

    Raises:
        UsageError: It is none of these.

    >>> parse_since("90m", 10_000.0), parse_since("17", 10_000.0)
    ((0, 4600.0), (17, 0.0))
    """
    from lrwatch.errors import UsageError

    if text.isdecimal():
        return int(text), 0.0
    if ago := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w)", text):
        return 0, now - float(ago[1]) * _SECONDS[ago[2]]
    try:
        return 0, datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(
            expected="a time ago (10m, 2h, 3d), a date (2026-01-31, 2026-01-31T12:00) or the ID of an entry", found=repr(text),
            where="--since", hint="Try `lrwatch journal --since 1h`.",
        ) from None  # fmt: skip


@click.command()
@run_argument()
@click.argument("entry_id", metavar="[ID]", type=int, required=False)
@config_option
@state_option
@format_option
def explain(run: str, entry_id: int | None, config_file: Path | None, state: str | None, form: str) -> int:
    """Show one decision with its numbers, and compute them again from the logs; without ID the newest one."""
    from lrwatch.offline.recompute import explain as compute

    config = load_config(config_file, daemon__state=state)
    store = open_store(config, run)
    try:
        require_run(store, run)
        entry = _entry_to_explain(store, run, entry_id)
        again, verdict = compute(store, run, entry, config)
    finally:
        store.close()
    if form == "json":
        print_json({**entry.as_json(), "again": again, "verdict": verdict})
        return 0
    click.echo(safe(f"{clock(entry.time)}{run} step {entry.event.get('step')} (entry {entry.id})"))
    click.echo(safe(sentence(entry.event)))
    evidence: dict[str, Any] = entry.event.get("evidence", {})
    if evidence:
        second = (again or {}).get("evidence", {})
        print_table(
            ["number", "journalled", "computed again"],
            [[k, v, number(second.get(k))] for k, v in evidence.items()],
            right=[1, 2],
        )
    click.echo(safe(verdict))
    return 0


def _entry_to_explain(store: Store, run: str, entry_id: int | None) -> Entry:
    """Return the entry with this number, or the newest decision: a command, or else a finding that the logs lead to.

    Raises:
        InputError: There is none.
    """
    from lrwatch.errors import InputError

    entries = list(store.journal(run))
    if entry_id is not None:
        entry = next((one for one in entries if one.id == entry_id), None)
        if entry is None:
            raise InputError(
                expected="the number of a journal entry of this run", found=str(entry_id), where=f"run {run}",
                hint=f"`lrwatch journal {shlex.quote(run)}` lists them.",
            )  # fmt: skip
        return entry
    commands = [one for one in entries if one.event["event"] == "command"]
    findings = [one for one in entries if one.event["event"] == "finding" and one.event["kind"] != "stalled"]
    if not (commands or findings):
        raise InputError(
            expected="a decision to explain", found="none in the journal so far", where=f"run {run}",
            hint=f"`lrwatch doctor {shlex.quote(run)}` tells why nothing happens.",
        )  # fmt: skip
    return (commands or findings)[-1]
