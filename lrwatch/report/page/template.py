"""Jinja2 environment of the page: autoescape, strict names, and text from outside made harmless in every place.

Templates escape whatever they print, and `clean` goes over it first. Only the report's own markup (charts, style sheet,
script) is exempt, by `own_markup`, the one place that makes markup of a string.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from lrwatch.report.text import DASH, clean, short, whole

if TYPE_CHECKING:
    from jinja2 import Environment, Template
    from markupsafe import Markup


def template(name: str) -> Template:
    """Load a template of this folder; each is compiled once a process."""
    return _environment().get_template(name)


def asset(name: str) -> str:
    """Read a file of this folder."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def own_markup(markup: str) -> Markup:
    """Exempt markup that the report itself made from escaping. Text from outside must be escaped in it already."""
    from markupsafe import Markup

    return Markup(markup)  # noqa: S704  (the report's own charts, style sheet and script)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean_unless_markup,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {"whole": whole, "step": _step, "number": _number, "up_to": _up_to}
    environment.globals["DASH"] = DASH
    return environment


def _clean_unless_markup(value: object) -> object:
    return value if hasattr(value, "__html__") else clean(value)


def _up_to(text: str, most: int) -> Markup:
    """Print more of a text than other places do."""
    from markupsafe import escape

    return escape(clean(text, most))


def _step(step: int | None) -> str:
    return DASH if step is None else whole(step)


def _number(value: float | None) -> str:
    return DASH if value is None else short(value)
