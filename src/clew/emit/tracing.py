"""``@traceable``: every call of a function as a span.

Four kinds of functions, one wrapper each. A generator's span opens at its first item and ends
at its last; its body runs in the span wherever it is consumed, and the consumer never does.
One that is abandoned, closed or cancelled is recorded as cancelled, not as failed.

Before: the application. After: ``spans``.
"""

from __future__ import annotations

from functools import partial, wraps
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload
from weakref import finalize

from clew.emit.context import Context, current
from clew.emit.safe.foreign import STOPS, attempt, name_of, text_of
from clew.emit.spans import Span, is_capturing, span, with_labels

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence

    Process = Callable[[Any], Any]

__all__ = ["Span", "span", "traceable"]

P = ParamSpec("P")
R = TypeVar("R")

MAX_KEPT_ITEMS = 10_000  # items of a generator to keep for its outputs


@overload
def traceable(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def traceable(
    run_type: str = "chain",
    /,
    *,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    tags: Sequence[str] | None = None,
    process_inputs: Process | None = None,
    process_outputs: Process | None = None,
    reduce_fn: Callable[[list[Any]], Any] | None = None,
    enabled: bool | None = None,
    stage: str | None = None,
    **options: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def traceable(function: Any = "chain", /, **options: Any) -> Any:
    """Make every call of a function a span: LangSmith's decorator, writing to clew.

    Works on functions, coroutine functions, generators and async generators, on methods, and
    on functions that return a generator; the traced function keeps its signature and result.

    Args:
        function: The function, when used without parentheses; else the run type.
        options: ``run_type`` (default ``"chain"``), ``name`` (default: the function's),
            ``metadata``, ``tags``, ``stage``; ``process_inputs`` and ``process_outputs``
            change what is recorded; ``reduce_fn`` turns the list of a generator's items into
            its recorded outputs; ``enabled=False`` leaves the function as it is. What else
            LangSmith's decorator knows (``client``, ``project_name`` …) is accepted and ignored.

    Returns:
        The traced function, or a decorator.

    Example:
        >>> @traceable(run_type="retriever")
        ... def search(query: str, k: int = 5) -> list[str]:
        ...     return [query] * k
        >>> len(search("why"))
        5
    """
    if callable(function) or isinstance(function, classmethod):
        return _trace(function, options)
    run_type = options.pop("run_type", function)

    def decorate(decorated: Callable[..., Any]) -> Callable[..., Any]:
        return _trace(decorated, {**options, "run_type": run_type})

    return decorate


class _Plan:
    """What is known of a traced function before it is called."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        named: Any = getattr(function, "func", function) if _is_partial(function) else function
        name = options.get("name")
        self.name = ("" if name is None else text_of(name)) or text_of(
            getattr(named, "__name__", None) or type(named).__name__
        )
        self.run_type = options.get("run_type")
        self.stage: str | None = options.get("stage")
        self.is_enabled = options.get("enabled") is not False
        self.process_inputs: Process | None = options.get("process_inputs")
        self.process_outputs: Process | None = options.get("process_outputs")
        self.reduce_fn: Callable[[list[Any]], Any] | None = options.get("reduce_fn")
        self._labels = with_labels({}, options.get("tags"), options.get("metadata"))
        self._signature = _Signature(function)

    def open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Span:
        """Make the span of one call; it is not begun yet."""
        extra = kwargs.pop("langsmith_extra", None) if "langsmith_extra" in kwargs else None
        fields, name = self._labels, self.name
        if type(extra) is dict:
            options = cast("dict[str, Any]", extra)
            name = name if options.get("name") is None else text_of(options["name"]) or name
            fields = with_labels(dict(fields), options.get("tags"), options.get("metadata"))
        inputs, flags = None, ()
        if is_capturing():
            inputs, flags = _processed(self.process_inputs, self._signature.bind(args, kwargs))
        return Span(name, run_type=self.run_type, stage=self.stage, inputs=inputs, fields=fields, flags=flags)

    def finish(self, span: Span, outputs: Any) -> None:
        """End the span of a call that returned *outputs*."""
        if outputs is not None:
            processed, flags = _processed(self.process_outputs, outputs)
            span.set_outputs(processed, flags=flags)
        span.end()

    def finish_items(self, span: Span, items: list[Any], error: BaseException | None = None) -> None:
        """End the span of a generator that gave *items*."""
        reduced, flags = _processed(self.reduce_fn, items)
        outputs, more_flags = _processed(self.process_outputs, reduced)
        span.set_outputs(outputs, flags=(*flags, *more_flags))
        span.end(error)


class _Signature:
    """Name the arguments of a call without the cost of ``Signature.bind``."""

    def __init__(self, function: Callable[..., Any]) -> None:
        import inspect

        kinds = inspect.Parameter
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (TypeError, ValueError):
            parameters = []
        positional = [p.name for p in parameters if p.kind in {kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD}]
        self._skips_first = bool(positional) and positional[0] in {"self", "cls"}
        self._names = positional
        self._rest = next((p.name for p in parameters if p.kind is kinds.VAR_POSITIONAL), "args")
        self._defaults = {p.name: p.default for p in parameters if p.default is not kinds.empty}

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, defaults included, without ``self`` or ``cls``."""
        bound = dict(zip(self._names, args, strict=False))
        if len(args) > len(self._names):
            bound[self._rest] = args[len(self._names) :]
        bound |= kwargs
        for name, default in self._defaults.items():
            bound.setdefault(name, default)
        if self._skips_first:
            bound.pop(self._names[0], None)
        return bound


def _trace(function: Any, options: dict[str, Any]) -> Any:
    """Wrap *function*; a method that the decorator meets from above stays the kind of method it is."""
    if type(function) in {classmethod, staticmethod}:
        return type(function)(_trace(function.__func__, options))
    plan = _Plan(function, options)
    return _wrap(function, plan) if plan.is_enabled else function


def _wrap(function: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    """Choose the wrapper for the kind of *function*."""
    import inspect

    has_own_kind = inspect.isroutine(function) or _is_partial(function)
    target = function if has_own_kind else getattr(function, "__call__", function)  # noqa: B004
    if inspect.isasyncgenfunction(target):
        return _trace_async_generator(function, plan)
    if inspect.isgeneratorfunction(target):
        return _trace_generator(function, plan)
    if inspect.iscoroutinefunction(target):
        return _trace_coroutine(function, plan)
    return _trace_function(function, plan)


def _trace_function(function: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        span = plan.open(args, kwargs)
        span.begin()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            span.end(error)
            raise
        return _finish_or_follow(plan, span, result)

    return traced


def _trace_coroutine(function: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    @wraps(function)
    async def traced(*args: Any, **kwargs: Any) -> Any:
        span = plan.open(args, kwargs)
        span.begin()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            span.end(error)
            raise
        return _finish_or_follow(plan, span, result)

    return traced


def _trace_generator(function: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        # The parent is whoever calls, not whoever consumes: the span remembers it until the first item.
        span, parent = plan.open(args, kwargs), current()
        return _drive(plan, span, function(*args, **kwargs), parent, _Items())

    return traced


def _trace_async_generator(function: Callable[..., Any], plan: _Plan) -> Callable[..., Any]:
    @wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        span, parent = plan.open(args, kwargs), current()
        return _drive_async(plan, span, function(*args, **kwargs), parent, _Items())

    return traced


def _finish_or_follow(plan: _Plan, span: Span, result: Any) -> Any:
    """End the span now, or at the last item if the function returned a generator."""
    items = _Items()
    # By `type`, since `isinstance` runs the `__class__` of what the application has returned.
    if type(result) is GeneratorType:
        driven: Any = _drive(plan, span, cast("Generator[Any, Any, Any]", result), None, items)
    elif type(result) is AsyncGeneratorType:
        driven = _drive_async(plan, span, cast("AsyncGenerator[Any, Any]", result), None, items)
    else:
        plan.finish(span, result)
        return result
    span.suspend()
    finalize(driven, _end_unless_started, span, items).atexit = False
    return driven


def _end_unless_started(span: Span, items: _Items) -> None:
    """End the span of a generator that nobody ever started: it runs no code of its own at its end."""
    if not items.are_wanted:
        span.end(GeneratorExit())


def _drive(
    plan: _Plan, span: Span, source: Generator[Any, Any, Any], parent: Context | None, items: _Items
) -> Generator[Any, Any, Any]:
    """Hand on what *source* gives, running its body inside the span and the consumer outside."""
    items.are_wanted = True
    inside = _open_for_items(span, parent)
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            span.resume(inside)
            try:
                item = source.send(sent) if thrown is None else source.throw(thrown)
            finally:
                inside = span.suspend()
            items.add(span, item)
            sent = thrown = None
            try:
                sent = yield item
            except GeneratorExit:
                span.resume(inside)
                try:
                    source.close()
                finally:
                    span.suspend()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the body it was thrown at
                thrown = error
    except StopIteration as stop:
        plan.finish_items(span, items.kept)
        return stop.value
    except BaseException as error:
        plan.finish_items(span, items.kept, error)
        raise


async def _drive_async(
    plan: _Plan, span: Span, source: AsyncGenerator[Any, Any], parent: Context | None, items: _Items
) -> AsyncGenerator[Any, Any]:
    """Do what ``_drive`` does, for an async generator."""
    items.are_wanted = True
    inside = _open_for_items(span, parent)
    sent: Any = None
    thrown: BaseException | None = None
    try:
        while True:
            span.resume(inside)
            try:
                item = await (source.asend(sent) if thrown is None else source.athrow(thrown))
            finally:
                inside = span.suspend()
            items.add(span, item)
            sent = thrown = None
            try:
                sent = yield item
            except GeneratorExit:
                span.resume(inside)
                try:
                    await source.aclose()
                finally:
                    span.suspend()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the body it was thrown at
                thrown = error
    except StopAsyncIteration:
        plan.finish_items(span, items.kept)
    except BaseException as error:
        plan.finish_items(span, items.kept, error)
        raise


class _Items:
    """What a generator gave so far, as much of it as is kept.

    Attributes:
        kept: The items.
        are_wanted: Whether anybody has begun to consume the generator.
    """

    def __init__(self) -> None:
        self.are_wanted = False
        self.kept: list[Any] = []
        self._count = 0

    def add(self, span: Span, item: Any) -> None:
        """Keep *item* for the outputs; the first one of all sets the time it took."""
        self._count += 1
        if self._count == 1:
            span.mark_first_item()
        if self._count <= MAX_KEPT_ITEMS and is_capturing():
            self.kept.append(item)


def _open_for_items(span: Span, parent: Context | None) -> Context:
    """Begin the span if it has not begun, and leave it; return what is in force inside."""
    if parent is None:
        return span.context or current()
    span.begin(parent)
    return span.suspend()


def _is_partial(function: Any) -> bool:
    return isinstance(function, partial)


def _processed(function: Callable[[Any], Any] | None, value: Any) -> tuple[Any, tuple[str, ...]]:
    """Apply the user's function to what is to be recorded; if it fails, nothing of the value is recorded.

    Returns:
        (what is to be recorded, flags).
    """
    if function is None:
        return value, ()
    try:
        return function(value), ()
    except STOPS:
        raise
    except BaseException as error:  # noqa: BLE001 - the user's code, run inside a call that promised never to raise
        name = attempt(getattr, function, "__name__", "the function")
        return {"not_recorded": f"{text_of(name)} failed: {name_of(type(error))}"}, ("unreadable",)
