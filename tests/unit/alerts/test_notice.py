"""What is said of an alert: the first line, which has to be enough."""

from __future__ import annotations

from msgspec.structs import replace

from clew.alerts.notice import Example, dedupe_key, first_line, format_value
from support.notices import NOTICE as SENT

NOTICE = replace(
    SENT,
    alert_id="a1",
    action="look at it",
    examples=(Example(trace_id="550e8400-e29b-41d4-a716-446655440000", role="worst"),),
)


def test_first_line_says_what_how_much_of_how_many_since_when_why_and_what_to_do() -> None:
    """The first line holds who, what, how much, of how many, since when, why, where to look and what to do."""
    assert first_line(NOTICE) == (
        "[CRIT] rag-api error rate 8.3 % (38/458, 5.9–11.5) > 5 % since 21:33 – RateLimitError 34/38"
        " – trace 550e8400-e29b-41d4-a716-446655440000 – look at it: clew trace 550e8400-e29b-41d4-a716-446655440000"
    )


def test_first_line_of_what_is_over_has_no_command() -> None:
    """Nothing is to be done about what is over."""
    line = first_line(replace(NOTICE, kind="resolved", value=0.01, n=300, bad=3, low=None, high=None))
    assert line.startswith("[OK] rag-api error rate 1 % (3/300) ≤ 5 % since 21:33")
    assert "look at it" not in line


def test_first_line_is_one_line_whatever_the_texts_hold() -> None:
    """Hostile texts do not break the line."""
    assert "\n" not in first_line(replace(NOTICE, service="rag\napi", cause="a\r\nBcc: b", command="x\ny", title="t\n"))


def test_first_line_of_what_lies_below_says_so() -> None:
    """An alert that fires below a threshold is written with <."""
    line = first_line(replace(NOTICE, is_below=True, value=None, n=None, bad=None, low=None, high=None, unit="count"))
    assert "no data < 0.05 since" in line


def test_values_have_their_unit() -> None:
    """Values are written as people read them."""
    assert format_value(0.05, "ratio") == "5 %"
    assert format_value(2.31, "seconds") == "2.31 s"
    assert format_value(1234.5, "usd") == "$1,234.50"
    assert format_value(120_000, "count") == "120,000"
    assert format_value(None, "score") == "no data"


def test_a_notice_is_named_by_alert_change_and_receiver() -> None:
    """Who gets a notice twice knows it by its key."""
    assert dedupe_key(NOTICE, "slack") == "a1:1:slack"
