"""`lrwatch schema`: what it prints is valid, complete, and keeps what was promised. Real output: tests/e2e/test_records.py."""

from __future__ import annotations

import json

import jsonschema
import pytest
from click.testing import CliRunner
from support.golden import promised_fields, record_fields

from lrwatch.cli import cli
from lrwatch.cli.output import json_text
from lrwatch.cli.record_schema import schema
from lrwatch.cli.records import RECORDS
from lrwatch.core.events import Command, Counterfactual, Effect, Event, Expired, LossChange, Phase, RangeTest, as_json

EVENTS: list[Event] = [
    Command(7, 0.5, "because", reload=True, ramp_steps=3, expires_at=9, scale_before=1.0),
    Expired(9, 0.5, 7, "nobody answered"),
    Phase(3, "level_shift", "worse at once"),
    Effect(9, 0.5, 0.1, 0.05, 0.15, "helped", Counterfactual(7, 1.0, 0.1, 0.9, 0.1, 0.8, 0.1), (LossChange("val", 1.0, 2.0, None, True),)),
    RangeTest(9, (0.5, 1.0), (2.0, 1.0), 0.5, None, None, "steepest at 0.5"),
]  # fmt: skip


def takes_format(verb: str) -> bool:
    command = cli
    for word in verb.partition(" --")[0].split():
        command = command.commands[word]  # type: ignore[assignment]
    return any("--format" in parameter.opts for parameter in command.params)


@pytest.mark.parametrize("verb", RECORDS)
def test_it_is_valid_and_every_field_is_described(verb: str) -> None:
    shown = CliRunner().invoke(cli, ["schema", "--", *verb.split()])
    made = json.loads(shown.output)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made == schema(verb)
    for kind, definition in made.get("$defs", {}).items():
        assert definition["description"]
        for name, field in definition["properties"].items():
            assert name == "event" or "$ref" in field or field.get("description"), f"{kind}.{name}"


def test_every_verb_that_prints_data_has_one() -> None:
    plain = {verb.partition(" --")[0] for verb in RECORDS}
    verbs = {*cli.commands, "config show"}
    printing = {verb for verb in verbs if verb != "config" and takes_format(verb)}
    assert printing == plain, "a verb that takes --format has its records in `lrwatch.cli.records`"


def test_without_a_verb_it_lists_them_and_another_one_is_refused() -> None:
    assert CliRunner().invoke(cli, ["schema"]).output.splitlines() == list(RECORDS)
    refused = CliRunner().invoke(cli, ["schema", "nonsense"])
    assert "expected a verb that prints data, found 'nonsense'" in str(refused.exception)


def test_what_was_promised_once_is_still_there() -> None:
    now = record_fields()
    for verb, kinds in promised_fields().items():
        for kind, fields in kinds.items():
            for field, how_often in fields.items():
                found = now.get(verb, {}).get(kind, {}).get(field)
                assert found in ("always", how_often), f"{verb}: {kind}.{field} was promised; see `lrwatch.cli.records`"


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_the_events_of_the_core_fit(event: Event) -> None:
    jsonschema.validate(json.loads(json_text({"v": 1, **as_json(event, "a")})), schema("replay"))


def test_numbers_that_json_does_not_have_are_allowed_and_other_strings_are_not() -> None:
    command = {"v": 1, **as_json(EVENTS[0], "a")}
    jsonschema.validate({**command, "scale_before": "NaN"}, schema("replay"))
    for wrong in ({"scale": "half"}, {"v": 2}, {"event": "unheard of"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**command, **wrong}, schema("replay"))
    jsonschema.validate({"step": 1, "loss": "Infinity", "v": 3.0}, schema("read"))
