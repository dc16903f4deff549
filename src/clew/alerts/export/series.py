"""Which series of ``/metrics`` the signals count: what ``signals`` counts in the store, in PromQL.

Prometheus has sums of what the events of a system add up to, by service; it has no sessions, users, environments and
traces. What a signal needs of these, or of single events, cannot be exported: ``NOT_EXPORTED`` says why.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

from clew.alerts.export.promql import increase, quoted, selector
from clew.alerts.signals import FAITHFULNESS, RATE_LIMIT, UNSUPPORTED_ISSUE
from clew.catalog.series import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NOT_EXPORTED", "SHARES", "Counters", "ServiceSet", "ShareSeries", "latency_series", "limit_edges"]


class ServiceSet(NamedTuple):
    """Which services a rule is for.

    Attributes:
        only: This one; empty for all but ``others``.
        others: Those that it is not for, as they have rules of their own.
    """

    only: str = ""
    others: tuple[str, ...] = ()

    def matcher(self, label: str = "service") -> str:
        r"""Write what PromQL selects them by; empty for all.

        Example:
            >>> print(ServiceSet("batch").matcher(), ServiceSet("", ("batch", "a.b")).matcher())
            service="batch" service!~"a\\.b|batch"
        """
        if self.only:
            return f"{label}={quoted(self.only)}"
        if not self.others:
            return ""
        names = "|".join(_RE2_SPECIAL.sub(_ESCAPED, name) for name in sorted(self.others))
        return f"{label}!~{quoted(names)}"


class Counters(Struct, frozen=True):
    """Counters to add up.

    Attributes:
        metric: Their name.
        matchers: Which of them.
        renamed: Labels that are called otherwise there, ours first.
    """

    metric: str
    matchers: str = ""
    renamed: tuple[tuple[str, str], ...] = ()

    def grown(self, window: str, services: ServiceSet) -> str:
        """Write by how much each of them has grown in a window, with our labels."""
        service = dict(self.renamed).get("service", "service")
        vector = increase(selector(self.metric, self.matchers, services.matcher(service)), window)
        for ours, theirs in self.renamed:
            vector = f'label_replace(\n  {vector},\n  "{ours}", "$1", "{theirs}", "(.*)"\n)'
        return vector


class ShareSeries(Struct, frozen=True, kw_only=True):
    """Where the units of a share are counted.

    Attributes:
        units: Counters of all units.
        bad: Counters of the bad ones; empty where ``good`` has the others.
        good: Counters of the good ones; empty where ``bad`` has the others.
    """

    units: tuple[Counters, ...]
    bad: tuple[Counters, ...] = ()
    good: tuple[Counters, ...] = ()


_GEN_AI: Final = (("service", "service_name"), ("model", "gen_ai_request_model"))
_CALLS: Final = "gen_ai_client_operation_duration_seconds_count"
_RE2_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_ESCAPED: Final = r"\\\g<0>"
_FAITHFUL: Final = f'metric_name=~"{"|".join(sorted(FAITHFULNESS))}"'
_LIMITED: Final = Counters("clew_errors_total", f"error_type=~{quoted(f'(?is).*({RATE_LIMIT}).*')}")
_JUDGE_FAILED: Final = Counters("clew_errors_total", 'stage="evaluation"')

_REQUESTS: Final = ShareSeries(
    units=(Counters("clew_requests_total", 'status!="cancelled"'),),
    bad=(Counters("clew_requests_total", 'status=~"error|aborted"'),),
)

SHARES: Final[Mapping[str, tuple[ShareSeries, ...]]] = MappingProxyType(
    {
        "error_rate": (_REQUESTS,),
        "slo_burn": (_REQUESTS,),
        "unsupported_answers": (
            ShareSeries(
                units=(Counters("clew_answers_total"),),
                bad=(Counters("clew_issues_total", f'issue="{UNSUPPORTED_ISSUE}"'),),
            ),
            ShareSeries(
                units=(Counters("clew_score_count", _FAITHFUL),),
                bad=(Counters("clew_score_bucket", f'{_FAITHFUL},le="0.5"'),),
            ),
            ShareSeries(
                units=(Counters("clew_judged_claims_total"),),
                bad=(Counters("clew_unsupported_claims_total"),),
            ),
        ),
        "cache_miss": (
            ShareSeries(
                units=(Counters("clew_cache_requests_total"),),
                bad=(Counters("clew_cache_requests_total", 'cache_hit="false"'),),
            ),
        ),
        "provider_outage": (
            ShareSeries(units=(Counters(_CALLS, "", _GEN_AI),), bad=(Counters(_CALLS, 'error_type!=""', _GEN_AI),)),
        ),
        "rate_limit": (ShareSeries(units=(Counters(_CALLS, 'error_type=""', _GEN_AI), _LIMITED), bad=(_LIMITED,)),),
        "zero_hits": (
            ShareSeries(
                units=(Counters("clew_retrieval_hit_count_count"),),
                bad=(Counters("clew_retrieval_hit_count_bucket", 'le="0.0"'),),
            ),
        ),
        "judge_failing": (ShareSeries(units=(Counters("clew_answers_total"), _JUDGE_FAILED), bad=(_JUDGE_FAILED,)),),
    }
)
"""Of each share, where its units are counted: the first that has any in the longest window."""

NOT_EXPORTED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "groundedness_drop": "it compares distributions of scores, of which Prometheus has only buckets",
        "hanging_spans": "Prometheus has no spans that are still open",
        "new_error": "Prometheus has types of errors, not the faults and traces behind them",
    }
)
"""Signals that Prometheus cannot evaluate, and why."""


def latency_series(limit: float) -> ShareSeries | None:
    """Return where slow requests are counted; None where the histogram has no edge at the limit.

    Args:
        limit: From when on a request is slow, in seconds.
    """
    if limit not in limit_edges():
        return None
    edge = f'le="{float(limit)}"'
    return ShareSeries(
        units=(Counters("clew_request_duration_seconds_count"),),
        good=(Counters("clew_request_duration_seconds_bucket", edge),),
    )


def limit_edges() -> tuple[float, ...]:
    """Return the limits that ``latency_series`` knows, in seconds."""
    return METRICS["clew_request_duration_seconds"].buckets
