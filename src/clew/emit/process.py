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
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from clew import clock
from clew.emit.context import Context
from clew.emit.foreign import STOPS, name_of
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.emit.redact.search import import_rules
from clew.emit.sanitize import message_of, safe_repr
from clew.emit.unopened import NOT_OPEN, Unopened
from clew.errors import ClewError, ConfigError, SpoolClosedError
from clew.event import LEVELS
from clew.forks import new_mark

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path
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
    reason_of: Callable[[BaseException], str]
    are_on_disk: Callable[[list[Path]], bool]

    @classmethod
    def load(cls) -> _Tools:
        from clew.emit import identity
        from clew.spool.life.inherited import are_on_disk
        from clew.spool.losses import reason_of
        from clew.spool.writer import Bounds, Writer

        return cls(identity.describe, Bounds, Writer, reason_of, are_on_disk)


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
        self.unopened = Unopened()
        self.pid_that_lost = -1
        self.inherited: list[Path] = []
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
        ConfigError: A setting is unknown or malformed. A machine that is not as it should be raises nothing: where no
            log can be opened, one line on stderr says so and what to do, and later events try again.

    Example:
        >>> import tempfile
        >>> configure(service="rag-api", data_dir=tempfile.mkdtemp(), agent="external").service
        'rag-api'
    """
    resolved = _load(told | _process.pinned)
    with _process.lock:
        _adopt(resolved)
        refused = _open()
    if refused is not None:
        raise refused
    return resolved


def settings() -> Settings:
    """Return the settings in force, resolving them now if nobody has yet."""
    if _process.settings is None:
        with _process.lock:
            if _process.settings is None:
                _adopt(_load(_process.pinned))
    assert _process.settings is not None
    return _process.settings


def _load(told: dict[str, Any]) -> Settings:
    from clew import config  # brings pathlib along, a tenth of all that `import clew` would import

    return config.load(**told)


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
            _leave_parent()
        writer = process.writer
        is_whole = _keep_inherited()
    finally:
        process.lock.release()
    if writer is not None:
        is_whole &= writer.flush(max(deadline - time.monotonic(), 0.0)) and not writer.has_lost
    return is_whole and process.pid_that_lost != os.getpid() and not process.unopened.total


def _keep_inherited() -> bool:
    """Bring to the disk what the parent had stored when it forked; true once that is there."""
    process = _process
    if process.inherited and process.tools is not None and process.tools.are_on_disk(process.inherited):
        process.inherited = []
    return not process.inherited


def shutdown() -> None:
    """Close the spool in good order; the next event would open it anew. Runs at exit by itself.

    Events emitted after that (by exit handlers that were registered before clew's, and by finalisers) go into a log
    of their own, which nobody has to close.
    """
    with _process.lock:
        writer, is_ours = _process.writer, _process.pid == os.getpid()
        _process.writer, _process.append, _process.pid = None, None, -1
    if writer is not None and is_ours:
        is_whole = writer.close()
        if writer.has_lost or not is_whole:
            _process.pid_that_lost = os.getpid()


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
        from clew.emit import propagation

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
    _install_hooks()
    try:
        if resolved.propagate or "clew.emit.propagation" in sys.modules:
            from clew.emit import propagation

            propagation.install(resolved.propagate)
    except (ImportError, OSError, MemoryError) as failure:  # nothing can be imported: for want of descriptors, say
        _say_trouble("contexts do not cross executors and threads", failure)


def _install_hooks() -> None:
    if not _process.has_hooks:
        _process.has_hooks = True
        atexit.register(_end)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_after_fork)


def _end() -> None:
    """Close the spool while the interpreter can still do it, and from then on open it without what it cannot do."""
    _process.is_ending = True
    with _process.lock:
        if _process.unopened.pending():
            _open()  # so that some log tells of them
    if _process.writer is not None:  # finalisers of a process that emits may do so after this
        import_rules()
        import_module("clew.emit.shapes")
    shutdown()
    if lost := _process.unopened.pending():
        told = ", ".join(f"{number} ({reason})" for reason, number in sorted(lost.items()))
        _say(f"events were lost, and no log could be opened that would tell of them: {told}", about="lost")


def _open() -> ConfigError | None:
    """Open the spool for this process, and see to it that somebody ships. Never raises: what fails is said and noted.

    Returns:
        The setting that an agent in this process refuses, if it does.
    """
    if _process.is_opening or (_process.writer is not None and _process.pid == os.getpid()):
        return None
    _process.is_opening = True  # a signal handler that emits while we open must not open a second time
    try:
        resolved = settings()
        writer = _open_writer(resolved)
        _process.unopened.carry(writer.losses.carry)
    except STOPS:
        raise
    except BaseException as failure:  # noqa: BLE001 - the emit guard, on the side that opens
        _note_unopened(failure)
        return None
    finally:
        _process.is_opening = False
    _process.next_attempt = 0.0
    _process.unopened.reason = NOT_OPEN
    _process.said.discard("opening")
    return _ensure_shipping(resolved)


def _note_unopened(failure: BaseException) -> None:
    """Remember why no log can be opened, and say so once for as long as that lasts."""
    _process.next_attempt = time.monotonic() + RETRY_OPEN_S
    _process.unopened.reason = NOT_OPEN
    _install_hooks()
    try:
        if _process.tools is not None and not isinstance(failure, ConfigError):
            _process.unopened.reason = _process.tools.reason_of(failure)
        told = str(failure) if isinstance(failure, ClewError) else f"{name_of(type(failure))}: {message_of(failure)}"
        line = f"no log can be opened, and events are lost until one can be: {told}"
        _say(f"{line}; tried again every {RETRY_OPEN_S:.0f} s, and `clew doctor` looks for the cause", about="opening")
    except Exception:  # noqa: BLE001 - the emit guard: no memory, or the interpreter is ending
        return


def _open_writer(resolved: Settings) -> Writer:
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
        heartbeat=None if _process.is_ending else _beat,
    )
    if _process.is_ending:
        writer.mark_ended()
    _process.writer, _process.append = writer, writer.append
    _process.pid = os.getpid()
    _process.is_own[0] = 1
    return writer


def _ensure_shipping(resolved: Settings) -> ConfigError | None:
    """See to it that somebody ships; what the machine refuses is said, and what the settings refuse is returned."""
    if resolved.agent == "external" or sys.is_finalizing():  # no process can be started then, nor a module imported
        return None
    try:
        _find_shipping(resolved)
    except STOPS:
        raise
    except ConfigError as refused:
        _say(f"no agent can be started: {refused}", about="shipping")
        return refused
    except BaseException as failure:  # noqa: BLE001 - the emit guard, on the side that ships
        _say_trouble("no agent can be started", failure)
    return None


def _find_shipping(resolved: Settings) -> None:
    if resolved.agent == "in-process":
        # The one upward arrow of the architecture: the operator asked for the agent inside.
        from clew.agent.supervisor import start_in_process

        start_in_process(resolved)
        return
    from clew.emit import shipping

    notice = shipping.ensure(resolved)
    if notice:
        _say(notice, about="shipping")


def _enter_process() -> Append | None:
    """Open the spool in a process that has none yet, at the first event or after a fork; None if that cannot be now."""
    with _process.lock:
        if _process.pid == os.getpid():
            return _process.append
        if _process.is_opening:
            return None
        _leave_parent()
        if time.monotonic() >= _process.next_attempt:
            _open()
        return _process.append


def _leave_parent() -> None:
    """Let go of a writer that belongs to the process we were forked from."""
    writer, _process.writer, _process.append = _process.writer, None, None
    if writer is not None:
        _process.inherited = writer.abandon()


def _after_fork() -> None:
    """Make the state of a forked child sound: its parent's locks and threads are not its own."""
    _process.lock = threading.RLock()
    _process.pid = -1
    _process.next_attempt = 0.0
    _process.is_opening = False


def _beat() -> None:
    """Do what a process does about once a second, beside the application."""
    _keep_inherited()
    _watch_shipping()


def _watch_shipping() -> None:
    """See to it, now and then, that an agent lives: one that was killed is replaced while we do."""
    now = time.monotonic()
    resolved = _process.settings
    if resolved is None or resolved.agent != "auto" or now < _process.next_watch:
        return
    _process.next_watch = now + WATCH_SHIPPING_S
    from clew.emit import shipping

    try:
        shipping.ensure(resolved)
    except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
        _say_trouble("no agent can be started", failure)


def _describe_losses(dropped: dict[str, int]) -> bytes | None:
    """Encode the event that tells what had to be dropped: a loss is itself an event. None if that fails."""
    fields = {"dropped": dropped, "dropped_count": sum(dropped.values())}
    head = Head(clock.now(), "log", "ERROR", "events_dropped", "clew")
    try:
        return encode_event(head, fields, None, Context(), _process.origin, _process.limits)
    except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
        _say_trouble("what was lost cannot be told in an event", failure)
        return None


def _span_priority(context: Context) -> int:
    """Tell how important a span is when the spool fills up (see ``spool.writer``)."""
    return 1 if context.parent_span_id is None or context.stage == "evaluation" else 2


def _say_trouble(what: str, failure: BaseException) -> None:
    """Say what failed beside emitting, once; no event is lost by it."""
    _say(f"{what}: {name_of(type(failure))}: {message_of(failure)}", about=what)


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
