"""Configure, emit, flush and shut down: what an application does with clew, and the guard around emitting.

``emit`` is the boundary that makes emitting safe: whatever goes wrong behind it is counted and
said once on stderr, and never reaches the application. What there is once in a process, the settings and the open log
among it, is the ``Process`` of ``state``, which opens the log at the first event.

Before: ``logger`` and ``tracing``, with what to encode. After: ``spool.writer``, with bytes.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from clew.emit.record import encode_event
from clew.emit.redact.search import import_rules
from clew.emit.safe.foreign import STOPS, name_of
from clew.emit.sanitize import message_of, safe_repr
from clew.emit.state import Process, load_settings
from clew.errors import ClewError, SpoolClosedError
from clew.event import LEVELS

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from clew.config import Settings
    from clew.emit.context import Context
    from clew.emit.record import Head, Limits
    from clew.emit.state import Append

__all__ = [
    "configure",
    "emit",
    "flush",
    "give_up",
    "guarded",
    "is_enabled",
    "isolated",
    "limits",
    "settings",
    "shutdown",
]


_process = Process()
_has_hooks = False

_LOG_PRIORITIES = {"DEBUG": 3, "INFO": 2, "WARNING": 0, "ERROR": 0, "CRITICAL": 0}


def configure(**given: Any) -> Settings:
    """Set clew up in this process; call it once, at the start.

    Calling it is optional: without it the settings come from the environment at the first
    event. Calling it again replaces the settings; events go on in a new producer directory.

    Args:
        given: Settings by name (see ``clew.config.Settings``); None means not given. The usual
            ones: ``service``, ``environment``, ``version``, ``dsn``, ``agent``, ``level``.

    Returns:
        The resolved settings.

    Raises:
        ConfigError: A setting is unknown or malformed. A machine that is not as it should be raises nothing: where no
            log can be opened, one line on stderr says so and what to do, and later events try again.

    Example:
        >>> import tempfile
        >>> configure(service="rag-api", data_dir=tempfile.mkdtemp(), agent="external").service
        'rag-api'
    """
    resolved = load_settings(given | _process.pinned)
    with _process.lock:
        _install_hooks()
        _process.adopt(resolved)
        refused = _process.open()
    if refused is not None:
        raise refused
    return resolved


def settings() -> Settings:
    """Return the settings in force, resolving them now if nobody has yet."""
    in_force = _process.settings
    if in_force is not None:
        return in_force
    _install_hooks()
    return _process.resolve()


def limits() -> Limits:
    """Return what an event may hold."""
    return _process.limits


def is_enabled(level: str) -> bool:
    """Whether events of *level*, a name of ``LEVELS``, are emitted."""
    if _process.settings is None:
        try:
            settings()
        except ClewError:
            return True  # `emit` says what is wrong with them
    return LEVELS[level] >= _process.threshold


def emit(head: Head, fields: dict[str, Any], error: BaseException | dict[str, Any] | None, context: Context) -> None:
    """Encode an event and append it to the spool. Never raises, never waits for a backend.

    Args:
        head: When, what, how grave.
        fields: What the application gave.
        error: What was raised, if anything, or how another library describes it.
        context: The ids in force.

    Threads:
        Any, and re-entrantly: from signal handlers and finalisers too.
    """
    process = _process
    try:
        append = process.append
        if append is None or not process.is_own[0]:
            append = _enter_process()
        is_log = head.kind == "log"
        if is_log and LEVELS[head.level] < process.threshold:
            return
        if append is None:
            process.unopened.add()
            return
        payload = encode_event(head, fields, error, context, process.origin, process.limits)
        while append is not None:
            try:
                append(payload, _LOG_PRIORITIES[head.level] if is_log else _span_priority(context))
            except SpoolClosedError:
                # Another thread has shut down, or configured anew, since we looked: a thread that works on while
                # the interpreter ends, say. The event goes where the next one would go.
                append = _enter_process()
            else:
                return
        process.unopened.add()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as failure:  # noqa: BLE001 - the emit guard: one of the three places that may
        give_up(failure)


class guarded:  # noqa: N801 - reads as the function it is used like
    """Guard the code of an integration that makes events: whatever goes wrong is counted, and goes no further.

    Example:
        >>> with guarded():
        ...     pass
    """

    def __enter__(self) -> None:
        """Begin to guard."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is None or kind is None or issubclass(kind, STOPS):
            return False
        give_up(error)
        return True


def give_up(failure: BaseException) -> None:
    """Count an event that could not be emitted, and say so once for each kind of cause."""
    try:
        reason = "no_memory" if isinstance(failure, MemoryError) else "unencodable"
        writer = _process.writer
        if writer is not None and _process.is_own[0]:
            writer.losses.add(reason)
        else:
            _process.unopened.add(reason)
        kind = name_of(type(failure))
        _process.notices.say(f"an event could not be emitted: {kind}: {message_of(failure)}", about=kind)
    except Exception:  # noqa: BLE001 - the interpreter is ending, and has taken modules to pieces
        return


def flush(timeout: float = 5.0) -> bool:
    """Bring every event emitted so far to the disk itself.

    Events are safe from the death of the process as soon as they are emitted; this adds
    safety from the loss of power. Shipping is the agent's work and is not waited for.

    Args:
        timeout: Longest wait, in seconds.

    Returns:
        True only if every event that this process has emitted so far is on the disk. False after the timeout or a
        disk error, and from the first event on that was lost: ``clew spool status`` and the event
        ``events_dropped`` say why. In a forked child the events that count are its own, and those
        that its parent had stored but may not have brought to the disk when it forked.

    Raises:
        TypeError: *timeout* is no number.
    """
    if not isinstance(timeout, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        message = f"timeout is {safe_repr(timeout)}, not a number of seconds"
        raise TypeError(message)
    # NaN, for which nothing can be waited, compares as False, so that nothing is what it becomes.
    timeout = min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
    deadline = time.monotonic() + timeout
    process = _process
    if not process.lock.acquire(timeout=timeout):
        return False
    try:
        if process.is_opening:  # by the very call that this one has interrupted
            return False
        if process.pid != os.getpid():
            process.leave_parent()
        writer = process.writer
        is_whole = process.keep_inherited()
    finally:
        process.lock.release()
    if writer is not None:
        is_whole &= writer.flush(max(deadline - time.monotonic(), 0.0)) and not writer.has_lost
    return is_whole and process.pid_that_lost != os.getpid() and not process.unopened.total


def shutdown() -> None:
    """Close the spool in good order; the next event would open it anew. Runs at exit by itself.

    Events emitted after that (by exit handlers that were registered before clew's, and by finalisers) go into a log
    of their own, which nobody has to close.
    """
    _process.close()


@contextmanager
def isolated(**pinned: Any) -> Generator[None]:
    """Give a block a state of its own, as if clew had not been used before; for tests.

    What the block opened is closed at its end. What was open before stays so throughout, and is in
    force again afterwards.

    Args:
        pinned: Settings that hold in the block whatever ``configure`` is given there, so that an
            application under test can set itself up and still emits where the test reads.

    Example:
        >>> with isolated(level="ERROR"):
        ...     settings().level
        'ERROR'
    """
    global _process
    outer, _process = _process, Process(pinned, is_ending=_process.is_ending)
    try:
        yield
    finally:
        shutdown()
        inner, _process = _process, outer
        _restore_propagation(outer.settings, inner.settings)


def _restore_propagation(outer: Settings | None, inner: Settings | None) -> None:
    before, now = (() if settings is None else settings.propagate for settings in (outer, inner))
    if before != now:
        from clew.emit import propagation

        propagation.install(before)


def _install_hooks() -> None:
    """Have the log closed when the process ends, and left when it is forked; once."""
    global _has_hooks
    if not _has_hooks:
        _has_hooks = True
        atexit.register(_end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    _process.after_fork()


def _end() -> None:
    """Close the log while the interpreter can still do it, and from then on open it without what it cannot do."""
    _process.is_ending = True
    with _process.lock:
        if _process.unopened.pending():
            _process.open()  # so that some log reports them
    if _process.writer is not None:  # finalisers of a process that emits may do so after this
        import_rules()
        import_module("clew.emit.safe.shapes")
    shutdown()
    if lost := _process.unopened.pending():
        counts = ", ".join(f"{number} ({reason})" for reason, number in sorted(lost.items()))
        _process.notices.say(f"events were lost, and no log could be opened to report them: {counts}", about="lost")


def _enter_process() -> Append | None:
    """Open the log of a process that has none yet; None if that cannot be now."""
    _install_hooks()
    return _process.enter()


def _span_priority(context: Context) -> int:
    """Return how important a span is when the spool fills up (see ``spool.bounds``)."""
    return 1 if context.parent_span_id is None or context.stage == "evaluation" else 2
