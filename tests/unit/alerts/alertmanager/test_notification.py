"""Alertmanager's notifications: what is read of them, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

from clew.alerts.alertmanager.notification import MAX_ALERTS, MAX_TEXT, ReceivedAlert, read_alerts
from clew.dialects.malformed import WireError

ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {
        "alertname": "ClewErrorRate",
        "rule": "error_rate",
        "service": "rag-api",
        "env": "prod",
        "severity": "page",
        "owner": "search",
    },
    "annotations": {
        "title": "error rate",
        "summary": "rag-api error rate 8.3 % (38/458) > 5 %",
        "value": "0.083",
        "threshold": "0.05",
        "low": "0.054",
        "n": "458",
        "bad": "38",
        "action": "Look at the errors",
        "command": "clew errors 'service:rag-api' --since 1h",
        "runbook_url": "https://runbooks.example/errors",
    },
    "startsAt": "2026-11-30T22:33:00.123456789+01:00",
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus:9090/graph?g0.expr=1",
    "fingerprint": "0a1b2c3d4e5f6071",
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def body(*alerts: Any, **rest: Any) -> bytes:
    """Write a notification, as Alertmanager 0.25 does."""
    return json.encode({
        "receiver": "clew", "status": "firing", "alerts": alerts, "groupLabels": {"service": "rag-api"}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093", "version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0,
        **rest,
    })  # fmt: skip


def test_an_alert_of_ours_is_read_whole() -> None:
    """Every label and annotation of a rule of ours arrives in its field."""
    assert read_alerts(body(ALERT)) == [
        ReceivedAlert(
            rule="error_rate",
            title="error rate",
            status="firing",
            severity="critical",
            service="rag-api",
            environment="prod",
            starts_at=datetime(2026, 11, 30, 21, 33, 0, 123457, tzinfo=UTC),
            value=0.083,
            threshold=0.05,
            low=0.054,
            n=458,
            bad=38,
            summary="rag-api error rate 8.3 % (38/458) > 5 %",
            action="Look at the errors",
            command="clew errors 'service:rag-api' --since 1h",
            runbook="https://runbooks.example/errors",
            owner="search",
            fingerprint="0a1b2c3d4e5f6071",
            source="http://prometheus:9090/graph?g0.expr=1",
        )
    ]


def test_an_alert_of_another_rule_is_read_by_its_name() -> None:
    """Somebody else's rule has a name and a time, and that is enough."""
    alert = {**ALERT, "labels": {"alertname": "HighLatency", "model": "gpt-x"}, "annotations": {"value": "2.5 s"}}

    (found,) = read_alerts(body(alert))

    assert (found.rule, found.subject, found.severity, found.value, found.n) == (
        "HighLatency", "gpt-x", "warning", None, None
    )  # fmt: skip


def test_an_end_counts_only_of_what_is_over() -> None:
    """Of an alert that fires, the end is only when Prometheus would forget it."""
    ends = {"endsAt": "2026-11-30T22:00:00Z"}

    firing, resolved = read_alerts(body({**ALERT, **ends}, {**ALERT, **ends, "status": "resolved"}))

    assert firing.ends_at is None
    assert resolved.ends_at == datetime(2026, 11, 30, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize("number", ["NaN", "+Inf", "-Inf", "", "1e999", "many", "-1", "0x10"])
def test_what_is_no_number_is_none(number: str) -> None:
    """Prometheus writes what it has, also what no database takes as a number of units."""
    (found,) = read_alerts(body({**ALERT, "annotations": {"n": number}}))

    assert found.n is None


def test_hostile_texts_are_made_harmless() -> None:
    """Texts are one line, without control characters, and cut."""
    notes = {"summary": "a\r\nBcc: x\x00\x1b[31m" + "y" * 100_000}

    (found,) = read_alerts(body({**ALERT, "annotations": notes}))

    assert found.summary.startswith("a Bcc: x [31my")
    assert len(found.summary) <= MAX_TEXT


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is not JSON"),
        (b"alerts", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"x":' + b"[" * 200_000, "is not JSON"),
        (b"[]", "expected `object`, got `array`"),
        (b"{}", "required field `version`"),
        (b'{"version": "4"}', "required field `alerts`"),
        (b'{"version": "3", "alerts": []}', "version '3'"),
        (body("x"), "alerts[0]: expected `object`"),
        (body({}), "alerts[0]: object missing required field `status`"),
        (body({**ALERT, "status": "pending"}), "alerts[0].status"),
        (body(ALERT, {**ALERT, "labels": {}}), "alerts[1].labels has no alertname"),
        (body({**ALERT, "labels": {"alertname": 1}}), "alerts[0].labels"),
        (body({**ALERT, "labels": None}), "alerts[0].labels"),
        (body({**ALERT, "startsAt": "yesterday"}), "alerts[0].startsAt"),
        (body({**ALERT, "startsAt": "2026-11-30T22:33:00"}), "alerts[0].startsAt"),
        (body({**ALERT, "startsAt": "0001-01-01T00:00:00Z"}), "alerts[0].startsAt"),
        (body({**ALERT, "fingerprint": ""}), "alerts[0].fingerprint"),
        (body(*[ALERT] * (MAX_ALERTS + 1)), "alerts"),
    ],
)
def test_a_body_that_is_none_is_refused_with_the_reason(content: bytes, problem: str) -> None:
    """The message says what is wrong, and where."""
    with pytest.raises(WireError) as refused:
        read_alerts(content)

    assert problem in refused.value.message
    assert refused.value.status == 400


@given(
    changes=st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("status", "labels", "annotations", "startsAt", "endsAt", "fingerprint"), JSON_VALUES)
    ),
    cut=st.integers(0, 2000),
)  # fmt: skip
def test_whatever_is_sent_is_read_or_refused(changes: dict[str, Any], cut: int) -> None:
    """A value of any kind anywhere, and a body that ends anywhere, is an alert or a refusal."""
    whole = body({**ALERT, **changes})

    for content in (whole, whole[:cut]):
        try:
            found = read_alerts(content)
        except WireError:
            continue
        assert all(alert.rule and alert.fingerprint for alert in found)
