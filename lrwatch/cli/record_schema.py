"""The JSON Schemas of the records that `--format json` prints, made from the records themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from typing import Any, get_type_hints

import msgspec

from lrwatch.cli.records import RECORDS

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

# What a number is where JSON has none: see `lrwatch.cli.output.json_text`.
_NUMBER: Json = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}

# Fields that all records of a verb have, though they are left out elsewhere.
_OF_A_JOURNAL = {"journal": ["time", "id", "hash"], "run": ["time", "id", "hash"], "read": ["step"]}


def schema(verb: str) -> Json:
    """Return the JSON Schema of a line that a verb prints.

    Args:
        verb: A key of `RECORDS`.
    """
    kinds = RECORDS[verb]
    (*refs,), definitions = msgspec.json.schema_components(kinds)
    texts = {kind.__name__: attribute_texts(kind) for kind in _described(kinds)}
    for name, definition in definitions.items():
        properties = definition.get("properties", {})
        # A field with a default is printed all the same; one that may be left out has none here.
        named = [key for key, value in properties.items() if key in definition["required"] or "default" in value]
        definition["required"] = named
        definition["description"] = definition["description"].partition("\n")[0]
        for key, value in properties.items():
            value.pop("default", None)
            if text := texts.get(name, {}).get(key):
                value["description"] = text
    body = refs[0] if len(refs) == 1 else {"anyOf": refs}
    required = {"required": _OF_A_JOURNAL[verb]} if verb in _OF_A_JOURNAL else {}
    made = {
        "$schema": DIALECT, "title": f"A line of `lrwatch {verb} --format json`", "type": "object", **required, **body,
        **({"$defs": definitions} if definitions else {}),
    }  # fmt: skip
    whole: Json = _with_all_numbers(made)
    return whole


def _described(kinds: tuple[Any, ...]) -> list[type]:
    """Return the types whose docstrings describe fields: those of the records, and what is in them."""
    found: list[type] = []
    for kind in kinds:
        if not isinstance(kind, type) or kind in found or not (issubclass(kind, msgspec.Struct) or is_dataclass(kind)):
            continue
        found.append(kind)
        for hint in get_type_hints(kind).values():
            found += [one for one in _described(_inside(hint)) if one not in found]
    return found


def _inside(hint: Any) -> tuple[Any, ...]:
    arguments = getattr(hint, "__args__", ())
    return (hint, *(one for argument in arguments for one in _inside(argument)))


def attribute_texts(documented: type) -> dict[str, str]:
    """Return what the docstrings of a class and its bases say of each attribute.

    Args:
        documented: The class, with `name: text`, `name, name: text` or `name: text. name: text` below `Attributes:`.
    """
    texts: dict[str, str] = {}
    for kind in reversed(documented.__mro__):
        lines = re.findall(
            r"^    (\w[\w, ]*: .*(?:\n {8}.*)*)", inspect.cleandoc(kind.__dict__.get("__doc__") or ""), re.MULTILINE
        )
        for line in lines:
            for names, text in _sentences(" ".join(line.split()), inspect.get_annotations(kind)):
                texts.update(dict.fromkeys(names, text))
    return texts


def _sentences(line: str, known: Iterable[str]) -> Iterator[tuple[list[str], str]]:
    """Yield the names and the text of each part of a line such as `step: Its step. value: Its value.`."""
    starts = [0] + [found.start(1) for found in re.finditer(r"\. ((\w+)(?:, \w+)*: )", line) if found[2] in known]
    for start, end in zip(starts, [*starts[1:], len(line)], strict=True):
        names, _, text = line[start:end].partition(": ")
        yield [name.strip() for name in names.split(",")], text.strip()


def _with_all_numbers(value: Any) -> Any:
    """Say everywhere that a number may be one that JSON does not have."""
    if isinstance(value, dict):
        inner = {key: _with_all_numbers(one) for key, one in value.items()}
        if inner.get("type") == "number":
            del inner["type"]
            return {**inner, **_NUMBER}
        return inner
    if isinstance(value, list):
        return [_with_all_numbers(one) for one in value]
    return value
