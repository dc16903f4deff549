"""The log of this process: the settings in force, how the log is opened, and what goes on beside emitting.

A process opens its log at the first event, or when it is configured; and anew in a forked child, which must not write
into its parent's. Nothing here raises for a fault of the machine: what fails is said once on stderr, counted, and tried
again. ``process`` has the one ``Process`` that is in force, and emits through it.

Before: ``process``, at the first event. After: ``spool.writer``, which is opened here; ``shipping``, which starts an agent.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from clew import clock
from clew.emit.context import Context
from clew.emit.notices import Notices
from clew.emit.record import Head, Limits, Origin, encode_event
from clew.emit.redact import Redactor
from clew.emit.safe.foreign import STOPS, name_of
from clew.emit.sanitize import message_of
from clew.emit.unopened import NOT_OPEN, Unopened
from clew.errors import ClewError, ConfigError
from clew.event import LEVELS
from clew.forks import new_mark

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clew.config import Settings
    from clew.spool.writer import Bounds, Writer

    Append = Callable[[bytes, int], bool]

__all__ = ["Process", "load_settings"]

RETRY_OPEN_S = 5.0
"""How long to wait before a spool that could not be opened is tried again, in seconds."""

WATCH_SHIPPING_S = 5.0
"""How often a process looks whether its agent lives, in seconds."""


def load_settings(given: dict[str, Any]) -> Settings:
    """Resolve the settings, as ``config.load`` does."""
    from clew import config  # brings pathlib along, a tenth of all that `import clew` would import

    return config.load(**given)


class _Tools(NamedTuple):
    """What it takes to open a spool.

    It is imported at the first event, so that `import clew` stays cheap for applications that never emit one; and kept, since
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


class Process:
    """The state of a process.

    Args:
        pinned: Settings that hold whatever is configured.
        is_ending: The interpreter is ending: what would have to be closed later is closed ahead of time.

    Attributes:
        lock: Held while the log is opened or closed.
        pid: The process that has opened it; -1 for none.
        settings: The settings in force; None before they are resolved.
        writer: The open log.
        append: Its ``append``; None while no log is open.
        is_own: Zero at index 0 in a forked child, whose log is its parent's.
        origin: What is the same for all events.
        limits: What an event may hold.
        threshold: The lowest level that is emitted, as a number.
        notices: What was said on stderr.
        unopened: What is lost while no log is open.
        pid_that_lost: The process that has closed a log which was not whole; -1 for none.
        is_opening: A call is opening the log right now.

    Threads:
        ``open`` and ``leave_parent`` are called with the lock held.
    """

    def __init__(self, pinned: dict[str, Any] | None = None, *, is_ending: bool = False) -> None:
        self.lock = threading.RLock()
        self.pid = -1
        self.pinned = pinned or {}
        self.settings: Settings | None = None
        self.writer: Writer | None = None
        self.append: Append | None = None
        self.is_own = new_mark()
        self.origin = Origin("python", UNSET, UNSET)
        self.limits = Limits(Redactor(), 32 * 1024, 256 * 1024)
        self.threshold = 0
        self.notices = Notices()
        self.unopened = Unopened()
        self.pid_that_lost = -1
        self.inherited: list[Path] = []
        self.next_attempt = 0.0
        self.is_ending = is_ending
        self.tools: _Tools | None = None
        self.is_opening = False
        self.next_watch = 0.0

    def resolve(self) -> Settings:
        """Return the settings in force, resolving them now if nobody has yet.

        Raises:
            ConfigError: One is unknown or malformed.
        """
        if self.settings is None:
            with self.lock:
                if self.settings is None:
                    self.adopt(load_settings(self.pinned))
        assert self.settings is not None
        return self.settings

    def adopt(self, resolved: Settings) -> None:
        """Put *resolved* in force; the log is opened apart from that."""
        if self.settings == resolved and self.pid == os.getpid():
            return
        self.close()
        self.settings = resolved
        self.origin = Origin(resolved.service, resolved.environment or UNSET, resolved.version or UNSET)
        redactor = Redactor(
            secret=resolved.redact,
            allowed=resolved.redact_allow,
            patterns=resolved.redact_patterns,
            key=resolved.redact_key,
        )
        self.limits = Limits(redactor, resolved.max_field_bytes, resolved.max_event_bytes, resolved.capture_max_bytes)
        self.threshold = LEVELS[resolved.level]
        self.notices.clear()
        try:
            if resolved.propagate or "clew.emit.propagation" in sys.modules:
                from clew.emit import propagation

                propagation.install(resolved.propagate)
        except (ImportError, OSError, MemoryError) as failure:  # nothing can be imported: for want of descriptors, say
            self.notices.say_failure("contexts do not cross executors and threads", failure)

    def enter(self) -> Append | None:
        """Open the log in a process that has none yet, at the first event or after a fork; None if that cannot be now."""
        with self.lock:
            if self.pid == os.getpid():
                return self.append
            if self.is_opening:
                return None
            self.leave_parent()
            if time.monotonic() >= self.next_attempt:
                self.open()
            return self.append

    def open(self) -> ConfigError | None:
        """Open the log of this process, and see to it that somebody ships. Never raises: what fails is said and noted.

        Returns:
            The setting that an agent in this process refuses, if it does.
        """
        if self.is_opening or (self.writer is not None and self.pid == os.getpid()):
            return None
        self.is_opening = True  # a signal handler that emits while we open must not open a second time
        try:
            resolved = self.resolve()
            writer = self._open_writer(resolved)
            self.unopened.carry(writer.losses.carry)
        except STOPS:
            raise
        except BaseException as failure:  # noqa: BLE001 - the emit guard, on the side that opens
            self._note_unopened(failure)
            return None
        finally:
            self.is_opening = False
        self.next_attempt = 0.0
        self.unopened.reason = NOT_OPEN
        self.notices.forget("opening")
        return self._ensure_shipping(resolved)

    def _note_unopened(self, failure: BaseException) -> None:
        """Remember why no log can be opened, and say so once for as long as that lasts."""
        self.next_attempt = time.monotonic() + RETRY_OPEN_S
        self.unopened.reason = NOT_OPEN
        try:
            if self.tools is not None and not isinstance(failure, ConfigError):
                self.unopened.reason = self.tools.reason_of(failure)
            cause = (
                str(failure) if isinstance(failure, ClewError) else f"{name_of(type(failure))}: {message_of(failure)}"
            )
            line = f"no log can be opened, and events are lost until one can be: {cause}"
            again = f"tried again every {RETRY_OPEN_S:.0f} s, and `clew doctor` looks for the cause"
            self.notices.say(f"{line}; {again}", about="opening")
        except Exception:  # noqa: BLE001 - the emit guard: no memory, or the interpreter is ending
            return

    def _open_writer(self, resolved: Settings) -> Writer:
        if self.tools is None:
            self.tools = _Tools.load()
        tools = self.tools
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
            describe_losses=self._describe_losses,
            report=self.notices.say_once,
            heartbeat=None if self.is_ending else self._beat,
        )
        if self.is_ending:
            writer.mark_ended()
        self.writer, self.append = writer, writer.append
        self.pid = os.getpid()
        self.is_own[0] = 1
        return writer

    def _ensure_shipping(self, resolved: Settings) -> ConfigError | None:
        """See to it that somebody ships; what the machine refuses is said, and what the settings refuse is returned."""
        if resolved.agent == "external" or sys.is_finalizing():  # no process can be started then, nor a module imported
            return None
        try:
            self._find_shipping(resolved)
        except STOPS:
            raise
        except ConfigError as refused:
            self.notices.say(f"no agent can be started: {refused}", about="shipping")
            return refused
        except BaseException as failure:  # noqa: BLE001 - the emit guard, on the side that ships
            self.notices.say_failure("no agent can be started", failure)
        return None

    def _find_shipping(self, resolved: Settings) -> None:
        if resolved.agent == "in-process":
            # The one upward arrow of the architecture: the operator asked for the agent inside.
            from clew.agent.supervisor import start_in_process

            start_in_process(resolved)
            return
        from clew.emit import shipping

        notice = shipping.ensure(resolved)
        if notice:
            self.notices.say(notice, about="shipping")

    def after_fork(self) -> None:
        """Make the state of a forked child sound: its parent's locks and threads are not its own."""
        self.lock = threading.RLock()
        self.pid = -1
        self.next_attempt = 0.0
        self.is_opening = False

    def leave_parent(self) -> None:
        """Let go of a writer that belongs to the process we were forked from."""
        writer, self.writer, self.append = self.writer, None, None
        if writer is not None:
            self.inherited = writer.abandon()

    def keep_inherited(self) -> bool:
        """Bring to the disk what the parent had stored when it forked; true once that is there."""
        if self.inherited and self.tools is not None and self.tools.are_on_disk(self.inherited):
            self.inherited = []
        return not self.inherited

    def close(self) -> None:
        """Close the log in good order; the next event would open it anew."""
        with self.lock:
            writer, is_ours = self.writer, self.pid == os.getpid()
            self.writer, self.append, self.pid = None, None, -1
        if writer is not None and is_ours:
            is_whole = writer.close()
            if writer.has_lost or not is_whole:
                self.pid_that_lost = os.getpid()

    def _beat(self) -> None:
        """Do what a process does about once a second, beside the application."""
        self.keep_inherited()
        self._watch_shipping()

    def _watch_shipping(self) -> None:
        """See to it, now and then, that an agent lives: one that was killed is replaced while we do."""
        now = time.monotonic()
        resolved = self.settings
        if resolved is None or resolved.agent != "auto" or now < self.next_watch:
            return
        self.next_watch = now + WATCH_SHIPPING_S
        from clew.emit import shipping

        try:
            shipping.ensure(resolved)
        except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
            self.notices.say_failure("no agent can be started", failure)

    def _describe_losses(self, dropped: dict[str, int]) -> bytes | None:
        """Encode the event that reports what had to be dropped: a loss is itself an event. None if that fails."""
        fields = {"dropped": dropped, "dropped_count": sum(dropped.values())}
        head = Head(clock.now(), "log", "ERROR", "events_dropped", "clew")
        try:
            return encode_event(head, fields, None, Context(), self.origin, self.limits)
        except Exception as failure:  # noqa: BLE001 - the emit guard, on the flusher's side
            self.notices.say_failure("lost events cannot be reported by an event", failure)
            return None
