"""Who takes part: what to install, and the environment that keeps it on this machine.

Every contestant but clew has a virtual environment of its own, in a cache outside the checkout; clew is the one
of this checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from benchmarks.machine import ROOT

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONTESTANTS", "Contestant", "install"]

_KEPT: Final = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR")
"""What a contestant sees of the caller's environment: no proxies, no keys, no endpoints."""

_NO_PROXY: Final = {"NO_PROXY": "*", "no_proxy": "*", "DO_NOT_TRACK": "1", "OTEL_SDK_DISABLED": "false"}


@dataclass(frozen=True)
class Contestant:
    """A column of the table.

    Attributes:
        name: How it is called.
        module: Its module in ``peers``.
        packages: What pip installs; the first one is the one whose version is told. Empty for clew.
        environment: Environment variables; ``{url}`` is where its backend listens.
        is_extra: Takes part in one row only, for a note.
    """

    name: str
    module: str
    packages: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    is_extra: bool = False

    @property
    def is_clew(self) -> bool:
        return not self.packages

    def python(self, cache: Path) -> str:
        """Return its interpreter."""
        return sys.executable if self.is_clew else str(cache / self.packages[0] / "bin" / "python")

    def variables(self, url: str, home: Path) -> dict[str, str]:
        """Return the whole environment of its processes; *home* is theirs alone."""
        told = {name: value.format(url=url) for name, value in self.environment.items()}
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        own = {
            "HOME": str(home),
            "CLEW_DATA_DIR": str(home / "clew"),
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}" if self.is_clew else str(ROOT),
        }
        return {**kept, **_NO_PROXY, **own, **told}


CONTESTANTS: Final = (
    Contestant("clew", "clew"),
    Contestant("langfuse", "langfuse", ("langfuse",), {"LANGFUSE_HOST": "{url}", "LANGFUSE_BASE_URL": "{url}"}),
    Contestant(
        "langsmith",
        "langsmith",
        ("langsmith",),
        {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": "{url}", "LANGSMITH_API_KEY": "lsv2_pt_local"},
    ),
    Contestant(
        "phoenix-otel",
        "phoenix",
        ("arize-phoenix-otel",),
        {"PHOENIX_COLLECTOR_ENDPOINT": "{url}"},
    ),
    Contestant(
        "phoenix-otel, batch=True",
        "phoenix",
        ("arize-phoenix-otel",),
        {"PHOENIX_COLLECTOR_ENDPOINT": "{url}", "LOSS_BATCH": "1"},
    ),
    Contestant("logfire", "logfire", ("logfire",), {"LOGFIRE_BASE_URL": "{url}"}),
    Contestant(
        "opik",
        "opik",
        ("opik",),
        {
            "OPIK_URL_OVERRIDE": "{url}/api",
            "OPIK_WORKSPACE": "default",
            "OPIK_SENTRY_ENABLE": "false",
            "OPIK_ANALYTICS_ENABLE": "false",
            "OPIK_ENABLE_LITELLM_MODELS_MONITORING": "false",
        },
    ),
    Contestant("opentelemetry-sdk", "opentelemetry", ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")),
    Contestant("clew, propagate threads", "clew", (), {"LOSS_THREADS": "1"}, is_extra=True),
)


def install(contestant: Contestant, cache: Path) -> tuple[str | None, str]:
    """Have the contestant's environment; return its version, or None and why there is none."""
    if not contestant.is_clew:
        place = cache / contestant.packages[0]
        if not (place / "installed").exists():
            venv.create(place, with_pip=True, clear=True)
            command = [contestant.python(cache), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            done = subprocess.run([*command, *contestant.packages], capture_output=True, text=True, check=False)
            if done.returncode:
                lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or ["pip failed"]
                return None, lines[-1]
            (place / "installed").touch()
    package = contestant.packages[0] if contestant.packages else "clew"
    code = f"import importlib.metadata, json; print(json.dumps(importlib.metadata.version({package!r})))"
    found = subprocess.run([contestant.python(cache), "-c", code], capture_output=True, text=True, check=False)
    if found.returncode:
        return None, found.stderr.strip().splitlines()[-1]
    return json.loads(found.stdout), ""
