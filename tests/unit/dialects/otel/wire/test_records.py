"""What one request of OTLP may hold, whatever encoding it is in."""

from __future__ import annotations

import pytest

from clew.dialects.otel.wire.records import Budget, LogItem, SpanItem, TooManyError


def test_a_budget_takes_what_it_says_and_refuses_the_next() -> None:
    """Records and values are counted apart, each up to its bound, over all that a request holds."""
    budget = Budget(records=3, values=5)
    budget.take_records()
    budget.take_records(2)
    budget.take_values(5)

    with pytest.raises(TooManyError, match="more than 3 spans, span events and log records: send fewer") as records:
        budget.take_records()
    with pytest.raises(TooManyError, match="more than 5 attributes and values: send fewer") as values:
        budget.take_values(1)

    assert (records.value.status, values.value.status) == (413, 413)


def test_a_budget_that_is_spent_stays_spent() -> None:
    """A reader that goes on after the refusal gets nothing more, and nothing is not refused before."""
    budget = Budget(records=0)
    budget.take_records(0)

    for _ in range(2):
        with pytest.raises(TooManyError):
            budget.take_records()


def test_items_share_nothing() -> None:
    """What a reader adds to one span or log record is not found in the next one."""
    span, log = SpanItem(), LogItem()
    span.attributes["a"] = 1
    span.sanitized.append("repr")
    log.attributes["a"] = 1
    log.sanitized.append("repr")

    assert (SpanItem(), LogItem()) == (SpanItem(attributes={}, sanitized=[]), LogItem(attributes={}, sanitized=[]))
