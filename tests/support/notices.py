"""Notices to send: an ordinary one, and random ones whose texts are hostile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

from clew.alerts.notice import Example, Notice

__all__ = ["HOSTILE", "MOMENT", "NOTICE", "hostile_notice"]

MOMENT: Final = datetime(2026, 11, 30, 21, 33, tzinfo=UTC)

NOTICE: Final = Notice(
    alert_id="0193a8f2-7c1e-7b02-9f00-0000000000a1",
    number=1,
    kind="firing",
    rule="error_rate",
    title="error rate",
    severity="critical",
    service="rag-api",
    value=38 / 458,
    threshold=0.05,
    n=458,
    bad=38,
    low=0.059,
    high=0.115,
    baseline=0.004,
    baseline_text="the same hour of the last 7 days",
    since=MOMENT,
    at=MOMENT + timedelta(minutes=4),
    affected_users=31,
    affected_sessions=1,
    examples=(
        Example(
            trace_id="550e8400-e29b-41d4-a716-446655440000",
            role="worst",
            text="RateLimitError in generation",
            url="https://clew.example.org/t/550e8400-e29b-41d4-a716-446655440000",
        ),
        Example(trace_id="550e8400-e29b-41d4-a716-446655440001", role="good", text="1.20 s"),
    ),
    cause="RateLimitError 34/38",
    evidence=("RateLimitError in generation (gpt-5), 34 of 38 traces", "all in eu-west-1"),
    deploy="version 1.4.0 at 21:20, 13 min before",
    action="look at the worst trace",
    command="clew trace 550e8400-e29b-41d4-a716-446655440000",
    quality=("2 % of the events are late",),
    owner="team-rag",
    runbook="https://runbooks.example.org/rate-limits",
    url="https://clew.example.org/alerts/0193a8f2-7c1e-7b02-9f00-0000000000a1",
    grouped=("[WARN] rag-api latency 14 % > 5 %",),
)
"""One that has everything."""

HOSTILE: Final = (
    "<!channel>", "<!here|x>", "<@U0000>", "<https://evil.example|click>", "&amp;", "&", "<", ">", "&lt;script&gt;",
    "<script>alert(1)</script>", "</style>", "<img src=//evil.example/x>", '"onmouseover="x', "'", '"', "\\", "`", "```", "*_~",
    "\r\nBcc: everyone@example.org", "\nSubject: x", "\r", "\x00", "\x1b[31m", "\u2028", "\u2029", "\x85", "\u202e", "\u200b",
    "\ufeff", "\ud800", "\udfff", "😀", "👨‍👩‍👧", "ä", "漢字", "z\u0301\u0301\u0301", "=?utf-8?q?x?=", "=?utf-8?b?////?=", "%0d%0a", "$(reboot)",
    "; rm -rf /", "{{7*7}}", "@channel", "\t", " ", "a" * 200, "&" * 700, '"' * 700, "😀" * 400, "x y " * 300, "\ue000",
    ".\r\n.\r\n", "\n.\n", "From me", "--", "javascript:alert(1)", "https://a.example/|>", "http://[", "\x7f",
)  # fmt: skip
"""What breaks forms: mentions, markup, headers, entities, halves of characters, and texts that are long."""


def hostile_notice(seed: int) -> Notice:
    """Draw a notice whose every text may be hostile, short or long; the same one for the same seed."""
    draw = Random(seed)

    def text() -> str:
        if draw.random() < 0.15:
            return ""
        pieces = draw.choices(HOSTILE, k=draw.choice((1, 1, 2, 5, 30)))
        return "".join(piece if draw.random() < 0.8 else f" {draw.randrange(10**6)} " for piece in pieces)

    def texts() -> tuple[str, ...]:
        return tuple(text() for _ in range(draw.choice((0, 1, 3, 12, 60))))

    def number() -> float:
        return draw.choice((0.0, 1e-9, 0.083, 1.0, 12.5, 1234.5, 1e12, 1e300, -3.0, float("nan"), float("inf")))

    def maybe(value: Any) -> Any:
        return None if draw.random() < 0.3 else value

    def example() -> Example:
        id_ = f"{draw.getrandbits(128):032x}" if draw.random() < 0.8 else f"{draw.getrandbits(64):x}{text()}"
        role = draw.choice(("worst", "typical", "good"))
        url = draw.choice(("", f"https://clew.example.org/t/{id_}", text()))
        return Example(trace_id=id_, role=role, text=text(), url=url)

    n = maybe(draw.choice((0, 1, 458, 10**9, 10**15)))
    return Notice(
        alert_id=draw.choice((f"{draw.getrandbits(128):032x}", f"a{text()}")),
        number=draw.choice((1, 2, 10**6)),
        kind=draw.choice(("firing", "update", "resolved", "test", "heartbeat")),
        rule=f"r{text()}",
        title=text(),
        severity=draw.choice(("critical", "warning", "info")),
        service=text(),
        environment=text(),
        subject=text(),
        unit=draw.choice(("ratio", "seconds", "usd", "count", "score")),
        value=maybe(number()),
        threshold=number(),
        is_below=draw.random() < 0.5,
        n=n,
        bad=None if n is None else maybe(n // 12),
        counted=text(),
        low=maybe(number()),
        high=maybe(number()),
        window_s=draw.choice((1.0, 300.0, 21_600.0)),
        baseline=maybe(number()),
        baseline_text=text(),
        since=MOMENT,
        at=MOMENT,
        resolved_at=maybe(MOMENT),
        affected_users=maybe(draw.randrange(10**6)),
        affected_sessions=maybe(1),
        examples=tuple(example() for _ in range(draw.choice((1, 2, 5, 20)))),
        cause=text(),
        evidence=texts(),
        deploy=text(),
        action=text(),
        command=text(),
        quality=texts(),
        owner=text(),
        runbook=text(),
        url=text(),
        grouped=texts(),
    )
