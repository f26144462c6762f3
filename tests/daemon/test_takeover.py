"""Which takeovers between daemons the journal has, and which it has not; with processes in e2e/test_two_daemons.py."""

from __future__ import annotations

from pathlib import Path

from lrwatch.control.token import LEASE_SECONDS, Lease
from lrwatch.daemon.takeover import Takeovers


class Side:
    """One daemon's lease, and what its journal is told."""

    def __init__(
        self, directory: Path, saved: dict[str, object] | None = None, token: int = 0, owner: str = ""
    ) -> None:
        self.takeovers, self.lease, self.said = Takeovers(), Lease(directory, owner), list[tuple[bool, int]]()
        if saved is not None:
            self.takeovers.restore(saved)
        self.lease.token = token
        self.lease.claim(token)
        self.tell()

    def tell(self) -> str:
        event = self.takeovers.look(self.lease, run="a", step=10)
        if event is None:
            return ""
        self.said.append((event["commands"], event["token"]))
        return str(event["message"])

    def look(self, now: float) -> str:
        self.lease.look(self.lease.token, now, closely=True)
        return self.tell()


def test_the_first_daemon_takes_over_from_nobody(tmp_path: Path) -> None:
    side = Side(tmp_path)
    assert not side.look(1.0)
    assert side.said == []


def test_a_daemon_that_starts_again_takes_over_from_nobody(tmp_path: Path) -> None:
    before = Side(tmp_path)
    again = Side(tmp_path, before.takeovers.state(), before.lease.token)
    assert (again.lease.token, again.said) == (2, [])


def test_a_daemon_that_was_killed_before_it_saved_its_token_takes_over_from_nobody(tmp_path: Path) -> None:
    Side(tmp_path, owner="a")
    again = Side(tmp_path, owner="a")
    assert (again.lease.token, again.said) == (2, [])
    other = Side(tmp_path, owner="b")
    assert other.said == [(True, 3)]


def test_a_claim_that_was_never_finished_is_nobodys(tmp_path: Path) -> None:
    Side(tmp_path, owner="a")
    (tmp_path / "controller-2").touch()
    assert Side(tmp_path, owner="a").said == []
    (tmp_path / "controller-4").touch()
    other = Side(tmp_path, owner="b")
    assert other.said == [(True, 5)]


def test_both_sides_of_a_takeover_are_told_once_and_the_way_back_too(tmp_path: Path) -> None:
    first, second = Side(tmp_path), Side(tmp_path)
    assert second.said == [(True, 2)]
    assert "has token 2, this daemon has 1, so this daemon only watches" in first.look(1.0)
    assert not first.look(2.0)
    assert "commands again with token 3" in first.look(2.0 + LEASE_SECONDS)  # the other one has not renewed its lease
    assert not first.look(70.0)
    assert first.said == [(False, 1), (True, 3)]
    assert "only watches" in second.look(3.0)


def test_a_daemon_that_was_replaced_and_starts_again_says_that_it_commands(tmp_path: Path) -> None:
    first = Side(tmp_path)
    Side(tmp_path)
    first.look(1.0)
    again = Side(tmp_path, first.takeovers.state(), first.lease.token)
    assert again.said == [(True, 3)]
