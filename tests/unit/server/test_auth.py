"""Who may ask."""

from __future__ import annotations

import re
from base64 import b64encode
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from clew import config
from clew.access.address import check_address
from clew.access.tokens import FILE, Scope, create_token, revoke_token
from clew.errors import ConfigError
from clew.server.app import create_app
from clew.server.auth import needed_scope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from support.fix_server import AskServer

TOKEN = "a-long-secret"  # not a secret of anything
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def _make(data_dir: Path, *scopes: Scope, name: str = "ci") -> str:
    return create_token(data_dir, name=name, scopes=scopes, now=NOW)[0]


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def _basic(token: str) -> dict[str, str]:
    return {"authorization": f"Basic {b64encode(f'anybody:{token}'.encode()).decode()}"}


def test_without_a_token_only_loopback_is_served(tmp_path: Path) -> None:
    """An address that others can reach needs a token, that of the setting or one that was made."""
    for host in ("127.0.0.1", "localhost", "::1"):
        check_address(config.load(host=host, data_dir=tmp_path))
    for host in ("0.0.0.0", "::", "192.168.1.5", "clew.example"):
        check_address(config.load(host=host, data_dir=tmp_path, token=TOKEN))
        with pytest.raises(ConfigError, match=r"clew token create.*CLEW_TOKEN"):
            check_address(config.load(host=host, data_dir=tmp_path))

    _make(tmp_path, "read")

    check_address(config.load(host="0.0.0.0", data_dir=tmp_path))


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


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1.evil.example", "null"])
def test_a_page_of_another_site_cannot_write(ask_server: AskServer, postgres: str, origin: str) -> None:
    """A browser sends such requests without asking; the Origin tells on them."""
    response = ask_server(postgres, "/v1/traces", method="POST", headers={"origin": origin})

    assert response.status_code == 403
    assert "takes nothing from" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer wrong", f"Digest {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ä", "Basic %%%"]
)
def test_a_missing_or_wrong_token_is_turned_away(ask_server: AskServer, postgres: str, header: str) -> None:
    """With a token everything asks for it, also what is not there, and says how it is sent."""
    headers = {"authorization": header.encode()} if header else {}
    for path in ("/api/logs", "/api/traces", "/api/anything", "/v1/traces", "/metrics"):
        response = ask_server(postgres, path, headers=headers, token=TOKEN)
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in response.json()["error"]["hint"]
    for path in ("/traces/some", "/t/some", "/t", "/anything"):
        response = ask_server(postgres, path, headers=headers, token=TOKEN)
        assert response.status_code == 401
        assert response.headers["www-authenticate"].startswith("Basic")


def test_the_token_opens_the_api_under_any_name(ask_server: AskServer, postgres: str) -> None:
    """With the right token the server may be reached by other names."""
    headers = {"authorization": f"bearer {TOKEN}", "host": "clew.example"}

    assert ask_server(postgres, "/api/logs", headers=headers, token=TOKEN).status_code == 200


def test_health_is_open_to_probes(ask_server: AskServer, postgres: str) -> None:
    """What a load balancer asks needs no token, and neither does the description of the API."""
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json", "/static/clew.css"):
        assert ask_server(postgres, path, headers={"host": "10.0.0.7"}, token=TOKEN).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/traces", "read"),
        ("HEAD", "/metrics", "read"),
        ("GET", "/t/some", "read"),
        ("GET", "/", "read"),
        ("GET", "/langsmith/info", "ingest"),
        ("PATCH", "/langsmith/runs/1", "ingest"),
        ("POST", "/v1/logs", "ingest"),
        ("POST", "/api/deploys", "ingest"),
        ("GET", "/api/deploys", "read"),
        ("DELETE", "/api/deploys", "admin"),
        ("POST", "/api/anything", "admin"),
        ("GET", "/readyz", None),
        ("GET", "/static/clew.css", None),
    ],
)
def test_each_route_needs_one_scope(method: str, path: str, scope: str | None) -> None:
    """What answers wants `read`, what takes in wants `ingest`, and what is new is not open by mistake."""
    assert needed_scope(method, path) == scope


@pytest.mark.parametrize(
    ("scopes", "reading", "taking"),
    [(("read",), 200, 403), (("ingest",), 403, 415), (("read", "ingest"), 200, 415), (("admin",), 200, 415)],
)
def test_a_token_does_what_its_scopes_say(
    ask_server: AskServer, postgres: str, tmp_path: Path, scopes: tuple[Scope, ...], reading: int, taking: int
) -> None:
    """A token that may not is told what it may, and what it would need."""
    headers = _bearer(_make(tmp_path, *scopes))

    read = ask_server(postgres, "/api/logs", headers=headers)
    took = ask_server(postgres, "/v1/traces", method="POST", headers=headers)

    assert (read.status_code, took.status_code) == (reading, taking)
    for answer in (read, took):
        if answer.status_code == 403:
            assert "the token 'ci' has the scope" in answer.json()["error"]["message"]
            assert "--scope" in answer.json()["error"]["hint"]


def test_a_token_counts_from_when_it_is_made_until_it_is_revoked(
    ask_server: AskServer, postgres: str, tmp_path: Path
) -> None:
    """A running server notices both, and does not open again when its last token is gone."""
    assert ask_server(postgres, "/api/logs").status_code == 200

    headers = _bearer(_make(tmp_path, "read"))
    assert ask_server(postgres, "/api/logs").status_code == 401
    assert ask_server(postgres, "/api/logs", headers=headers).status_code == 200

    revoke_token(tmp_path, "ci", now=NOW)
    assert ask_server(postgres, "/api/logs", headers=headers).status_code == 401
    assert ask_server(postgres, "/api/logs").status_code == 401


def test_a_token_that_has_expired_opens_nothing(ask_server: AskServer, postgres: str, tmp_path: Path) -> None:
    """It ends by itself."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    token, _ = create_token(tmp_path, name="old", scopes=["read"], now=past, expires_at=past)

    assert ask_server(postgres, "/api/logs", headers=_bearer(token)).status_code == 401


@pytest.mark.parametrize("content", ["", "{", '{"version": 2, "tokens": []}', '{"version": 1, "tokens": [{}]}'])
def test_a_damaged_file_of_tokens_opens_nothing(
    ask_server: AskServer, postgres: str, tmp_path: Path, content: str
) -> None:
    """Nobody gets in but with the setting, rather than everybody."""
    (tmp_path / FILE).write_text(content)

    assert ask_server(postgres, "/api/logs").status_code == 401
    assert ask_server(postgres, "/api/logs", token=TOKEN, headers=_bearer(TOKEN)).status_code == 200


def test_langsmiths_clients_send_the_token_as_their_key(ask_server: AskServer, postgres: str, tmp_path: Path) -> None:
    """The key opens what they send to, and nothing else."""
    headers = {"x-api-key": _make(tmp_path, "ingest", "read")}

    assert ask_server(postgres, "/langsmith/info", headers=headers).status_code == 200
    assert ask_server(postgres, "/api/logs", headers=headers).status_code == 401


def test_a_password_opens_pages_and_reads_only_for_our_own(ask_server: AskServer, postgres: str) -> None:
    """A browser sends it unasked, so it writes nothing and reads nothing on behalf of another site."""
    cross = {**_basic(TOKEN), "sec-fetch-site": "cross-site"}

    assert ask_server(postgres, "/t/x", headers=cross, token=TOKEN).status_code == 307
    assert ask_server(postgres, "/api/logs", headers=_basic(TOKEN), token=TOKEN).status_code == 200
    assert ask_server(postgres, "/api/logs", headers=cross, token=TOKEN).status_code == 401
    assert ask_server(postgres, "/v1/traces", method="POST", headers=_basic(TOKEN), token=TOKEN).status_code == 401


def test_a_token_that_asks_too_often_has_to_wait(ask_server: AskServer, postgres: str, tmp_path: Path) -> None:
    """The answer says for how long; other tokens go on."""
    fast, calm = _bearer(_make(tmp_path, "read")), _bearer(_make(tmp_path, "read", name="calm"))

    answers = [ask_server(postgres, "/api/lookup?id=x", headers=fast, rate_limit=0.001) for _ in range(2)]
    other = ask_server(postgres, "/api/lookup?id=x", headers=calm, rate_limit=0.001)

    assert [answer.status_code for answer in answers] == [200, 429]
    assert 0 < int(answers[1].headers["retry-after"]) <= 1000
    assert "'ci'" in answers[1].json()["error"]["message"]
    assert other.status_code == 200


OPEN = {"/healthz", "/readyz", "/docs", "/openapi.json", "/static/clew.css"}
READING = {
    *("/api/traces", "/api/traces/{trace_id:path}", "/api/lookup", "/api/spans/{span_id}", "/api/logs", "/api/logs/follow"),
    *("/api/errors", "/api/costs", "/api/diff", "/api/lineage/{kind}/{id:path}", "/api/export", "/api/metrics/{name}"),
    *("/metrics", "/t", "/t/{any_id:path}", "/traces/{trace_id:path}", "/api/alerts", "/api/alerts/{alert_id}", "/api/silences"),
}  # fmt: skip
CHANGING = {("POST", "/api/alerts/{alert_id}/ack"), ("POST", "/api/silences"), ("DELETE", "/api/silences/{silence_id}")}
TAKING = {
    *("/api/alertmanager", "/v1/traces", "/v1/logs", "/langsmith/{rest:path}"),
    *(
        f"/langsmith{spelling}{rest}"
        for spelling in ("", "/v1", "/api", "/api/v1")
        for rest in ("/info", "/sessions", "/feedback", "/runs", "/runs/batch", "/runs/multipart", "/runs/{run_id}")
    ),
}
SCOPES: dict[str, Scope | None] = {
    **dict.fromkeys(OPEN), **dict.fromkeys(READING, "read"), **dict.fromkeys(TAKING, "ingest")
}  # fmt: skip
"""What each route needs, said again: a route that is not here fails the test until somebody has thought about it."""


def routes_of(app: FastAPI) -> Iterator[tuple[str, str]]:
    """List every route, in the description or not, by method and template."""
    for route in app.routes:
        parts = route.effective_route_contexts() if hasattr(route, "effective_route_contexts") else [route]
        for part in parts:
            for method in part.methods:
                yield method, part.path


def test_every_route_of_the_app_asks_for_its_scope(ask_server: AskServer, postgres: str, tmp_path: Path) -> None:
    """Each token at each route: none, a wrong, an expired and a revoked one, and one of each scope."""
    past = datetime(2020, 1, 1, tzinfo=UTC)
    held = {scope: _bearer(_make(tmp_path, scope, name=scope)) for scope in ("read", "ingest", "admin")}
    useless = [
        {},
        _bearer("clew_wrong"),
        _bearer(create_token(tmp_path, name="old", scopes=["admin"], now=past, expires_at=past)[0]),
        _bearer(_make(tmp_path, "admin", name="ended")),
    ]
    revoke_token(tmp_path, "ended", now=NOW)
    routes = list(routes_of(create_app(config.load(dsn=postgres, data_dir=tmp_path))))

    def ask(method: str, template: str, headers: dict[str, str]) -> int:
        path = re.sub(r"\{\w+(:path)?\}", "x", template.replace("{kind}", "chunk"))
        query = "?q=(" if template.endswith("/follow") else ""  # would go on for ever
        return ask_server(postgres, path + query, method=method, headers=headers, rate_limit=0).status_code

    assert {template for method, template in routes if (method, template) not in CHANGING} == set(SCOPES)
    for method, template in routes:
        needed = "admin" if (method, template) in CHANGING else SCOPES[template]
        for headers in useless:
            answer = ask(method, template, headers)
            assert answer not in {401, 403} if needed is None else answer == 401, (method, template, headers)
        for scope, headers in held.items():
            answer = ask(method, template, headers)
            may = needed is None or scope in {needed, "admin"}
            assert answer not in {401, 403} if may else answer == 403, (method, template, scope, answer)
