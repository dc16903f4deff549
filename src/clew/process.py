"""What there is once in a process: the settings, the open writer, and the guard around emitting.

``emit`` is the boundary that makes emitting safe: whatever goes wrong behind it is counted and
said once on stderr, and never reaches the application. It opens the spool at the first event,
and anew in a forked child, which must not write into its parent's log.

Before: ``logger`` and ``tracing``, with what to encode. After: ``spool.writer``, with bytes.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from clew import clock, config
from clew.context import Context
from clew.errors import ClewError, SpoolClosedError
from clew.foreign import STOPS, name_of
from clew.forks import new_mark
from clew.record import LEVELS, Head, Limits, Origin, encode_event
from clew.redact import Redactor
from clew.redact.search import import_rules
from clew.sanitize import message_of, safe_repr

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from clew.config import Settings
    from clew.spool.writer import Bounds, Writer

    Append = Callable[[bytes, int], bool]

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


class _Tools(NamedTuple):
    """What it takes to open a spool.

    It is imported at the first event, so that `import clew` stays cheap for who never emits one; and kept, since
    finalisers emit when nothing can be imported any more.
    """

    describe: Callable[[Settings], bytes]
    bounds: type[Bounds]
    writer: type[Writer]

    @classmethod
    def load(cls) -> _Tools:
        from clew import identity
        from clew.spool.writer import Bounds, Writer

        return cls(identity.describe, Bounds, Writer)


class _Process:
    """The state of this process; there is one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        self.pid = -1
        self.pinned: dict[str, Any] = {}
        self.settings: Settings | None = None
        self.writer: Writer | None = None
        self.append: Append | None = None
        self.is_own = new_mark()
        self.origin = Origin("python", UNSET, UNSET)
        self.limits = Limits(Redactor(), 32 * 1024, 256 * 1024)
        self.threshold = 0
        self.said: set[str] = set()
        self.failures = 0
        self.next_attempt = 0.0
        self.has_hooks = False
        self.is_ending = False
        self.tools: _Tools | None = None
        self.is_opening = False
        self.next_watch = 0.0


_process = _Process()

RETRY_OPEN_S = 5.0
"""How long to wait before a spool that could not be opened is tried again, in seconds."""

WATCH_SHIPPING_S = 5.0
"""How often a process looks whether its agent lives, in seconds."""

_LOG_PRIORITIES = {"DEBUG": 3, "INFO": 2, "WARNING": 0, "ERROR": 0, "CRITICAL": 0}


def configure(**told: Any) -> Settings:
    """Set clew up in this process; call it once, at the start.

    Calling it is optional: without it the settings come from the environment at the first
    event. Calling it again replaces the settings; events go on in a new producer directory.

    Args:
        told: Settings by name (see ``clew.config.Settings``); None means not told. The usual
            ones: ``service``, ``environment``, ``version``, ``dsn``, ``agent``, ``level``.

    Returns:
        The resolved settings.

    Raises:
        ConfigError: A setting is unknown or malformed.
        SpoolError: The spool directory cannot be written to.

    Example:
        >>> import tempfile
        >>> configure(service="rag-api", data_dir=tempfile.mkdtemp(), agent="external").service
        'rag-api'
    """
    resolved = config.load(**told | _process.pinned)
    with _process.lock:
        _adopt(resolved)
        _open()
    return resolved


def settings() -> Settings:
    """Return the settings in force, resolving them now if nobody has yet."""
    if _process.settings is None:
        with _process.lock:
            if _process.settings is None:
                _adopt(config.load(**_process.pinned))
    assert _process.settings is not None
    return _process.settings


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
        fields: What was told.
        error: What was raised, if anything, or what another library told of it.
        context: The ids in force.

    Threads:
        Any, and re-entrantly: from signal handlers and finalisers too.
    """
    process = _process
    try:
        append = process.append
        if append is None or not process.is_own[0]:
            append = _enter_process()
            if append is None:
                return
        is_log = head.kind == "log"
        if is_log and LEVELS[head.level] < process.threshold:
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
        _process.failures += 1
        writer = _process.writer
        if writer is not None and not isinstance(failure, ClewError):
            writer.losses.add("unencodable")
        kind = name_of(type(failure))
        _say(f"an event could not be emitted: {kind}: {message_of(failure)}", about=kind)
    except Exception:  # noqa: BLE001 - the interpreter is ending, and has taken modules to pieces: nobody is left to tell
        return


def flush(timeout: float = 5.0) -> bool:
    """Bring every event emitted so far to the disk itself.

    Events are safe from the death of the process as soon as they are emitted; this adds
    safety from the loss of power. Shipping is the agent's work and is not waited for.

    Args:
        timeout: Longest wait, in seconds.

    Returns:
        True when everything is on the disk; False after the timeout or a disk error.

    Raises:
        TypeError: *timeout* is no number.
    """
    if not isinstance(timeout, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        message = f"timeout is {safe_repr(timeout)}, not a number of seconds"
        raise TypeError(message)
    # NaN, for which nothing can be waited, compares as False, so that nothing is what it becomes.
    timeout = min(timeout, threading.TIMEOUT_MAX) if timeout > 0 else 0.0
    writer = _process.writer
    return writer is None or _process.pid != os.getpid() or writer.flush(timeout)


def shutdown() -> None:
    """Close the spool in good order; the next event would open it anew. Runs at exit by itself.

    Events emitted after that (by exit handlers that were registered before clew's, and by finalisers) go into a log
    of their own, which nobody has to close.
    """
    with _process.lock:
        writer, is_ours = _process.writer, _process.pid == os.getpid()
        _process.writer, _process.append, _process.pid = None, None, -1
    if writer is not None and is_ours:
        writer.close()


@contextmanager
def isolated(**pinned: Any) -> Generator[None]:
    """Give a block a state of its own, as if clew had not been used before; for tests.

    What the block opened is closed at its end. What was open before stays so throughout, and is in
    force again afterwards.

    Args:
        pinned: Settings that hold in the block whatever ``configure`` is told there, so that an
            application under test can set itself up and still emits where the test reads.

    Example:
        >>> with isolated(level="ERROR"):
        ...     settings().level
        'ERROR'
    """
    global _process
    outer, _process = _process, _Process()
    _process.pinned, _process.has_hooks, _process.is_ending = pinned, outer.has_hooks, outer.is_ending
    try:
        yield
    finally:
        shutdown()
        inner, _process = _process, outer
        outer.has_hooks = inner.has_hooks
        _restore_propagation(outer.settings, inner.settings)


def _restore_propagation(outer: Settings | None, inner: Settings | None) -> None:
    wanted, installed = (() if told is None else told.propagate for told in (outer, inner))
    if wanted != installed:
        from clew import propagation

        propagation.install(wanted)


def _adopt(resolved: Settings) -> None:
    """Put *resolved* in force; the spool is opened apart from that."""
    if _process.settings == resolved and _process.pid == os.getpid():
        return
    shutdown()
    _process.settings = resolved
    _process.origin = Origin(resolved.service, resolved.environment or UNSET, resolved.version or UNSET)
    redactor = Redactor(
        secret=resolved.redact,
        allowed=resolved.redact_allow,
        patterns=resolved.redact_patterns,
        key=resolved.redact_key,
    )
    _process.limits = Limits(redactor, resolved.max_field_bytes, resolved.max_event_bytes, resolved.capture_max_bytes)
    _process.threshold = LEVELS[resolved.level]
    _process.said.clear()
    _install_hooks(resolved)


def _install_hooks(resolved: Settings) -> None:
    if resolved.propagate or "clew.propagation" in sys.modules:
        from clew import propagation

        propagation.install(resolved.propagate)
    if not _process.has_hooks:
        _process.has_hooks = True
        atexit.register(_end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)


def _end() -> None:
    """Close the spool while the interpreter can still do it, and from then on open it without what it cannot do."""
    _process.is_ending = True
    if _process.writer is not None:  # finalisers of a process that emits may do so after this
        import_rules()
    shutdown()


def _open() -> None:
    """Open the spool for this process, and see to it that somebody ships.

    Raises:
        SpoolError: The spool directory cannot be written to.
    """
    if _process.is_opening or (_process.writer is not None and _process.pid == os.getpid()):
        return
    _process.is_opening = True  # a signal handler that emits while we open must not open a second time
    try:
        _open_writer(settings())
    finally:
        _process.is_opening = False


def _open_writer(resolved: Settings) -> None:
    if _process.tools is None:
        _process.tools = _Tools.load()
    tools = _process.tools
    bounds = tools.bounds(
        resolved.spool_dir, max_bytes=resolved.spool_max_bytes, keep_free_bytes=resolved.spool_keep_free_bytes
    )
    writer = tools.writer(
        resolved.spool_dir,
        service=resolved.service,
        identity=tools.describe(resolved),
        segment_bytes=resolved.segment_bytes,
        bounds=bounds,
        flush_interval_s=resolved.flush_interval_s,
        describe_losses=_describe_losses,
        report=_say_once,
        heartbeat=_watch_shipping if resolved.agent == "auto" and not _process.is_ending else None,
    )
    if _process.is_ending:
        writer.mark_ended()
    _process.writer, _process.append = writer, writer.append
    _process.pid = os.getpid()
    _process.is_own[0] = 1
    if not sys.is_finalizing():  # no process can be started then, nor a module imported
        _ensure_shipping(resolved)


def _ensure_shipping(resolved: Settings) -> None:
    if resolved.agent == "external":
        return
    if resolved.agent == "in-process":
        # The one upward arrow of the architecture: the operator asked for the agent inside.
        from clew.agent.supervisor import start_in_process

        start_in_process(resolved)
        return
    from clew import shipping

    notice = shipping.ensure(resolved)
    if notice:
        _say(notice, about="shipping")


def _enter_process() -> Append | None:
    """Open the spool in a process that has none yet, at the first event or after a fork; None if that cannot be now."""
    with _process.lock:
        if _process.pid == os.getpid():
            return _process.append
        if _process.is_opening or time.monotonic() < _process.next_attempt:
            _process.failures += 1
            return None
        _process.next_attempt = time.monotonic() + RETRY_OPEN_S
        _leave_parent()
        _open()
        _process.next_attempt = 0.0
        return _process.append


def _leave_parent() -> None:
    """Let go of a writer that belongs to the process we were forked from."""
    writer, _process.writer, _process.append = _process.writer, None, None
    if writer is not None:
        writer.abandon()


def _after_fork() -> None:
    """Make the state of a forked child sound: its parent's locks and threads are not its own."""
    _process.lock = threading.RLock()
    _process.pid = -1
    _process.next_attempt = 0.0


def _watch_shipping() -> None:
    """See to it, now and then, that an agent lives: one that was killed is replaced while we do."""
    now = time.monotonic()
    resolved = _process.settings
    if resolved is None or now < _process.next_watch:
        return
    _process.next_watch = now + WATCH_SHIPPING_S
    from clew import shipping

    try:
        shipping.ensure(resolved)
    except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
        give_up(failure)


def _describe_losses(dropped: dict[str, int]) -> bytes | None:
    """Encode the event that tells what had to be dropped: a loss is itself an event. None if that fails."""
    fields = {"dropped": dropped, "dropped_count": sum(dropped.values())}
    head = Head(clock.now(), "log", "ERROR", "events_dropped", "clew")
    try:
        return encode_event(head, fields, None, Context(), _process.origin, _process.limits)
    except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
        give_up(failure)
        return None


def _span_priority(context: Context) -> int:
    """Tell how important a span is when the spool fills up (see ``spool.writer``)."""
    return 1 if context.parent_span_id is None or context.stage == "evaluation" else 2


def _say_once(line: str) -> None:
    """Say what a writer reports, each line once."""
    _say(line, about=line)


def _say(text: str, *, about: str) -> None:
    """Write one line to stderr, once *about* each thing; no logging, which may lead back here."""
    stderr = getattr(sys, "stderr", None)  # None in a process without a console; print would then take stdout
    if about in _process.said or stderr is None:
        return
    _process.said.add(about)
    try:
        print(f"clew: {text}", file=stderr, flush=True)
    except (OSError, ValueError, AttributeError):
        return  # no stderr, or it is closed: there is nobody to tell
