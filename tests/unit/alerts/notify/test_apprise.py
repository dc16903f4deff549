"""Services that Apprise notifies, with its real plugins."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from clew.alerts.notify.apprise import AppriseServices, make_apprise
from clew.alerts.notify.receiver import SendLater, Sent, Undeliverable
from clew.errors import ConfigError
from support.http_stand_in import HttpAnswer, HttpStandIn
from support.notices import NOTICE
from support.silent_server import SilentServer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # Apprise imports it


@pytest.fixture
def services() -> Iterator[list[HttpStandIn]]:
    """Give two services that take JSON."""
    servers = [HttpStandIn(lambda _: HttpAnswer(200)) for _ in range(2)]
    yield servers
    for server in servers:
        server.close()


def make(*servers: HttpStandIn | SilentServer, limit_s: float = 9.5) -> AppriseServices:
    """Make the receiver of servers on this machine."""
    urls = [f"json://clew:hunter2@127.0.0.1:{server.port}/" for server in servers]
    return make_apprise(urls, may_be_private=True, limit_s=limit_s)


def test_a_service_that_has_a_notice_does_not_get_it_again(services: list[HttpStandIn]) -> None:
    """The next attempt is for the one that refused; the next notice is for both."""
    receiver = make(*services)
    services[1].answer_next(HttpAnswer(500))

    outcomes = [receiver.send(NOTICE, ""), receiver.send(NOTICE, ""), receiver.send(replace(NOTICE, number=2), "")]

    assert outcomes == [
        SendLater("service 2 of 2: Apprise could not send it, and does not say why"), Sent(), Sent(),
    ]  # fmt: skip
    assert [len(server.requests) for server in services] == [2, 3]


def test_one_that_hangs_does_not_keep_a_notice_from_another(services: list[HttpStandIn]) -> None:
    """It is left at the deadline, and until its attempt has ended it gets no other."""
    silent = SilentServer()
    receiver = make(silent, services[0], limit_s=0.5)

    first, second = receiver.send(NOTICE, ""), receiver.send(NOTICE, "")

    silent.close()
    assert first == SendLater("service 1 of 2: no answer within 0.5 s")
    assert second == SendLater("service 1 of 2: it still hangs in an earlier attempt")
    assert silent.connections == 1
    assert len(services[0].requests) == 1


def test_a_redirection_is_not_followed(services: list[HttpStandIn]) -> None:
    """A public service would lead into the network that clew runs in."""
    services[0].answer_next(HttpAnswer(307, b"", (("Location", services[1].url),)))

    outcome = make(services[0]).send(NOTICE, "")

    assert isinstance(outcome, SendLater)
    assert services[1].requests == []


def test_a_name_that_leads_to_this_machine_is_refused(services: list[HttpStandIn]) -> None:
    """Whatever the name is; nothing is sent."""
    asked: list[str] = []

    def lookup(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    from apprise import Apprise

    plugin: Any = Apprise.instantiate(f"json://hooks.example.org:{services[0].port}/")
    outcome = AppriseServices([plugin], may_be_private=False, lookup=lookup).send(NOTICE, "")

    assert isinstance(outcome, Undeliverable)
    assert "hooks.example.org is a loopback address" in outcome.reason
    assert asked == ["hooks.example.org"]
    assert services[0].requests == []


@pytest.mark.parametrize("url", ["nosuchscheme://hunter2", "json://", "slack://hunter2"])
def test_a_url_that_apprise_does_not_know_is_named_by_its_number(url: str) -> None:
    """Not by its text, which has tokens in it."""
    with pytest.raises(ConfigError, match="number 2 of the setting apprise_urls") as raised:
        make_apprise(["json://127.0.0.1/", url], may_be_private=True)

    assert "hunter2" not in str(raised.value)
