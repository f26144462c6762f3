"""Disks that are full, read-only, locked, deleted or slow, limits, clocks: what users see of it, and that it heals. Table: docs/degradation.md."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.degraded import PATIENCE, RUN, World
from support.daemon_process import lrwatch
from support.quadratic import Training
from support.waiting import eventually

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "degradation.md"

pytestmark = pytest.mark.xdist_group("degradation")


def can_mount() -> bool:
    """Whether file systems can be mounted here."""
    tried = subprocess.run(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return tried.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="mounts file systems of its own, for which it needs root")
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="makes system calls slow with strace")

# What is said when it is over: of one run, and of the state of all.
HEALED = "can be commanded now"
ALL_HEALED = "state: it works again"


def rows() -> dict[str, list[str]]:
    """Return the cells of each row of the table, by the name of its test."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("|")][2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[-1].strip("`"): row for row in cells}


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> list[str]:
    """What the table says that people see in the case of this test."""
    return re.findall(r"`([^`]+)`", rows()[request.node.name][3])


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("world"))
    yield made
    made.end()


def test_the_table_has_a_row_for_each_test_and_a_test_for_each_row() -> None:
    here = set(re.findall(r"^def (test_(?:a|no)_\w+)", Path(__file__).read_text(), re.MULTILINE))
    everywhere = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert here <= rows().keys()
    assert rows().keys() <= everywhere


@pytest.mark.slow
@needs_mount
def test_a_full_disk_of_the_state(world: World, seen: list[str]) -> None:
    with world.said(*seen, healed=ALL_HEALED):
        with world.full(world.state):
            world.lasts()
        world.obeys()


@pytest.mark.slow
@needs_mount
def test_a_full_disk_of_the_control_directory(world: World, seen: list[str]) -> None:
    with world.said(*seen, healed=HEALED):
        with world.full(world.control):
            scale = world.ask()
            world.lasts()
            eventually(world.trainer_lines, PATIENCE, what="the training says that its disk has errors")
        world.uses(scale)
        world.obeys()


@pytest.mark.slow
@needs_mount
def test_a_read_only_control_directory(world: World, seen: list[str]) -> None:
    with world.said(*seen, healed=HEALED):
        with world.read_only(world.control):
            scale = world.ask()
            world.lasts()
        world.uses(scale)
        world.obeys()


@pytest.mark.slow
@needs_mount
def test_a_store_that_another_process_has_locked(world: World, seen: list[str]) -> None:
    with world.said(*seen, healed=ALL_HEALED):
        with world.locked():
            world.lasts()
            assert world.daemon.get("/healthz")[0] == 503
        world.obeys()


@pytest.mark.slow
@needs_mount
def test_a_control_directory_that_is_deleted(world: World) -> None:
    before = len(world.lines())
    shutil.rmtree(world.control / "lrwatch")
    eventually((world.control / "lrwatch" / "observed.json").exists, PATIENCE, what="the training makes it anew")
    world.lasts()
    world.obeys()
    found = world.lines()[before:]
    if found:  # the daemon looked in the moment in which it was not there
        assert len(found) == 2, found
        assert "cannot claim" in found[0]
        assert HEALED in found[1]


@pytest.mark.slow
@needs_mount
@needs_strace
def test_a_slow_file_system_of_the_daemon(world: World) -> None:
    with world.said():
        with world.slow(world.daemon.process.pid, "fsync,fdatasync,rename,renameat", "200ms"):
            world.lasts()
        world.obeys()


@pytest.mark.slow
@needs_mount
def test_no_descriptors_left(world: World, seen: list[str]) -> None:
    before = len(world.lines())
    with world.limited(resource.RLIMIT_NOFILE, 3):
        eventually(lambda: len(world.lines()) > before, PATIENCE, what="a message")
        world.lasts(unseen=True)
        during = world.lines()[before:]
    world.heals(before)
    world.obeys()
    assert all(seen[0] in line for line in during), during
    assert len(during) == len(set(during)), "the search for runs, the claim and the trainer's word are each said once"


@pytest.mark.slow
@needs_mount
def test_no_memory_left(world: World) -> None:
    status = Path(f"/proc/{world.daemon.process.pid}/status").read_text()
    used = int(status.partition("VmSize:")[2].split()[0]) << 10
    before = len(world.lines())
    with world.limited(resource.RLIMIT_AS, used):
        for _ in range(3):
            world.knock()  # a new thread has no room for its stack
        world.lasts(unseen=True)
    world.heals(before)
    world.obeys()
    assert world.daemon.get(f"/runs/{RUN}")[0] == 200


@pytest.mark.slow
@needs_mount
@pytest.mark.parametrize("seconds", [-3600, 36_000, -315_360_000])
def test_a_wall_clock_that_steps(world: World, seconds: int) -> None:
    if not world.can_move_the_clock:
        pytest.skip("needs gcc, to put a clock into the daemon that can be moved")
    before = world.daemon.stdout.count("\n")
    new = world.runs / f"new{seconds}"
    with world.said("only watched"):  # the new run, because there is one control directory for all
        with world.clock_moved(seconds):
            new.mkdir()
            (new / "train.jsonl").write_text(Training().lines(50))
            eventually(
                lambda: world.daemon.value("lrwatch_run_step", run=new.name) == 50, PATIENCE, what="a new run is found"
            )
            world.lasts()
            world.obeys()
        world.obeys()
    told = world.daemon.stdout.splitlines()[before:]
    assert not [line for line in told if f" {RUN} " in line and ("stalled" in line or "lost" in line)], told


@pytest.mark.slow
@needs_mount
def test_a_state_that_is_deleted_under_the_daemon(world: World, seen: list[str]) -> None:
    with world.said(*seen):
        for path in world.state.iterdir():
            path.unlink()
        assert world.daemon.process.wait(PATIENCE) == 4
    world.ends_with = 4
    world.lasts(unseen=True)


@pytest.mark.slow
@needs_mount
def test_behind_all_that_the_training_has_raised_nothing_and_was_never_held_up(world: World) -> None:
    found = world.end()
    assert found["code"] == 0
    assert found["longest"] < 0.05, "the training thread worked on a file"
    assert len(found["messages"]) == 1, "the client says once that its disk has errors"
    assert "The training continues" in found["messages"][0]


@pytest.mark.slow
@needs_mount
def test_a_read_only_state_at_the_start(tmp_path: Path, seen: list[str]) -> None:
    log, state = tmp_path / "train.jsonl", tmp_path / "state"
    log.write_text(Training().lines(50))
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(state)], check=True)
    try:
        ended = lrwatch("run", log, "--once", "--state", state)
    finally:
        subprocess.run(["umount", str(state)], check=True)
    assert ended.returncode == 4
    assert seen[0] in ended.stderr
    assert "--state" in ended.stderr
