"""Write metrics as a scraper asks for them.

OpenMetrics for one that accepts it, as Prometheus does, with exemplars; else Prometheus' older text format, which
has no place for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client import Metric as Family

__all__ = ["Exposition", "expose"]


class Exposition(NamedTuple):
    """Metrics, written.

    Attributes:
        body: The text, UTF-8.
        content_type: What it is.
    """

    body: bytes
    content_type: str


class _Collected:
    """What an encoder of the client library collects from."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


def expose(families: Iterable[Family], accept: str | None) -> Exposition:
    """Write *families*.

    Args:
        families: What to report; of families with the same name all samples stand under the first.
        accept: The header ``Accept`` of who asks.

    Raises:
        ImportError: ``prometheus_client`` is not installed; it comes with ``clew[agent]``.

    Example:
        >>> expose([], "application/openmetrics-text; version=1.0.0").body.startswith(b"# EOF")
        True
    """
    from prometheus_client.exposition import choose_encoder

    encode, content_type = choose_encoder(accept or "")
    return Exposition(encode(_Collected(_joined(families))), content_type)  # pyright: ignore[reportArgumentType]


def _joined(families: Iterable[Family]) -> list[Family]:
    """Let each name appear once, as both formats ask for."""
    joined: dict[str, Family] = {}
    for family in families:
        first = joined.setdefault(family.name, family)
        if first is not family:
            first.samples += family.samples
    return list(joined.values())
