"""How much room the store has, and for how long that lasts."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from msgspec import Struct

from clew.store.postgres.server import embedded

if TYPE_CHECKING:
    from clew.config import Settings
    from clew.store.postgres.upkeep.status import StoreStatus

__all__ = ["Room", "measure_room"]


class Room(Struct, frozen=True):
    """The room that is left.

    Attributes:
        free_bytes: What the disk has left for the store; None when not known.
        days_until_full: How long that lasts at the growth of the last days; None when that is not known or nothing.
    """

    free_bytes: int | None
    days_until_full: float | None


def measure_room(settings: Settings, dsn: str, status: StoreStatus) -> Room:
    """Say how much room is left.

    The disk of the embedded PostgreSQL is asked. One elsewhere does not say how large its disk is; the setting
    ``store_max_bytes`` does. What retention gives back is not counted: a store that keeps as many days as it drops
    has as much room tomorrow.

    Args:
        settings: ``data_dir`` and ``store_max_bytes``.
        dsn: The store.
        status: What it holds.
    """
    directory = settings.data_dir / embedded.DIRECTORY
    if settings.store_max_bytes is not None:
        free = max(0, settings.store_max_bytes - status.database_bytes)
    elif settings.dsn is None or embedded.running_dsn(directory) == dsn:
        free = shutil.disk_usage(directory).free
    else:
        free = None
    growth = status.growth_bytes_a_day
    return Room(free, None if free is None or not growth else round(free / growth, 1))
