"""The clock that is turned by hand."""

from __future__ import annotations

from lrwatch.testing import FakeClock


def test_a_fake_clock_stands_until_it_is_turned() -> None:
    clock = FakeClock(1000.0)
    assert (clock(), clock()) == (1000.0, 1000.0)
    clock.advance(2.5)
    assert clock() == 1002.5
    clock.advance(-10)
    assert clock() == 992.5
