"""Ship finished spans to LangSmith, as runs, and scores as feedback.

A run goes out once, when its span has ended, in one ``post``: LangSmith counts a create and an update as two events.
Ids are those of the spans, so that sending a batch again changes nothing; a conflict (409) is success. Logs without a
trace have no place at LangSmith and are passed over.

The HTTP client is our own: the SDK's drops a batch after some seconds of trouble, and this sink never does.

Before: ``agent.worker``. After: LangSmith, or anything that speaks its API.
"""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from msgspec import DecodeError, Struct, ValidationError, field, json

from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Outcome, Producer, Rejected
from clew.sinks.http import Client, Response, judge
from clew.sinks.joiner import Join, Joiner, Step
from clew.sinks.langsmith_runs import feedback_of, run_of, run_of_log
from clew.sinks.langsmith_wire import Body, as_batch, as_multipart, chunks, parts_of_feedback, parts_of_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clew.config import Settings
    from clew.spool.format import Position

__all__ = ["LangsmithSink", "make"]

ENDPOINT: Final = "https://api.smith.langchain.com"
CONFLICT: Final = 409
NO_SUCH_ENDPOINT: Final = 404
TOO_LARGE: Final = 413
REFUSED: Final = frozenset({400, 413, 422})

Run = dict[str, Any]


class _Flags(Struct):
    zstd_compression_enabled: bool = False


class _Limits(Struct):
    use_multipart_endpoint: bool = True


class _Info(Struct):
    """As much of ``/info`` as matters here."""

    instance_flags: _Flags = field(default_factory=_Flags)
    batch_ingest_config: _Limits = field(default_factory=_Limits)


class _Project(Struct):
    """A project, as ``/sessions`` tells it."""

    id: str
    tenant_id: str | None = None


class LangsmithSink:
    """Deliver spans as runs.

    Args:
        endpoint: Base URL of the API.
        key: The API key; None for a server that asks for none.
        project: The project; None for one named after each service.
        workspace: The workspace, for keys that are valid in several.
        directory: Where to remember the spans that are open, and the project's id.

    Attributes:
        name: ``"langsmith"``.
    """

    name = "langsmith"
    max_events = 1000
    max_bytes = 4 * 1024 * 1024
    linger_s = 0.02  # with the worker's rounds some twenty requests a second at most; LangSmith takes eighty

    def __init__(
        self, endpoint: str, *, key: str | None, project: str | None, workspace: str | None, directory: Path
    ) -> None:
        self._endpoint = endpoint
        self._project = project
        self._headers = {"Accept": "application/json", "User-Agent": f"clew/{_version()}"}
        self._headers |= {} if key is None else {"x-api-key": key}
        self._headers |= {} if workspace is None else {"X-Tenant-Id": workspace}
        self._client = Client()
        self._joiner = Joiner(directory)
        self._directory = directory
        self._info: _Info | None = None
        self._known_projects: set[str] = set()

    def resume(self, producer: Producer) -> Position | None:
        """Return where what is remembered of a producer's open spans ends."""
        return self._joiner.resume(producer)

    def deliver(self, batch: Batch) -> Outcome:
        """Send the spans that end in *batch*."""
        join = self._joiner.join(batch)
        runs, feedback, refused, reason = _write(join, self._project)
        if refused:
            return Rejected(tuple(sorted(refused)), reason)
        if runs or feedback:
            trouble = self._send(runs, feedback, batch)
            if trouble is not None:
                return trouble
            self._note_projects({run["session_name"] for run in runs})
        self._joiner.commit()
        return Delivered()

    def interrupt(self) -> None:
        """Give up the request under way.

        Threads:
            Called by another thread than the worker's, when a server takes the connection and says nothing.
        """
        self._client.interrupt()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _send(self, runs: list[Run], feedback: list[Run], batch: Batch) -> Outcome | None:
        """Send runs and feedback in as many requests as it takes; None when all are taken."""
        info = self._ask_info()
        if not info.batch_ingest_config.use_multipart_endpoint:
            return self._send_as_json(runs, feedback, batch)
        items = [*map(parts_of_run, runs), *map(parts_of_feedback, feedback)]
        for chunk in chunks(items):
            body = as_multipart(chunk, is_compressed=info.instance_flags.zstd_compression_enabled)
            answer = self._post("/runs/multipart", body)
            if answer.status == NO_SUCH_ENDPOINT:
                info.batch_ingest_config.use_multipart_endpoint = False
                return self._send_as_json(runs, feedback, batch)
            if answer.status == TOO_LARGE and len(runs) == 1 and _shorten(runs[0]):
                return self._send(runs, feedback, batch)
            if (trouble := _judge(answer, batch)) is not None:
                return trouble
        return None

    def _send_as_json(self, runs: list[Run], feedback: list[Run], batch: Batch) -> Outcome | None:
        """Do the same for a server without the multipart endpoint."""
        answers = [self._post("/runs/batch", as_batch(runs))] if runs else []
        headers = {"Content-Type": "application/json"}
        for one in feedback:
            if answers and _judge(answers[-1], batch) is not None:
                break
            answers.append(self._post("/feedback", Body(json.encode(one), headers)))
        return _judge(answers[-1], batch) if answers else None

    def _post(self, path: str, body: Body) -> Response:
        return self._client.post(f"{self._endpoint}{path}", body.data, self._headers | body.headers)

    def _ask_info(self) -> _Info:
        """Ask once what the server can do; one that does not say is taken for the plainest."""
        if self._info is None:
            answer = self._client.get(f"{self._endpoint}/info", self._headers)
            if not answer.is_success:
                return _Info()
            try:
                self._info = json.decode(answer.body, type=_Info)
            except (DecodeError, ValidationError):
                self._info = _Info()
        return self._info

    def _note_projects(self, names: set[str]) -> None:
        """Save, once for each project, what a link to its runs needs; without it there is no link, and no harm."""
        for name in sorted(names - self._known_projects):
            self._known_projects.add(name)
            url = f"{self._endpoint}/sessions?limit=1&name={quote(name, safe='')}&include_stats=False"
            answer = self._client.get(url, self._headers)
            with contextlib.suppress(DecodeError, ValidationError, OSError):
                found = json.decode(answer.body, type=list[_Project]) if answer.is_success else []
                if found:
                    self._save_project(name, found[0])

    def _save_project(self, name: str, project: _Project) -> None:
        path = self._directory / "project.json"
        told: dict[str, Any] = {
            "endpoint": self._endpoint,
            "project": name,
            "project_id": project.id,
            "tenant_id": project.tenant_id,
            "web_url": _web_url(self._endpoint),
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_bytes(json.encode(told))
        temporary.replace(path)


def make(settings: Settings, environment: Mapping[str, str] = os.environ) -> LangsmithSink:
    """Make the sink that *settings* ask for; the factory of the entry point ``clew.sinks``.

    Named in ``sinks`` and told nothing else, it takes LangSmith's own variables: ``LANGSMITH_API_KEY``,
    ``LANGSMITH_ENDPOINT``, ``LANGSMITH_PROJECT``. They are not looked at otherwise: an application that traces with
    LangSmith's SDK as well would send everything twice.

    Raises:
        ConfigError: Neither key nor endpoint is told.
        OSError: The spool cannot be written to.
    """
    key, endpoint, project = settings.langsmith_api_key, settings.langsmith_endpoint, settings.langsmith_project
    if key is None and endpoint is None:
        key, endpoint = environment.get("LANGSMITH_API_KEY"), environment.get("LANGSMITH_ENDPOINT")
        project = project or environment.get("LANGSMITH_PROJECT")
    if not key and not endpoint:
        raise ConfigError("the sink 'langsmith' has no key", hint="set CLEW_LANGSMITH_API_KEY")
    return LangsmithSink(
        (endpoint or ENDPOINT).rstrip("/"),
        key=key or None,
        project=project or None,
        workspace=settings.langsmith_workspace,
        directory=settings.spool_dir / ".sinks" / LangsmithSink.name,
    )


def _write(join: Join, project: str | None) -> tuple[list[Run], list[Run], list[int], str]:
    """Write what a batch has to tell: runs, feedback, the indexes of events without a form, and why they have none."""
    runs: list[Run] = []
    feedback: list[Run | None] = []
    refused, reason = list(join.malformed), "it is no event"
    for joined in join.spans:
        try:
            runs.append(run_of(joined, project))
            path = (*joined.path, _step(joined.event))
            feedback += [feedback_of(log, path, is_in_run=True) for log in joined.logs]
        except (ValueError, OverflowError) as error:
            refused.append(joined.index)
            reason = str(error)
    for loose in join.loose:
        try:
            scored = feedback_of(loose.event, loose.path, is_in_run=False)
            feedback.append(scored)
            if scored is None:
                runs.append(run_of_log(loose, project))
        except (ValueError, OverflowError) as error:
            refused.append(loose.index)
            reason = str(error)
    return runs, [one for one in feedback if one is not None], refused, reason


def _step(event: dict[str, Any]) -> Step:
    return Step(event["span_id"], event["timestamp"], event.get("parent_span_id"))


def _judge(answer: Response, batch: Batch) -> Outcome | None:
    """Tell what an answer means for a batch; None when it was taken."""
    if answer.status == CONFLICT:
        return None
    if answer.status in REFUSED:
        return Rejected(tuple(range(len(batch.events))), answer.reason)
    return judge(answer.status, answer.headers, answer.reason)


def _shorten(run: Run) -> bool:
    """Leave inputs and outputs out of a run that is too large even alone, and say so in it; false if they are out."""
    clew = run["extra"]["clew"]
    if clew.get("is_shortened"):
        return False
    sizes = {name: len(json.encode(run[name])) for name in ("inputs", "outputs", "events") if run.get(name)}
    run |= {"inputs": {}, "outputs": {}, "events": []}
    run["extra"]["metadata"]["left_out_bytes"] = sum(sizes.values())
    clew |= {"is_shortened": True, "inputs": "absent", "outputs": "absent"}
    return True


def _web_url(endpoint: str) -> str | None:
    """Guess where people look at what an API takes; None for one that is not LangSmith's."""
    there = urlsplit(endpoint)
    host = there.hostname or ""
    if host.endswith("api.smith.langchain.com"):
        return f"https://{host.removesuffix('api.smith.langchain.com')}smith.langchain.com"
    return f"{there.scheme}://{there.netloc}" if there.path.startswith("/api") else None


def _version() -> str:
    try:
        return version("clew")
    except PackageNotFoundError:
        return "0"
