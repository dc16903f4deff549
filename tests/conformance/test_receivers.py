"""What every receiver of notices promises, held against each with a real system, or a faithful stand-in, behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from clew import config
from clew.alerts.notice import first_line
from clew.alerts.notify.make import make_receivers
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from conformance.receivers import RECEIVERS, ReceiverRig, lead_to, receiver_of
from support.notices import NOTICE
from support.silent_server import SilentServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it

TRACE = "550e8400-e29b-41d4-a716-446655440000"


@pytest.fixture(params=RECEIVERS)
def rig(request: pytest.FixtureRequest) -> Iterator[ReceiverRig]:
    """Give a system of its own."""
    rig = RECEIVERS[request.param]()
    yield rig
    rig.close()


def test_a_notice_arrives_with_all_that_somebody_on_call_needs(rig: ReceiverRig) -> None:
    """The first line first; value, sample, cause, a trace, the action and the command are in it."""
    assert isinstance(receiver_of(rig).send(NOTICE, ""), Sent)

    [text] = rig.taken()
    assert text.splitlines()[0].startswith("[CRIT] rag-api error rate 8.3 % (38/458, 5.9–11.5) > 5 % since 21:33")
    for needed in ("RateLimitError 34/38", TRACE, "look at the worst trace", f"clew trace {TRACE}"):
        assert needed in text
    assert not any(secret in text for secret in rig.secrets)


def test_what_is_refused_for_now_is_tried_again_and_then_arrives_once(rig: ReceiverRig) -> None:
    """The reason says something, and no secret."""
    receiver = receiver_of(rig)
    rig.refuse_next(is_for_good=False)

    refused, taken = receiver.send(NOTICE, ""), receiver.send(NOTICE, "")

    assert isinstance(refused, SendLater)
    assert refused.reason
    assert not any(secret in refused.reason for secret in rig.secrets)
    assert isinstance(taken, Sent)
    assert len(rig.taken()) == 1


def test_what_is_refused_for_good_is_not_tried_again(rig: ReceiverRig, request: pytest.FixtureRequest) -> None:
    """Whoever can tell the two apart says so; Apprise cannot, and is tried again."""
    rig.refuse_next(is_for_good=True)

    outcome = receiver_of(rig).send(NOTICE, "")

    cannot_tell = request.node.callspec.params["rig"] == "apprise"
    assert isinstance(outcome, SendLater if cannot_tell else Undeliverable)
    assert not any(secret in outcome.reason for secret in rig.secrets)
    assert rig.taken() == []


def test_the_end_of_an_alert_says_that_it_is_over(rig: ReceiverRig) -> None:
    """Whatever the first notice returned is given back with the second."""
    receiver = receiver_of(rig)
    first = receiver.send(NOTICE, "")
    assert isinstance(first, Sent)
    over = replace(NOTICE, kind="resolved", number=2, resolved_at=NOTICE.at, value=0.01)

    assert isinstance(receiver.send(over, first.thread), Sent)

    assert [text.split()[0] for text in rig.taken()] == ["[CRIT]", "[OK]"]


def test_a_test_says_that_it_is_one(rig: ReceiverRig) -> None:
    """Nobody gets up for it."""
    receiver_of(rig).send(replace(NOTICE, kind="test"), "")

    assert rig.taken()[0].startswith("[TEST]")


def test_a_system_that_is_away_is_tried_again(rig: ReceiverRig) -> None:
    """It ends with a reason, and raises nothing."""
    receiver = receiver_of(rig)
    rig.go_away()

    outcome = receiver.send(NOTICE, "")

    assert isinstance(outcome, SendLater)
    assert not any(secret in outcome.reason for secret in rig.secrets)


@pytest.mark.parametrize("rest", [b"", b"220 " + b"x" * 10_000], ids=["silent", "slow"])
def test_a_system_that_does_not_end_is_left_at_the_deadline(rig: ReceiverRig, rest: bytes) -> None:
    """Whether it says nothing, or a byte now and then; it is tried again."""
    server = SilentServer(rest=rest)
    rig.settings = lead_to(rig.settings, server.port)

    outcome = receiver_of(rig, limit_s=0.3).send(NOTICE, "")

    server.close()
    assert isinstance(outcome, SendLater)
    assert "within 0.3 s" in outcome.reason
    assert not any(secret in outcome.reason for secret in rig.secrets)
    assert server.connections == 1


def test_this_machine_is_refused_without_the_setting(rig: ReceiverRig, request: pytest.FixtureRequest) -> None:
    """A webhook at loopback is refused for good, and nothing arrives; a mail server may be on this machine."""
    [receiver] = make_receivers(config.load_alerts(**rig.settings))

    outcome = receiver.send(NOTICE, "")

    if request.node.callspec.params["rig"] == "mail":
        assert isinstance(outcome, Sent)
    else:
        assert isinstance(outcome, Undeliverable)
        assert rig.taken() == []


def test_the_first_line_fits_everywhere(rig: ReceiverRig) -> None:
    """A long one is cut in the headline, and never makes the notice fail."""
    long = replace(NOTICE, title="t" * 5000, cause="c" * 5000, command="x" * 5000)

    assert isinstance(receiver_of(rig).send(long, ""), Sent)
    assert len(first_line(long)) > 5000
    assert rig.taken()[0].startswith("[CRIT] rag-api ttt")
