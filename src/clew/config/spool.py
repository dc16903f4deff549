"""Where clew keeps its data on this host, and how much of the disk the spool may take."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta

from clew.config.declaring import MIB, PREFIX, Size, directory
from clew.config.emit import EmitSettings

__all__ = ["SpoolSettings", "data_dir"]


class SpoolSettings(EmitSettings, frozen=True, kw_only=True):
    """The settings of the spool, with those of what emits into it.

    Attributes:
        data_dir: Where clew keeps its data: the spool and the embedded PostgreSQL.
        spool_dir: Root of the spool; ``<data_dir>/spool`` by default.
        segment_bytes: Size of a spool segment.
        spool_max_bytes: What the spools of this host may take together.
        spool_keep_free_bytes: Free disk space to leave.
        replay_window_s: How long events stay on the spool after every sink has taken them, in seconds, within the
            bounds above, so that a store that comes back from a backup is filled up again; 0 for not at all.
        flush_interval_s: How often the spool is brought to the disk itself, in seconds.
    """

    data_dir: Path
    spool_dir: Path
    segment_bytes: Annotated[int, Meta(ge=64 * 1024, le=64 * MIB)] = 4 * MIB
    spool_max_bytes: Size = 1024 * MIB
    spool_keep_free_bytes: Size = 256 * MIB
    replay_window_s: Annotated[float, Meta(ge=0, le=31_536_000)] = 900.0
    flush_interval_s: Annotated[float, Meta(gt=0, le=3600)] = 0.1

    @classmethod
    def complete(cls, values: dict[str, Any], sources: Mapping[str, str]) -> None:
        """Find the directories."""
        super().complete(values, sources)
        home = values["data_dir"] = directory("data_dir", values.get("data_dir") or data_dir(), sources)
        values["spool_dir"] = directory("spool_dir", values.get("spool_dir") or home / "spool", sources)


def data_dir() -> Path:
    """Return where clew keeps its data unless an argument or ``clew.toml`` names another directory.

    ``CLEW_DATA_DIR``, else ``$XDG_DATA_HOME/clew``, else ``~/.local/share/clew`` (macOS:
    ``~/Library/Application Support/clew``).
    """
    if named := os.environ.get(f"{PREFIX}DATA_DIR"):
        return Path(named).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "clew"
    shared = os.environ.get("XDG_DATA_HOME")
    return (Path(shared) if shared else Path.home() / ".local" / "share") / "clew"
