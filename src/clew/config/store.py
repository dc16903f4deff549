"""The store: where it is, and how long it keeps what."""

from typing import Annotated

from msgspec import Meta

from clew.config.declaring import Secret
from clew.config.spool import SpoolSettings

__all__ = ["StoreSettings"]


class StoreSettings(SpoolSettings, frozen=True, kw_only=True):
    """The settings of the store, with those of what fills it.

    Attributes:
        dsn: PostgreSQL to ship to, as a libpq URL; None for none.
        retention_hot_days: Days that the store keeps whole.
        retention_warm_days: Days after which everything in the store is gone, but for pinned traces.
        retention_sample: Share of ordinary traces that stays between the two, 0 to 1; 1 keeps them all.
        retention_slow_ms: From which duration on a request is slow, and stays; None for the slowest of its day.
        retention_slow_share: Share of a day's requests that is slow, 0 to 1.
        retention_min_score: Below which score a trace stays.
        store_max_bytes: Disk space that a PostgreSQL elsewhere has for us, for ``clew store status``; None for unknown.
    """

    dsn: Secret | None = None
    retention_hot_days: Annotated[int, Meta(ge=1, le=36_500)] = 7
    retention_warm_days: Annotated[int, Meta(ge=1, le=36_500)] = 30
    retention_sample: Annotated[float, Meta(ge=0, le=1)] = 0.1
    retention_slow_ms: Annotated[float, Meta(ge=0)] | None = None
    retention_slow_share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    retention_min_score: Annotated[float, Meta(ge=-1_000_000, le=1_000_000)] = 0.5
    store_max_bytes: Annotated[int, Meta(gt=0)] | None = None
