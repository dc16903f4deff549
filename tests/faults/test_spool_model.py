"""The state machine of ``tests/properties``, for longer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.spool_machine import SpoolMachine


@pytest.mark.faults
@pytest.mark.timeout(900)
def test_the_spool_is_its_model_over_many_histories() -> None:
    """Five hundred long histories."""
    run_state_machine_as_test(
        SpoolMachine,
        settings=settings(
            max_examples=500, stateful_step_count=60, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
