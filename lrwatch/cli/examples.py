"""Help of each verb beyond its docstring: what it does in the list of commands, and commands to copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import click


class VerbHelp(NamedTuple):
    """Attributes: short: The verb in the list of commands. examples: Lines to type, each with what it does."""

    short: str
    examples: tuple[tuple[str, str], ...]


HELP: Mapping[str, VerbHelp] = {
    "run": VerbHelp("Watch logs, and propose or make changes of the learning rate.", (
        ("lrwatch run train.log", "watches one log; proposes, and changes nothing"),
        ("lrwatch run --mode auto runs/", "watches every run below runs/, and acts"),
        ("lrwatch run --once runs/a", "reads what is there, says it, and ends"),
    )),
    "live": VerbHelp("Show runs live in the terminal.", (("lrwatch live runs/", "the same as `lrwatch runs/`; changes nothing"),)),
    "demo": VerbHelp("Train a small network with and without lrwatch.", (("lrwatch demo --report demo.html", "leaves a page to look at"),)),
    "replay": VerbHelp("Show what lrwatch would have found and done on a finished log.", (
        ("lrwatch replay train.log", "findings and proposals, in order"),
        ("lrwatch replay train.log --metric val_loss --states", "judges another metric, and says where each stands"),
    )),
    "backtest": VerbHelp("Replay many finished logs, and compare settings.", (
        ("lrwatch backtest 'logs/*.log'", "one row for each log"),
        ("lrwatch backtest 'logs/*.log' --config a.toml --config b.toml", "two settings side by side"),
    )),
    "read": VerbHelp("Show what lrwatch understands of a log.", (
        ("lrwatch read train.log", "the table of steps and metrics"),
        ("lrwatch read train.log --explain", "why each kind of line gives values, or none"),
        ("lrwatch read train.log -o train.csv", "writes all rows"),
    )),
    "init": VerbHelp("Write a commented lrwatch.toml for a directory of runs.", (("lrwatch init runs/ --dry-run", "prints it only"),)),
    "report": VerbHelp("Write one HTML page about a run, or about several.", (
        ("lrwatch report my-run", "a run of the daemon, with its journal"),
        ("lrwatch report train.log -o train.html", "a log"),
        ("lrwatch report run-a run-b run-c -o compare.html", "several runs on one page"),
    )),
    "forecast": VerbHelp("Say where a run will end.", (("lrwatch forecast train.log --total 20000", "with 80 % intervals"),)),
    "config": VerbHelp("Check or show the settings.", (("lrwatch config show", "every setting, and where it comes from"),)),
    "config check": VerbHelp("Check the settings.", (("lrwatch config check lrwatch.toml", "says what is wrong, and where"),)),
    "config show": VerbHelp("Show each setting and its origin.", (("lrwatch config show lrwatch.toml", "with those of the environment"),)),
    "config schema": VerbHelp("Print the JSON Schema of the settings.", (("lrwatch config schema", "for an editor"),)),
    "schema": VerbHelp("Print the JSON Schema of a verb's output.", (("lrwatch schema status", "of a line of `status --format json`"),)),
    "status": VerbHelp("Show where each run stands.", (
        ("lrwatch status", "all runs"),
        ("lrwatch status my-run --watch", "one run, until Ctrl-C"),
    )),
    "journal": VerbHelp("Show what happened, in order.", (
        ("lrwatch journal my-run --since 1h", "the last hour"),
        ("lrwatch journal --follow", "all runs, until Ctrl-C"),
    )),
    "explain": VerbHelp("Show one decision, and compute its numbers again.", (("lrwatch explain my-run 12", "entry 12 of the journal"),)),
    "doctor": VerbHelp("Say why nothing happens, and what to do.", (
        ("lrwatch doctor my-run", "a run that a daemon watches"),
        ("lrwatch doctor train.log", "a log that nobody watches"),
    )),
    "set": VerbHelp("Set the scale of a run's learning rate.", (("lrwatch set my-run --scale 0.5", "half of what the schedule gives"),)),
    "undo": VerbHelp("Go back to the scale before the last change.", (("lrwatch undo my-run", "takes the last change back"),)),
    "strategy": VerbHelp("Change the strategy of a run.", (("lrwatch strategy my-run cosine --length 5000", "decays to zero in 5,000 steps"),)),
    "decay": VerbHelp("Begin the decay of strategy wsd now.", (("lrwatch decay my-run", "from the present step on"),)),
    "hold": VerbHelp("Send no more commands to a run.", (("lrwatch hold my-run", "until `lrwatch resume my-run`"),)),
    "resume": VerbHelp("Send commands to a run again.", (("lrwatch resume my-run", "ends a hold"),)),
    "extend": VerbHelp("Say how long a run is.", (("lrwatch extend my-run 20000", "20,000 steps in all"),)),
    "approve": VerbHelp("Send a proposed change.", (("lrwatch approve my-run 12", "12 is its entry in the journal; `status` shows it"),)),
    "deny": VerbHelp("Turn down a proposed change.", (("lrwatch deny my-run 12", "nothing is proposed again for one horizon"),)),
    "service": VerbHelp("Let systemd start lrwatch.", (("lrwatch service install --user runs/", "a service of your own, without root"),)),
    "service install": VerbHelp("Write a systemd unit.", (("lrwatch service install --user runs/", "a service of your own, without root"),)),
    "notify": VerbHelp("Test the channels that tell people.", (("lrwatch notify test", "one message through each"),)),
    "notify test": VerbHelp("Send a test message.", (("lrwatch notify test --config lrwatch.toml", "through each channel of [notify]"),)),
    "assets": VerbHelp("Write alert rules, dashboards and manifests.", (
        ("lrwatch assets", "what there is, and what each is for"),
        ("lrwatch assets monitoring", "all of it, into the directory monitoring"),
    )),
    "completion": VerbHelp("Complete commands and names of runs.", (
        ("lrwatch completion bash", "the script to load in ~/.bashrc"),
    )),
    "mcp": VerbHelp("Serve the verbs to an assistant.", (("lrwatch mcp runs/", "over standard input and output"),)),
}  # fmt: skip
"""By verb; a verb of a group has both words. A verb that is missing here has no example, and a test says so."""


def verbs(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Yield every command with the words that call it, the groups among them."""
    for name, command in group.commands.items():
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from verbs(command, f"{before}{name} ")


def add_examples(group: click.Group) -> None:
    """Give every command its line in the list, and its examples below its options."""
    for words, command in verbs(group):
        if (about := HELP.get(words)) is None:
            continue
        command.short_help = about.short
        width = max(len(line) for line, _ in about.examples)
        lines = (f"  {line.ljust(width)}  # {what}" for line, what in about.examples)
        command.epilog = "\b\nExamples:\n" + "\n".join(lines)
