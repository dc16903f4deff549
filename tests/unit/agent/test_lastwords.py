"""What the agent says in place of a process that died."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from msgspec import json

from clew import config
from clew.agent.supervisor import Supervisor
from support.recording_sink import RecordingSink

if TYPE_CHECKING:
    from pathlib import Path

RELAY = """
import os, sys
from clew import clock, config, ids
from clew.receivers.intake import Intake
from clew.dialects.draft_event import DraftEvent
settings = config.load(data_dir=sys.argv[1], agent="external", segment_bytes=64 * 1024, flush_interval_s=3600)
intake = Intake(settings)
span = ids.mint(1)
intake.accept([DraftEvent(timestamp=clock.now(), kind="span_start", message="theirs", service="rag-api",
                        trace_id=span, span_id=span, status="running")])
intake._open().append(b"x" * 100_000)  # larger than a segment: a loss
os.kill(os.getpid(), 9)
"""


def test_the_spans_that_a_relay_leaves_open_stay_open(tmp_path: Path) -> None:
    """A receiver that is killed does not take its clients' spans along; what it dropped is told all the same."""
    settings, sink = config.load(data_dir=tmp_path), RecordingSink()
    killed = subprocess.run([sys.executable, "-c", RELAY, str(tmp_path)], check=False)
    supervisor = Supervisor(settings, sinks=[sink], report=lambda _: None)
    supervisor.start()

    is_drained = supervisor.drain(20.0)
    supervisor.stop()

    events = [json.decode(payload) for payload in sink.payloads()]
    assert (killed.returncode, is_drained) == (-9, True)
    assert [(event["kind"], event["message"]) for event in events] == [
        ("span_start", "theirs"),
        ("log", "events_dropped"),
    ]
    assert events[1]["context"]["dropped"] == {"oversize": 1}
