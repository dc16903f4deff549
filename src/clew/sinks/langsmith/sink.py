"""Ship finished spans to LangSmith, as runs, and scores as feedback.

A run goes out once, when its span has ended, in one ``post``: LangSmith counts a create and an update as two events.
Ids are those of the spans, so that sending a batch again changes nothing; a conflict (409) is success. Logs without a
trace have no place at LangSmith and are passed over.

The HTTP client is our own: the SDK's drops a batch after some seconds of trouble, and this sink never does.

Before: ``agent.worker``. After: LangSmith, or anything that speaks its API.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError, Struct, ValidationError, field, json

from clew.dialects.finished_span import Ancestor
from clew.dialects.langsmith.bodies import (
    Body,
    BodyBounds,
    as_batch,
    as_feedback,
    as_multipart,
    chunks,
    parts_of_feedback,
    parts_of_run,
    whole_run,
)
from clew.dialects.langsmith.writing import feedback_of, run_of, run_of_log
from clew.errors import ConfigError
from clew.sinks.base import Batch, Delivered, Outcome, Producer, Rejected, Retry
from clew.sinks.http import Client, Response, judge
from clew.sinks.joiner import Join, Joiner
from clew.sinks.langsmith.project import Projects

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

    from clew.config import Settings
    from clew.spool.format import Position

__all__ = ["LangsmithSink", "make"]

ENDPOINT: Final = "https://api.smith.langchain.com"
CONFLICT: Final = 409
NO_SUCH_ENDPOINT: Final = 404
TOO_LARGE: Final = 413
REFUSED: Final = frozenset({400, 413, 422})
NO_INFO: Final = frozenset({400, 404, 405, 501})  # a server that has none, not one that is in trouble

Run = dict[str, Any]


class _Flags(Struct):
    zstd_compression_enabled: bool = False


class _Config(Struct):
    use_multipart_endpoint: bool = True
    size_limit: int | None = None
    size_limit_bytes: int | None = None


class _Info(Struct):
    """As much of ``/info`` as matters here."""

    instance_flags: _Flags = field(default_factory=_Flags)
    batch_ingest_config: _Config = field(default_factory=_Config)


class _Written(Struct):
    """What a batch has to report, and the events in it that have no form."""

    runs: list[Run] = []
    feedback: list[Run] = []
    refused: list[int] = []
    reason: str = ""

    def refuse(self, index: int, reason: str) -> None:
        self.refused.append(index)
        self.reason = reason

    @contextmanager
    def refusing(self, index: int) -> Generator[None]:
        """Refuse the event at *index* if it turns out to have no form."""
        try:
            yield
        except (ValueError, OverflowError) as error:
            self.refuse(index, str(error))


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
        self._projects = Projects(endpoint, directory / "project.json")
        self._info: _Info | None = None

    def resume(self, producer: Producer) -> Position | None:
        """Return where what is remembered of a producer's open spans ends."""
        return self._joiner.resume(producer)

    def deliver(self, batch: Batch) -> Outcome:
        """Send the spans that end in *batch*."""
        written = self._write(self._joiner.join(batch))
        if written.refused:
            return Rejected(tuple(sorted(written.refused)), written.reason)
        refusal = self._send(written)
        if refusal is not None and refusal.status == TOO_LARGE and len(written.runs) == 1 and _shorten(written.runs[0]):
            refusal = self._send(written)
        if refusal is not None:
            return _judge(refusal, batch)
        self._joiner.commit()
        self._projects.look_up({run["session_name"] for run in written.runs}, self._client, self._headers)
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

    def _write(self, join: Join) -> _Written:
        """Write what a batch has to report; an event is written whole or refused."""
        written = _Written()
        for index in join.malformed:
            written.refuse(index, "it is no event")
        for joined in join.spans:
            with written.refusing(joined.index):
                path = (*joined.path, _step(joined.event))
                scores = [score for log in joined.logs if (score := self._score(log, path, is_in_run=True))]
                written.runs.append(run_of(joined, self._project))
                written.feedback += scores
        for loose in join.loose:
            with written.refusing(loose.index):
                if score := self._score(loose.event, loose.path, is_in_run=False):
                    written.feedback.append(score)
                else:
                    written.runs.append(run_of_log(loose, self._project))
        for over in join.over:
            with written.refusing(over.index):
                written.feedback += filter(None, [self._score(over.event, over.path, is_in_run=False)])
        return written

    def _score(self, log: dict[str, Any], path: tuple[Ancestor, ...], *, is_in_run: bool) -> Run | None:
        """Write the feedback of a log, if it has any, and which project it is for, as soon as that is known."""
        score = feedback_of(log, path, is_in_run=is_in_run)
        project = self._projects.id_of(self._project or log["service"])
        return score if score is None or project is None else {**score, "session_id": project}

    def _send(self, written: _Written) -> Response | None:
        """Send runs and feedback in as many requests as it takes; return the answer that stood in the way, if one did."""
        if not written.runs and not written.feedback:
            return None
        info = self._ask_info()
        config = info.batch_ingest_config
        bounds = BodyBounds().within(config.size_limit, config.size_limit_bytes)
        if config.use_multipart_endpoint:
            items = [*map(parts_of_run, written.runs), *map(parts_of_feedback, written.feedback)]
            bodies = (
                as_multipart(c, is_compressed=info.instance_flags.zstd_compression_enabled)
                for c in chunks(items, bounds)
            )
            refusal = self._upload("/runs/multipart", bodies)
            if refusal is None or refusal.status != NO_SUCH_ENDPOINT:
                return refusal
            config.use_multipart_endpoint = False
        refusal = self._upload("/runs/batch", map(as_batch, chunks(map(whole_run, written.runs), bounds)))
        refusal = refusal or self._upload("/feedback", map(as_feedback, written.feedback))
        if refusal is not None and refusal.status == NO_SUCH_ENDPOINT:
            self._info = None  # neither endpoint is there: no old server, but a wrong address or a server that restarts
        return refusal

    def _upload(self, path: str, bodies: Iterable[Body]) -> Response | None:
        """Post *bodies* until one is not taken; return the answer to that one."""
        for body in bodies:
            answer = self._post(path, body)
            if not answer.is_success and answer.status != CONFLICT:
                return answer
        return None

    def _post(self, path: str, body: Body) -> Response:
        return self._client.post(f"{self._endpoint}{path}", body.data, self._headers | body.headers)

    def _ask_info(self) -> _Info:
        """Ask once what the server can do; one that does not say is taken for the plainest."""
        if self._info is not None:
            return self._info
        answer = self._client.get(f"{self._endpoint}/info", self._headers)
        if not answer.is_success and answer.status not in NO_INFO:
            return _Info()
        try:
            self._info = json.decode(answer.body, type=_Info) if answer.is_success else _Info()
        except (DecodeError, ValidationError):
            self._info = _Info()
        return self._info


def make(settings: Settings, environment: Mapping[str, str] = os.environ) -> LangsmithSink:
    """Make the sink that *settings* ask for; the factory of the entry point ``clew.sinks``.

    Named in ``sinks`` and given nothing else, it takes LangSmith's own variables: ``LANGSMITH_API_KEY``,
    ``LANGSMITH_ENDPOINT``, ``LANGSMITH_PROJECT``. They are not looked at otherwise: an application that traces with
    LangSmith's SDK as well would send everything twice.

    Raises:
        ConfigError: Neither key nor endpoint is given.
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


def _step(event: dict[str, Any]) -> Ancestor:
    return Ancestor(event["span_id"], event["timestamp"], event.get("parent_span_id"))


def _judge(refusal: Response, batch: Batch) -> Outcome:
    """Return what an answer that is no success means for a batch."""
    if refusal.status in REFUSED:
        return Rejected(tuple(range(len(batch.events))), refusal.reason)
    known = judge(refusal.status, refusal.headers, refusal.reason)
    return known or Retry(refusal.reason, is_misconfigured=True)  # such as 402: somebody has to look


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


def _version() -> str:
    try:
        return version("clew")
    except PackageNotFoundError:
        return "0"
