"""All settings, in one place: flags over environment (`LRWATCH_SECTION_KEY`) over the TOML file over defaults.

A key that is unknown, of the wrong kind or out of range is an error that names the file (or the variable, or the flag),
the key and the nearest valid key.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec

from lrwatch import toml
from lrwatch.core.options import DetectOptions, PolicyOptions, RunOptions
from lrwatch.errors import ConfigError, SettingError, short
from lrwatch.journal import JournalOptions
from lrwatch.notify.options import NotifyOptions, redacted

ENV_PREFIX = "LRWATCH_"

# Kubernetes puts the address of every Service into the environment of every container of its namespace, in the form of
# the old container links. A Service called lrwatch gives exactly these; they are no settings.
_SERVICE_LINK = re.compile(
    r"LRWATCH_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """`[watch]`: the logs.

    Attributes:
        paths: Files, directories or globs. A relative path in a file starts from that file's directory, here and in
            every other key that names a path.
        metric: As [run] metric, which comes before it; configurations may have it here.
        control: Control directory; "" means `lrwatch` beside the logs of each run.
        format: The logs' format; "auto" looks at the content.
        pattern: Regular expressions with named groups, searched in each line instead of a format; the groups are the
            metrics. In the environment a JSON list, or one expression as it is.
    """

    paths: tuple[str, ...] = ()
    metric: str = ""
    control: str = ""
    format: str = "auto"
    pattern: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.pattern and self.format != "auto":
            raise ValueError(f"format must be auto where there is a pattern, got {self.format!r}")

    @property
    def reading(self) -> str:
        """The name of the format for `lrwatch.formats.by_name`, or "auto"."""
        return "pattern:" + "\n".join(self.pattern) if self.pattern else self.format


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """`[daemon]`: the process.

    Attributes:
        listen: HOST:PORT of /metrics; port 0 takes a free one.
        poll_seconds: Longest time between two looks at the logs. With a thousand runs it may be a third more.
        state: State directory; "" means the XDG one.
        key_file: File with the key that signs commands; "" signs nothing.
    """

    listen: str = "127.0.0.1:9767"
    poll_seconds: float = 1.0
    state: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.poll_seconds <= 3600:
            raise ValueError(f"poll_seconds must be above 0 and at most 3600, got {self.poll_seconds!r}")


Names = tuple[str, ...]
"""Users by name or uid, groups by `@name` or `@gid`, or "*" for everybody."""


@dataclass(frozen=True, slots=True)
class OperatorOptions:
    """`[operators]`: who may ask the daemon for what, beside its own user and root, who always may.

    Names are users or uids, groups or gids behind an `@`, or "*" for everybody. Behind `mcp:` they stand for what such a user asks
    through an MCP server (`lrwatch mcp`), which has no other rights, under any user. In the environment they are separated by commas.

    Attributes:
        allow: Who may use each verb that has no list of its own.
        set, undo, strategy, decay, hold, resume, extend, approve, deny: Who may use this verb; an empty list is nobody. Without it, `allow` counts.
    """

    allow: Names = ()
    set: Names | None = None
    undo: Names | None = None
    strategy: Names | None = None
    decay: Names | None = None
    hold: Names | None = None
    resume: Names | None = None
    extend: Names | None = None
    approve: Names | None = None
    deny: Names | None = None

    def __post_init__(self) -> None:
        for one in fields(self):
            for name in getattr(self, one.name) or ():
                plain = name.removeprefix("mcp:").removeprefix("@")
                if not plain or name != name.strip() or plain != plain.strip():
                    raise ValueError(f"{one.name} must be names of users, or of groups behind an @, got {name!r}")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """`[export]`: what is served.

    Attributes:
        keep_ended: Seconds for which the series of a run are served after it has ended, and those of a lost one 24 times as long, so
            that somebody sees it. 0 serves none of them; `lrwatch status` shows all of them.
        max_series: Series of runs in one scrape at the most. Those that alerts need come first, of every run; what does not fit is
            counted. A run has about 60 of them, and a scrape of 10,000 series takes some 100 ms and 60 kB.
        textfile: File that ends in `.prom`, or directory for `lrwatch.prom`, that the series of the runs are written to as well, for the
            textfile collector of node_exporter; "" writes none.
        web_config: File with TLS and passwords of the listener, in the form of exporter-toolkit; "" is plain HTTP.
        insecure_listen: Whether other machines may read without TLS and authentication, as where a proxy or a network policy protects it.
        hosts: Names by which clients may ask for the listener, beside localhost, IP addresses, the name of the machine and that of
            `listen`; one with a dot before it stands for all names below, "*" for any.
    """

    keep_ended: float = 3600.0
    max_series: int = 100_000
    textfile: str = ""
    web_config: str = ""
    insecure_listen: bool = False
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.max_series < 1000:
            raise ValueError(f"max_series must be 1000 or more, got {self.max_series!r}")
        if not 0 <= self.keep_ended < float("inf"):
            raise ValueError(f"keep_ended must be a finite number of seconds from 0, got {self.keep_ended!r}")


@dataclass(frozen=True, slots=True)
class Config:
    """The effective settings.

    Attributes:
        run, watch, detect, policy, daemon, operators, export, notify, journal: The sections.
        origins: Origin of each value that is no default, by "section.key".
    """

    run: RunOptions = field(default_factory=RunOptions)
    watch: WatchOptions = field(default_factory=WatchOptions)
    detect: DetectOptions = field(default_factory=DetectOptions)
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    daemon: DaemonOptions = field(default_factory=DaemonOptions)
    operators: OperatorOptions = field(default_factory=OperatorOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    notify: NotifyOptions = field(default_factory=NotifyOptions)
    journal: JournalOptions = field(default_factory=JournalOptions)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The metric that decides, or "" where the names do."""
        return self.run.metric or self.watch.metric


SECTIONS: dict[str, type] = {
    "run": RunOptions, "watch": WatchOptions, "detect": DetectOptions, "policy": PolicyOptions, "daemon": DaemonOptions,
    "operators": OperatorOptions, "export": ExportOptions, "notify": NotifyOptions,
    "journal": JournalOptions,
}  # fmt: skip


# The messages of msgspec for a value of the wrong kind, and for one that is not among the choices of its key.
_KEY = re.compile(r"(Expected `(?P<kinds>[^`]+)`, got .*|Invalid enum value .*) - at `\$\.(?P<key>\w+)(?P<item>\[)?")
# The kinds of values, as msgspec calls them and as people do.
_KINDS = {
    "float": "a number", "int": "a whole number", "bool": "true or false", "str": "text", "array": "a list of texts",
    "object": "a table of texts",
}  # fmt: skip

_GivenSetting = tuple[str, str, Any, str]
"""Section, key, value, and its origin."""

_COMMAS = (("export", "hosts"), ("notify", "kinds"))

_PATHS = (
    ("run", "labels_file"), ("watch", "paths"), ("watch", "control"), ("daemon", "state"), ("daemon", "key_file"),
    ("export", "textfile"), ("export", "web_config"), ("notify", "urls_file"),
)  # fmt: skip


def keys() -> list[str]:
    """Return every "section.key"."""
    return [f"{section}.{f.name}" for section, options in SECTIONS.items() for f in fields(options)]


def shown(name: str, value: Any) -> Any:
    """Return what may be shown of the value of "section.key": the URLs of channels hold secrets."""
    return tuple(redacted(url) for url in value) if name == "notify.urls" else value


def load(
    file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> Config:
    """Merge the settings of all origins.

    Args:
        file: The TOML file, or None.
        environ: The environment; names that begin with LRWATCH_ are settings.
        flags: Values of the command line by "section.key"; None where the flag was not given.

    Returns:
        The effective settings.

    Raises:
        ConfigError: A setting is unknown, of the wrong kind or out of range, or the file cannot be read.
    """
    config = Config()
    if file is not None:
        config = _merge(config, _from_file(file), str(file))
    given: list[_GivenSetting] = []
    for name, text in sorted((environ or {}).items()):
        if name.startswith(ENV_PREFIX) and not _SERVICE_LINK.fullmatch(name):
            section, _, key = name[len(ENV_PREFIX) :].lower().partition("_")
            given.append((section, key, _parse(section, key, text), f"environment variable {name}"))
    config = _merge_each(config, given)
    given = []
    for name, value in (flags or {}).items():
        if value is not None and value != ():
            section, _, key = name.partition(".")
            given.append((section, key, value, f"option --{key.replace('_', '-')}"))
    config = _merge_each(config, given)
    if config.watch.reading != "auto":
        _check_reading(
            config.watch.reading, config.origins["watch.pattern" if config.watch.pattern else "watch.format"]
        )
    return config


def _check_reading(reading: str, where: str) -> None:
    """Check the format, or the patterns.

    Raises:
        ConfigError: There is no such format, or a pattern cannot be used.
    """
    from lrwatch import formats

    try:
        formats.by_name(reading)
    except ConfigError as error:
        raise ConfigError(
            expected=error.expected, found=error.found, where=f"{where}, [watch] {error.where}", hint=error.hint
        ) from error


def _from_file(file: Path) -> dict[str, Any]:
    try:
        text = toml.read(file)
    except OSError as error:
        raise ConfigError(
            expected="a TOML file that can be read",
            found=error.strerror or str(error),
            where=str(file),
            hint="Check the path given with --config.",
        ) from error
    settings = toml.decode(text, str(file))
    for section, key in _PATHS:
        values = settings.get(section)
        if isinstance(values, dict) and key in values:
            values[key] = _beside(file, values[key])
    return settings


def _beside(file: Path, value: Any) -> Any:
    """Return a path of the file, or several: relative ones start from the file's directory."""
    if isinstance(value, list):
        return [_beside(file, one) for one in value]
    return str(file.parent / Path(value).expanduser()) if isinstance(value, str) and value else value


def _parse(section: str, key: str, text: str) -> Any:
    """Return the value of an environment variable: JSON where the key wants more than a string."""
    options = SECTIONS.get(section)
    kind = get_type_hints(options).get(key) if options is not None else None
    if (section, key) == ("notify", "urls") and not _is_list(text):
        return text.split()
    if (section == "operators" or (section, key) in _COMMAS) and text != "null" and not _is_list(text):
        return [name.strip() for name in text.split(",") if name.strip()]
    if key == "labels" and "=" in text and not text.lstrip().startswith("{"):
        return {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in text.split(","))}
    if key == "paths":
        return [path for path in text.split(":") if path]
    if kind in (str, str | float):
        return text
    if key == "pattern" and not _is_list(text):
        return [text]
    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text


def _is_list(text: str) -> bool:
    """Whether this is a JSON list of strings; a regular expression may begin with a bracket too."""
    try:
        msgspec.json.decode(text.encode(), type=list[str])
    except msgspec.DecodeError:
        return False
    return True


def _merge_each(config: Config, given: Iterable[_GivenSetting]) -> Config:
    """Merge single settings, those of one section together, because some are only valid in combination.

    Raises:
        ConfigError: A key is unknown, or a value is not one of its kind.
    """  # noqa: DOC501  # `_unknown_key` makes it
    sections: dict[str, dict[str, Any]] = {}
    origins: dict[str, dict[str, str]] = {}
    for section, key, value, where in given:
        if section in SECTIONS and key not in {f.name for f in fields(SECTIONS[section])}:
            raise _unknown_key(section, key, where)
        sections.setdefault(section, {})[key] = value
        origins.setdefault(section, {})[f"{section}.{key}"] = where
    for section, values in sections.items():
        config = _merge(config, {section: values}, ", ".join(origins[section].values()))
        config = replace(config, origins={**config.origins, **origins[section]})
    return config


def _merge(config: Config, settings: Mapping[str, Any], where: str) -> Config:
    for section, values in settings.items():
        if section not in SECTIONS:
            raise _unknown(section, list(SECTIONS), where, "section")
        if not isinstance(values, Mapping):
            raise ConfigError(
                expected=f"a table [{section}]",
                found=short(repr(values)),
                where=where,
                hint=f"Write [{section}] and its keys below it.",
            )
        names = [f.name for f in fields(SECTIONS[section])]
        if unknown := next((key for key in values if key not in names), None):
            raise _unknown_key(section, unknown, where)
        options = getattr(config, section)
        merged = {name: values.get(name, getattr(options, name)) for name in names}
        origins = {**config.origins, **{f"{section}.{key}": where for key in values}}
        try:
            made: Any = msgspec.convert(merged, SECTIONS[section], strict=True)
        except (msgspec.ValidationError, ValueError) as error:
            raise _invalid(section, values, error, where) from error
        config = replace(config, **{section: made, "origins": origins})
    return config


def _invalid(section: str, values: Mapping[str, Any], problem: Exception, where: str) -> SettingError:
    """Return the error for a value that its key cannot have; msgspec names the key, and neither the value nor its choices."""
    hint = "`lrwatch config show` prints every key with its value."
    found = _KEY.search(str(problem))
    if found is None:  # of the options themselves, in words
        return SettingError(reason=f"[{section}] {problem}", where=where, hint=hint)
    key = found["key"]
    value = (
        "something else, which is not shown" if (section, key) == ("notify", "urls") else short(repr(values.get(key)))
    )
    if found["kinds"] is not None:
        kinds = ("object" if key == "labels" else "array") if found["item"] else found["kinds"]
        words = " or ".join(_KINDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
        return SettingError(reason=f"[{section}] {key} must be {words}, got {value}", where=where, hint=hint)
    choices = [str(choice) for choice in get_args(get_type_hints(SECTIONS[section])[key])]
    near = difflib.get_close_matches(short(str(values.get(key))), choices, n=1, cutoff=0.5)
    meant = f"Did you mean {near[0]!r}? " if near else ""
    return SettingError(
        reason=f"[{section}] {key} must be one of its choices, got {value}",
        where=where,
        hint=f"{meant}Known are {', '.join(choices)}.",
    )


def _unknown_key(section: str, key: str, where: str) -> ConfigError:
    return _unknown(key, [f.name for f in fields(SECTIONS[section])], f"{where}, [{section}]", "key")


def _unknown(found: str, valid: list[str], where: str, what: str) -> ConfigError:
    near = difflib.get_close_matches(short(found), valid, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(valid)}."
    return ConfigError(expected=f"a known {what}", found=short(repr(found)), where=where, hint=hint)
