"""Where a benchmark ran: without that, a figure means nothing."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

__all__ = ["ROOT", "SCRATCH", "describe", "load_average"]

ROOT: Final = Path(__file__).resolve().parent.parent
SCRATCH: Final = ROOT / "build" / "benchmarks"
"""Where the contestants write: on the disk of the checkout, not on a file system in memory."""

_PACKAGES: Final = ("clew", "msgspec", "opentelemetry-sdk", "python-json-logger", "structlog")


def describe() -> dict[str, Any]:
    """Describe processor, memory, disk, system, Python, packages, commit and day."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "file_system": _file_system(SCRATCH),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _commit(),
        "day": datetime.now(UTC).date().isoformat(),
    }


def load_average() -> float:
    """Return the load of the last minute: far above 0 before a run means that the machine was not quiet."""
    return round(os.getloadavg()[0], 2)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _file_system(path: Path) -> str:
    """Name the type of the file system that *path* is on."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text("utf-8").splitlines()]
    except OSError:
        return "unknown"
    above = [(len(place), kind) for place, kind in mounts if path.is_relative_to(place)]
    return max(above, default=(0, "unknown"))[1]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
