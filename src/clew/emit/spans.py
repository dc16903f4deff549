"""Spans: a piece of work that takes time, written when it opens and when it ends.

The first record, ``span_start``, is small: a process that dies before the second has still recorded what it
was doing. Inputs are encoded when the span opens, since the work may change them.

Before: the application, or ``tracing``. After: ``record`` (with ``context``) and ``process``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self, cast

from msgspec import UNSET

from clew import clock, ids
from clew.catalog.events import MODEL_CALLS, STAGE_OF_RUN_TYPE
from clew.emit import process
from clew.emit.context import Context, ContextEntry, activate, current, enter, leave
from clew.emit.record import Head
from clew.emit.safe.foreign import UNREADABLE, attempt, text_of
from clew.emit.values import encode_field
from clew.errors import ClewError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import TracebackType

__all__ = ["Span", "is_capturing", "span", "with_labels"]

SMALL_INPUTS_BYTES = 1024  # inputs up to this size ride on span_start too


class Span:
    """One piece of work that takes time; use ``span()`` or ``@traceable`` to make one.

    Args:
        name: What is being done; the event's ``message``.
        run_type: Its kind, in LangSmith's words: chain, llm, retriever, embedding, tool, prompt, parser.
        stage: Its stage; by default what the run type implies, else its parent's.
        inputs: What it works on.
        fields: What else to record about it.
        flags: What could not be read of that, in the words of ``clew.emit.sanitize``.

    Attributes:
        trace_id: Its trace, a UUID.
        span_id: Its own id, a UUID.
        status: ``"ok"``, ``"error"`` or ``"cancelled"``, once it has ended.
    """

    __slots__ = (
        "_context",
        "_entry",
        "_error",
        "_fields",
        "_flags",
        "_has_inputs",
        "_name",
        "_outer",
        "_run_type",
        "_stage",
        "_started_at",
        "_started_ns",
        "status",
    )

    def __init__(
        self,
        name: str,
        *,
        run_type: str | None = "chain",
        stage: str | None = None,
        inputs: Any = None,
        fields: dict[str, Any] | None = None,
        flags: Iterable[str] = (),
    ) -> None:
        self._name = name
        self._run_type = "chain" if run_type is None else text_of(run_type) or "chain"
        self._stage = ("" if stage is None else text_of(stage)) or STAGE_OF_RUN_TYPE.get(self._run_type)
        self._fields: dict[str, Any] = {}
        self._flags = set(flags)
        self._has_inputs = inputs is not None
        self._error: BaseException | None = None
        self._outer: Context | None = None
        self._entry: ContextEntry | None = None
        self._context: Context | None = None
        self.status = "running"
        if fields:
            self.set(**fields)
        if self._has_inputs:
            self._set_value("inputs", inputs)

    @property
    def trace_id(self) -> str | None:
        """Its trace, a UUID; None before it has opened."""
        return self._context and self._context.trace_id

    @property
    def span_id(self) -> str | None:
        """Its own id, a UUID; None before it has opened."""
        return self._context and self._context.span_id

    @property
    def context(self) -> Context | None:
        """The ids in force inside it; None before it has opened."""
        return self._context

    def set(self, /, **fields: Any) -> None:
        """Add fields to the span; as with a log, names of metrics become metrics."""
        for name, value in fields.items():
            # Numbers and texts cannot change until the span ends; everything else is taken as it is now.
            self._fields[name] = value if type(value) in _IMMUTABLE else self._encode(name, value)

    def set_outputs(self, outputs: Any, *, flags: Iterable[str] = ()) -> None:
        """Record the outputs, and what of them could not be read.

        The tokens that the answer of a model reports (``usage_metadata``, or the ``usage`` of a provider's library)
        become metrics of the span, unless it has tokens already.
        """
        self._flags.update(flags)
        self._set_value("outputs", outputs)
        if self._run_type in MODEL_CALLS or (type(outputs) is dict and "usage_metadata" in outputs):
            self._read_usage(cast("object", outputs))

    def _read_usage(self, outputs: object) -> None:
        from clew.emit.usage import fields_of_answer  # only the answer of a model needs it: `import clew` stays cheap

        if self._fields.keys().isdisjoint(("tokens_in", "tokens_out")):
            fields = attempt(fields_of_answer, outputs, self._run_type)
            if isinstance(fields, dict):
                self.set(**{name: value for name, value in fields.items() if name not in self._fields})

    def rename(self, name: str) -> None:
        """Give it a better name, for what is known only while it runs; its end carries it."""
        self._name = name

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed with *error*, which the caller has dealt with."""
        self._error = error

    def mark_first_item(self) -> None:
        """Note how long the first item of a stream took; of an llm span it is the first token."""
        if self._run_type == "llm" and "time_to_first_token_ms" not in self._fields:
            self._fields["time_to_first_token_ms"] = self._elapsed_ms()

    def begin(self, parent: Context | None = None) -> None:
        """Open the span below *parent* (default: the ids in force) and put it in force. Once only."""
        if self._context is not None:
            return
        try:
            above = current() if parent is None else parent
            self._started_at = clock.now()
            self._started_ns = clock.monotonic_ns()
            span_id = ids.mint(clock.nanoseconds_of(self._started_at))
            self._context = Context(
                trace_id=above.trace_id or span_id,
                span_id=span_id,
                user_id=above.user_id,
                request_id=above.request_id,
                session_id=above.session_id,
                stage=self._stage or above.stage,
                parent_span_id=above.span_id,
            )
            self._entry = enter(self._context)
            self._outer = self._entry[1]
            fields = dict(self._fields)
            if self._has_inputs and len(cast("bytes", fields["inputs"])) > SMALL_INPUTS_BYTES:
                del fields["inputs"]
            self._emit("span_start", "INFO", fields, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - the emit guard; globals are None when the interpreter ends
            give_up = getattr(process, "give_up", None)
            if give_up is not None:
                give_up(failure)

    def end(self, error: BaseException | None = None, *, stays: bool = False) -> None:
        """Close the span: failed if *error* is given or ``fail`` was called, else ok. Once only.

        Args:
            error: What was raised.
            stays: Its ids stay in force, for work that follows it and belongs to it.
        """
        if self.status != "running" or self._context is None or self._outer is None:
            return
        try:
            error = self._error if error is None else error
            self.status = _status_of(error)
            if self._entry is not None and not stays:
                leave(self._entry)
            self._entry = None
            self._fields["duration_ms"] = self._elapsed_ms()
            failure = error if self.status == "error" else None
            self._emit("span", "INFO" if failure is None else "ERROR", self._fields, failure)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as failure:  # noqa: BLE001 - the emit guard; globals are None when the interpreter ends
            give_up = getattr(process, "give_up", None)
            if give_up is not None:
                give_up(failure)

    def suspend(self) -> Context:
        """Take the span out of force between two items of a generator; return what was in force inside."""
        inside = current()
        if self._outer is not None:
            activate(self._outer)
        self._entry = None
        return inside

    def resume(self, inside: Context) -> None:
        """Put what ``suspend`` returned in force again, wherever the generator is continued."""
        self._entry = enter(inside)
        self._outer = self._entry[1]

    def _elapsed_ms(self) -> float:
        return round((clock.monotonic_ns() - self._started_ns) / 1e6, 3)

    def _emit(self, kind: str, level: str, fields: dict[str, Any], error: BaseException | None) -> None:
        assert self._context is not None
        flags = tuple(sorted(self._flags)) if self._flags else ()
        head = Head(self._started_at, kind, level, self._name, UNSET, self._run_type, self.status, flags)
        process.emit(head, fields, error, self._context)

    def _set_value(self, name: str, value: Any) -> None:
        if is_capturing():
            self._fields[name] = self._encode(name, value)
        elif name == "inputs":
            self._has_inputs = False

    def _encode(self, name: str, value: Any) -> Any:
        encoded = attempt(encode_field, name, value, process.limits(), self._flags)
        if encoded is UNREADABLE:
            self._flags.add("unreadable")
            return repr(UNREADABLE)
        return encoded

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    async def __aenter__(self) -> Self:
        self.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)


_IMMUTABLE: Final = frozenset({str, int, float, bool, type(None)})


def span(
    name: str,
    *,
    run_type: str = "chain",
    stage: str | None = None,
    inputs: Any = None,
    tags: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Span:
    """Make a span for a block of code, to be used with ``with`` or ``async with``.

    Args:
        name: What is being done.
        run_type: Its kind, in LangSmith's words.
        stage: ``"ingestion"``, ``"retrieval"``, ``"generation"``, ``"evaluation"`` or ``"other"``.
        inputs: What it works on.
        tags: Words to find it by.
        metadata: What else belongs to it.
        fields: What to record about it; more with ``Span.set`` while it runs.

    Example:
        >>> with span("rerank", stage="retrieval", top_k=5) as rerank:
        ...     rerank.set(kept=3)
    """
    if tags is not None or metadata is not None:
        fields = {**with_labels({}, tags, metadata), **fields}
    return Span(name, run_type=run_type, stage=stage, inputs=inputs, fields=fields)


def is_capturing() -> bool:
    """Whether inputs and outputs are to be recorded; not with settings that are wrong, as ``emit`` reports."""
    try:
        return process.settings().capture
    except ClewError:
        return False


def with_labels(fields: dict[str, Any], tags: Any, metadata: Any) -> dict[str, Any]:
    """Add what is well-formed of *tags* and *metadata*: a caller's slip is no reason to fail its call.

    What LangSmith's clients say of a model in the metadata (``ls_model_name``, ``ls_provider``) becomes a field as well.
    """
    if issubclass(type(tags), (list, tuple, set, frozenset)):
        added: object = attempt(list[Any], tags)
        if added:
            fields["tags"] = [*fields.get("tags", []), *added] if type(added) is list else added
    if metadata is not None and attempt(issubclass, cast("object", type(metadata)), Mapping) is True:
        added = attempt(lambda: {text_of(name): value for name, value in metadata.items()})
        if added:
            fields["metadata"] = {**fields.get("metadata", {}), **added} if isinstance(added, dict) else added
        if isinstance(added, dict) and any(name.startswith("ls_") for name in added):
            from clew.catalog.usage import FIELDS_BY_METADATA

            fields |= {FIELDS_BY_METADATA[name]: value for name, value in added.items() if name in FIELDS_BY_METADATA}
    return fields


def _status_of(error: BaseException | None) -> str:
    if error is None:
        return "ok"
    # asyncio.CancelledError, GeneratorExit, KeyboardInterrupt and SystemExit are not Exceptions:
    # somebody asked the work to stop, it did not fail.
    return "error" if issubclass(type(error), Exception) else "cancelled"
