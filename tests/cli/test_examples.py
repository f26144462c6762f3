"""`--help` of each verb shows commands to copy, and each of them is one that the verb takes."""

from __future__ import annotations

import shlex

import click
import pytest
from click.testing import CliRunner

from lrwatch.cli.examples import HELP, verbs
from lrwatch.cli.program import cli

VERBS = dict(verbs(cli))


def test_every_verb_has_its_help_and_none_is_left_over() -> None:
    assert set(HELP) == set(VERBS)


@pytest.mark.parametrize("words", sorted(HELP))
def test_an_example_is_shown_and_is_understood_by_its_verb(words: str) -> None:
    shown = CliRunner().invoke(cli, [*words.split(), "--help"]).output
    for line, what in HELP[words].examples:
        assert f"  {line}" in shown
        assert what in shown
        _, *rest = shlex.split(line)
        called = " ".join(rest[:2]) if " ".join(rest[:2]) in VERBS else rest[0]
        assert called.startswith(words)
        # As below `lrwatch`: click remembers the names of the first help option that it makes.
        above = click.Context(cli, **cli.context_settings)
        VERBS[called].make_context(called, rest[len(called.split()) :], parent=above).close()


def test_the_list_of_commands_has_whole_sentences() -> None:
    listed = CliRunner().invoke(cli, ["--help"], terminal_width=100).output
    assert "..." not in listed.partition("Commands:")[2]
