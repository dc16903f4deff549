"""Who may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clew.errors import ConfigError
from clew.server.auth import check_address

if TYPE_CHECKING:
    from support.fix_server import AskServer

TOKEN = "a-long-secret"  # not a secret of anything


def test_without_a_token_only_loopback_is_served() -> None:
    """An address that others can reach needs a token."""
    for host in ("127.0.0.1", "localhost", "::1"):
        check_address(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "clew.example"):
        check_address(host, TOKEN)
        with pytest.raises(ConfigError, match="CLEW_TOKEN"):
            check_address(host, None)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4319", "127.0.0.1.evil.example", "[::2]:4319", ""])
def test_a_foreign_name_for_this_machine_is_turned_away(ask_server: AskServer, postgres: str, host: str) -> None:
    """A web page that points its own name at 127.0.0.1 cannot read the answers."""
    response = ask_server(postgres, "/api/logs", headers={"host": host})

    assert response.status_code == 403
    assert "does not answer to the name" in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "localhost:4319", "127.0.0.1:80", "[::1]:4319", "LOCALHOST"])
def test_names_of_this_machine_are_answered(ask_server: AskServer, postgres: str, host: str) -> None:
    """Every usual way to name loopback works."""
    assert ask_server(postgres, "/api/logs", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ä"]
)
def test_a_missing_or_wrong_token_is_turned_away(ask_server: AskServer, postgres: str, header: str) -> None:
    """With a token every API route asks for it, and says how it is sent."""
    headers = {"authorization": header.encode()} if header else {}
    for path in ("/api/logs", "/api/traces", "/api/anything"):
        response = ask_server(postgres, path, headers=headers, token=TOKEN)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in response.json()["error"]["hint"]


def test_the_token_opens_the_api_under_any_name(ask_server: AskServer, postgres: str) -> None:
    """With the right token the server may be reached by other names."""
    headers = {"authorization": f"bearer {TOKEN}", "host": "clew.example"}

    assert ask_server(postgres, "/api/logs", headers=headers, token=TOKEN).status_code == 200


def test_health_is_open_to_probes(ask_server: AskServer, postgres: str) -> None:
    """What a load balancer asks needs no token."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert ask_server(postgres, path, headers={"host": "10.0.0.7"}, token=TOKEN).status_code == 200
