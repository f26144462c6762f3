"""Any order of steps, turns, crashes, resumes, damaged files, second daemons and second trainers leaves the training unharmed.

The short test plays the same games each time; `make test-stateful` plays new ones for minutes. See support/protocol_machine.py.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.protocol_machine import ProtocolMachine
from support.protocol_players import SEEN

EXAMPLES = int(os.environ.get("STATEFUL_EXAMPLES", "8"))
STEPS = int(os.environ.get("STATEFUL_STEPS", "30"))


@pytest.mark.slow
def test_every_invariant_holds_in_any_order_of_events() -> None:
    short = "STATEFUL_EXAMPLES" not in os.environ
    run_state_machine_as_test(
        ProtocolMachine,
        settings=settings(
            max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=short, deadline=None, database=None,
            phases=[Phase.generate] if short else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
    print({name: SEEN[name] for name in sorted(SEEN)})
    for name in ("effects", "acknowledged", "hello", "operator set"):
        assert SEEN[name] >= EXAMPLES, f"too little has happened to mean anything: {SEEN}"
