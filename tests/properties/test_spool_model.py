"""The spool does what its model does, whatever the disk does (see ``support.spool_machine``)."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.spool_machine import SpoolMachine


def test_the_spool_is_its_model() -> None:
    """Random histories of appends, reads, crashes and disk faults find no event lost, invented or out of order."""
    run_state_machine_as_test(
        SpoolMachine,
        settings=settings(
            max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
