"""Where people find runs at LangSmith: the ids that a link needs, asked for once and kept in a file.

A link to a run is ``{web_url}/o/{tenant_id}/projects/p/{project_id}/r/{run_id}``. LangSmith makes a project when its
first run arrives, but not at once; so a project that is not there yet is asked for again. Without it there is no link,
and nothing else is missing.

Layout of ``project.json``::

    {"endpoint": …, "web_url": …,
     "project": …, "project_id": …, "tenant_id": …,                    the one found last
     "projects": {"<name>": {"id": …, "tenant_id": …}, …}}              all of them, by name
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from msgspec import DecodeError, Struct, ValidationError, json

from clew.spool.files.regular import read_regular
from clew.spool.files.replace import replace_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from clew.sinks.http import Client

__all__ = ["Projects"]

ASK_AGAIN_S = 30.0
_LANGSMITH: Final = "api.smith.langchain.com"


class _Project(Struct):
    """A project, as ``/sessions`` reports it."""

    id: str
    tenant_id: str | None = None


class _Known(Struct):
    """The file."""

    endpoint: str
    web_url: str | None
    project: str = ""
    project_id: str = ""
    tenant_id: str | None = None
    projects: dict[str, _Project] = {}


class Projects:
    """Know the projects of one endpoint.

    Args:
        endpoint: Base URL of the API.
        path: The file.
    """

    def __init__(self, endpoint: str, path: Path) -> None:
        self._path = path
        self._known = _Known(endpoint, _web_url(endpoint))
        self._ask_after: dict[str, float] = {}
        with contextlib.suppress(OSError, DecodeError, ValidationError):
            known = json.decode(read_regular(path), type=_Known)
            self._known = known if known.endpoint == endpoint else self._known

    def id_of(self, name: str) -> str | None:
        """Return the id of a project, if it is known."""
        found = self._known.projects.get(name)
        return found.id if found else None

    def look_up(self, names: Iterable[str], client: Client, headers: Mapping[str, str]) -> None:
        """Ask for the projects of *names* that are not known; a failure is passed over until later."""
        now = time.monotonic()
        for name in sorted(set(names) - self._known.projects.keys()):
            if now < self._ask_after.get(name, now):
                continue
            self._ask_after[name] = now + ASK_AGAIN_S
            url = f"{self._known.endpoint}/sessions?limit=1&name={quote(name, safe='')}&include_stats=False"
            answer = client.get(url, headers)
            with contextlib.suppress(DecodeError, ValidationError, OSError):
                found = json.decode(answer.body, type=list[_Project]) if answer.is_success else []
                if found:
                    self._save(name, found[0])

    def _save(self, name: str, project: _Project) -> None:
        known = self._known
        known.projects[name] = project
        known.project, known.project_id, known.tenant_id = name, project.id, project.tenant_id
        replace_file(self._path, json.encode(known))


def _web_url(endpoint: str) -> str | None:
    """Guess where people look at what an API takes; None for one that is not LangSmith's."""
    there = urlsplit(endpoint)
    host = there.hostname or ""
    if host.endswith(_LANGSMITH):
        return f"https://{host.removesuffix(_LANGSMITH)}smith.langchain.com"
    return f"{there.scheme}://{there.netloc}" if there.path.startswith("/api") else None
