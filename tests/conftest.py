"""Rules for every test: an environment of its own, and no thread or process left running."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.forked import SERVERS
from support.waiting import eventually

# A busy machine is slow; benchmarks measure how long an example takes.
settings.register_profile("lrwatch", deadline=None)
settings.load_profile("lrwatch")

_numbers = itertools.count()

# A thread or process that is ending needs a moment.
_GRACE_SECONDS = 5.0


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Send the tests that share a fixture of their module to one worker: two would each set it up."""
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        shares = any(definitions[-1].scope == "module" for definitions in fixtures)
        if shares and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(str(item.path)))
    items.sort(key=lambda item: item.get_closest_marker("long") is None)  # or one worker would end them alone


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse versions of pytest and pytest-xdist that do not fit: xdist names the group in the test's ID, or keeps none together."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError(
            f"pytest {pytest.__version__} and the installed pytest-xdist keep no groups of tests together, so fixtures of modules are "
            "set up once a worker; install the versions that pyproject.toml names"
        )
    gc.collect()
    gc.freeze()  # thousands of tests and their modules, which each full collection would walk through


@pytest.fixture(scope="session", autouse=True)
def _homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the folder of all homes; meanwhile no setting of the person who runs the tests reaches them."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("LRWATCH_")]:
            patch.delenv(name)
        homes = tmp_path_factory.mktemp("homes")
        patch.setenv("HOME", str(homes))  # for what is started by fixtures of a whole module
        patch.setenv("XDG_STATE_HOME", str(homes / "state"))
        yield homes


@pytest.fixture(autouse=True)
def _own_environment(_homes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a home of its own, which is made when it is used."""
    home = _homes / f"{next(_numbers)}"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process."""
    threads, children = set(threading.enumerate()), _children()
    yield
    eventually(
        lambda: not [thread for thread in threading.enumerate() if thread not in threads],
        timeout=_GRACE_SECONDS,
        what="all threads of this test end",
    )
    eventually(lambda: not _children() - children, timeout=_GRACE_SECONDS, what="all processes of this test end")


def _children(of: int | str = "self") -> set[int]:
    """Return the running children of this process, and of the servers that fork for it."""
    pids: set[int] = set()
    for listed in Path(f"/proc/{of}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended since it was listed
            pids.update(map(int, listed.read_text(encoding="ascii").split()))
    forked = [_children(server) for server in pids & SERVERS]
    return {pid for pid in pids - SERVERS if _runs(pid)}.union(*forked)


def _runs(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
