"""Ask Prometheus for the exemplars of a trace: the measurements that it stands for.

Source:
    https://prometheus.io/docs/prometheus/latest/querying/api/#querying-exemplars.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from msgspec import Struct, json

from clew.ids import to_w3c_trace_id

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SELECTOR", "exemplars_of"]

SELECTOR: Final = '{__name__=~"clew_.+|gen_ai_.+"}'
"""All series that the agent makes."""

TIMEOUT_S: Final = 2.0
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


class _Exemplar(Struct):
    """An exemplar, as Prometheus' API reports it."""

    labels: dict[str, str]
    value: str
    timestamp: float


class _Series(Struct):
    """The exemplars of one series."""

    seriesLabels: dict[str, str]  # noqa: N815 - Prometheus' name
    exemplars: list[_Exemplar]


class _Answer(Struct):
    """The answer to a query for exemplars."""

    data: list[_Series] = []


def exemplars_of(base: str, window: Mapping[str, float], trace_id: str) -> list[dict[str, Any]]:
    """Ask Prometheus for the exemplars of a trace.

    Args:
        base: Address of Prometheus.
        window: ``start`` and ``end`` of the time to look through, in seconds since the epoch.
        trace_id: The trace, a UUID.

    Returns:
        ``{"metric", "labels", "value", "timestamp", "span_id"}`` each.

    Raises:
        OSError: It does not answer, or not in time.
        ValueError: It answers something else, or too much.
    """
    wanted = {trace_id, to_w3c_trace_id(trace_id)}
    answer = _get(f"{base}/api/v1/query_exemplars?{urlencode({'query': SELECTOR, **window})}")
    return [
        {
            "metric": one.seriesLabels.get("__name__", ""),
            "labels": {name: text for name, text in one.seriesLabels.items() if name != "__name__"},
            "value": float(exemplar.value),
            "timestamp": exemplar.timestamp,
            "span_id": exemplar.labels.get("span_id"),
        }
        for one in json.decode(answer, type=_Answer).data
        for exemplar in one.exemplars
        if exemplar.labels.get("trace_id") in wanted
    ]


def _get(url: str) -> bytes:
    """Get a document, within the time and the size that it may have."""
    if urlsplit(url).scheme not in {"http", "https"}:
        raise ValueError("its address does not begin with http:// or https://")
    is_near = urlsplit(url).hostname in LOOPBACK
    opener = build_opener(*([ProxyHandler({})] if is_near else []))
    give_up_at = time.monotonic() + TIMEOUT_S
    with opener.open(Request(url), timeout=TIMEOUT_S) as answer:  # noqa: S310 - looked at above
        content = bytearray()
        while chunk := cast("bytes", answer.read1(65536)):
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise ValueError(f"it has more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > give_up_at:
                raise TimeoutError("it is too slow")
    return bytes(content)
