"""Find what keeps events from arriving, from the settings to the store, and say what mends it.

One function for each kind of finding, which yields nothing when all is well; ``diagnose`` asks for all of them, in the
order in which an event travels. Those about directories and the disk are in ``findings``. Nothing is changed, and nothing
that a machine may be like ends a diagnosis: what cannot be looked at is a finding, too.

Before: ``clew doctor``, or whoever else wants to show it. After: the accounts, the state of the agents, the store.
"""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from msgspec import DecodeError, Struct, ValidationError, json

from clew.agent.findings import Finding, find_disk_trouble, find_full_spool, find_places
from clew.agent.lastwords import DAMAGED
from clew.agent.pricing.prices import make_prices
from clew.agent.sinks import check_sinks
from clew.delivery.accounts import read_account
from clew.delivery.dead_letters import count_letters
from clew.delivery.ledger import ENTRY_FILE, NOT_IN_SPOOL, LedgerEntry
from clew.delivery.status import STALE_S, read_statuses
from clew.emit.redact import Redactor
from clew.emit.shipping import agent_is_alive
from clew.errors import ClewError, ConfigError, SpoolError
from clew.spool.files.regular import read_regular
from clew.spool.kept import shipped_directories

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clew.config import Settings
    from clew.delivery.accounts import SpoolAccount
    from clew.delivery.status import AgentStatus

__all__ = ["CHECKS", "CODES", "LOSSES", "Diagnosis", "diagnose", "find_plain_transport", "wrong_setting"]

LAGS_AFTER_S: Final = 60.0
MAX_SKEW_S: Final = 2.0
SHOWN_LOGS: Final = 3

CODES: Final = (
    "settings_wrong",
    "sink_unusable",
    "no_sink",
    "not_a_directory",
    "not_writable",
    "other_owner",
    "open_to_others",
    "disk_full",
    "no_inodes",
    "spool_full",
    "spool_nearly_full",
    "no_agent",
    "agent_silent",
    "sink_fails",
    "sink_lags",
    "log_not_opened",
    "events_dropped",
    "logs_damaged",
    "odd_file",
    "dead_letters",
    "store_unreachable",
    "store_not_migrated",
    "store_in_the_clear",
    "clock_skew",
    "cannot_look",
    "lost_earlier",
)
"""Every kind of finding."""

_NOT_OPENED: Final = {"no_inodes", "too_many_files", "no_memory", "permission", "removed", "not_open"}
"""The reasons of losses that mean: this process had no log."""

_MORE_ROOM: Final = "see to it that an agent ships what waits, or raise CLEW_SPOOL_MAX_BYTES"
LOSSES: Final = {
    "spool_full": ("the spool was full", _MORE_ROOM),
    "disk_full": ("the disk was full", "free some disk space, or lower CLEW_SPOOL_KEEP_FREE_BYTES"),
    "disk_error": ("the disk refused", "look for errors of the disk in the log of the kernel (`dmesg`)"),
    "oversize": ("an event was larger than a segment", "raise CLEW_SEGMENT_BYTES, or emit less at once"),
    "unencodable": ("a value could not be written as JSON", "look at what the service emits there"),
    "closed": ("the log had been closed already", "emit before `clew.shutdown`, or do not call it before the end"),
    "low_priority": ("the spool was nearly full, and less important events went first", _MORE_ROOM),
    "no_inodes": ("the file system had no inode left", "remove files that nobody needs (`df -i` counts them)"),
    "too_many_files": (
        "the process had too many open files",
        "raise its limit (`ulimit -n`, LimitNOFILE= of systemd), or look for files that it does not close",
    ),
    "no_memory": ("there was no memory for a log", "raise the memory limit of the process or its container"),
    "permission": (
        "the process was not allowed to write there",
        "run the service as the owner of the spool, or set CLEW_SPOOL_DIR to a directory that it may write to",
    ),
    "removed": (
        "the directory of the log was removed, or could not be made",
        "keep what cleans up away from the spool; it does not belong below /tmp",
    ),
    "not_open": ("no log could be opened", "look at what the service wrote on stderr then"),
    NOT_IN_SPOOL: (
        "a store came back from a backup older than the replay window",
        "raise CLEW_REPLAY_WINDOW_S beyond the age of your backups",
    ),
}
"""What each reason of a loss means, and what keeps it from happening again."""


class Diagnosis(Struct):
    """What was found.

    Attributes:
        findings: What is wrong, in the order in which an event travels.
        notes: What was wrong, and is over.
        checked: What was looked at.
    """

    findings: list[Finding]
    notes: list[Finding]
    checked: list[str]


class _Machine:
    """What the checks look at, each part read once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @cached_property
    def account(self) -> SpoolAccount | None:
        """The accounts of the spool; None if they cannot be read."""
        try:
            return read_account(self.settings.spool_dir)
        except SpoolError:
            return None

    @cached_property
    def has_agent(self) -> bool:
        return agent_is_alive(self.settings.spool_dir)

    @cached_property
    def statuses(self) -> list[AgentStatus]:
        return read_statuses(self.settings.spool_dir) if self.has_agent else []

    def sink_names(self) -> list[str]:
        """Name the sinks of the settings."""
        return [*(["postgres"] if self.settings.dsn is not None else []), *self.settings.sink_names()]

    def waiting(self) -> int:
        """Count the events that wait for a sink: for the one that has most to come."""
        if self.account is None:
            return 0
        names = self.sink_names() or list(self.account.sinks) or [""]
        return max(self.pending(name) for name in names)

    def pending(self, sink: str) -> int:
        """Count the events that wait for one sink."""
        if self.account is None:
            return 0
        if sink in self.account.sinks:
            return self.account.sinks[sink].pending
        return sum(log.accepted for log in self.account.logs if log.only_sink in {None, sink})


def diagnose(settings: Settings) -> Diagnosis:
    """Look at everything.

    Args:
        settings: Where the spool and the store are, and what to ship to.

    Example:
        >>> from clew import config
        >>> diagnose(config.load(sinks=["nowhere"])).findings[0].code
        'sink_unusable'
    """
    machine, found = _Machine(settings), list[Finding]()
    for name, check in CHECKS.items():
        try:
            for finding in check(machine):
                found.append(finding)  # one by one: those before a failure count
        except (OSError, ClewError) as error:
            found.append(_cannot_look(name, error))
    findings = [finding for finding in dict.fromkeys(found) if finding.severity != "note"]
    return Diagnosis(findings, [finding for finding in found if finding.severity == "note"], list(CHECKS))


def wrong_setting(error: ConfigError, subject: str = "settings") -> Finding:
    """Return the finding that settings are wrong, with what is said of it everywhere else."""
    meaning = (
        "services and agents with these settings do not start, and a service that never calls `configure` emits nothing"
    )
    remedy = error.hint or "correct it where it is set: the environment, or clew.toml"
    return Finding("settings_wrong", "error", subject, error.message, meaning, remedy)


def _find_wrong_settings(machine: _Machine) -> Iterator[Finding]:
    """Find settings that are well-formed each by itself, and wrong all the same."""
    settings = machine.settings

    def parse_dsn() -> object:
        try:
            from clew.store.postgres.connect import parse_dsn
        except ImportError:
            return None  # the check of the sinks says so
        return None if settings.dsn is None else parse_dsn(settings.dsn)

    def make_redactor() -> object:
        rules, allowed = settings.redact, settings.redact_allow
        return Redactor(secret=rules, allowed=allowed, patterns=settings.redact_patterns, key=settings.redact_key)

    parts: dict[str, Callable[[], object]] = {
        "redact_patterns": make_redactor,
        "prices": lambda: make_prices(settings),
        "dsn": parse_dsn,
    }
    for name, use in parts.items():
        try:
            use()
        except ConfigError as error:
            yield wrong_setting(error, name)


def _find_unusable_sinks(machine: _Machine) -> Iterator[Finding]:
    for name, error in check_sinks(machine.settings):
        meaning = "an agent with these settings does not start: events wait on the disk until it does"
        remedy = error.hint or "put right what it complains about, or take the sink out of CLEW_SINKS"
        yield Finding("sink_unusable", "error", name, error.message, meaning, remedy)


def _find_no_sink(machine: _Machine) -> Iterator[Finding]:
    if machine.has_agent or machine.sink_names():
        return
    waiting = machine.waiting()
    problem = "no agent runs, and the settings name nothing to ship to"
    meaning = f"events stay on this disk until it is full; {waiting} wait now"
    remedy = "run `clew up`, or set CLEW_DSN to a PostgreSQL (or CLEW_SINKS to another sink)"
    yield Finding("no_sink", "error", "settings", problem, meaning, remedy)


def _find_no_agent(machine: _Machine) -> Iterator[Finding]:
    waiting = machine.waiting()
    if machine.has_agent or not machine.sink_names() or not waiting:
        return
    problem = f"no agent runs on {machine.settings.spool_dir}, and {waiting} events wait there"
    meaning = "nothing is lost: they stay on the disk until an agent ships them, or the spool is full"
    yield Finding("no_agent", "error", "agent", problem, meaning, "run `clew agent` with these settings, or `clew up`")


def _find_silent_agent(machine: _Machine) -> Iterator[Finding]:
    if machine.has_agent and not machine.statuses:
        problem = f"an agent runs on {machine.settings.spool_dir}, and has not written its state for {STALE_S:.0f} s"
        meaning = (
            "it is only just starting, it is stuck, or it cannot write there; whether events are shipped is unknown"
        )
        remedy = "look at its log (agent.log in the data directory, if an application has started it); restart it"
        yield Finding("agent_silent", "warning", "agent", problem, meaning, remedy)


def _find_failing_sinks(machine: _Machine) -> Iterator[Finding]:
    for status in machine.statuses:
        for sink in status.sinks:
            if sink.trouble:
                waiting = f"{machine.pending(sink.name)} events wait for it"
                again = "a person has to put it right" if sink.is_misconfigured else "the agent tries again and again"
                meaning = f"nothing is lost: {waiting}, and {again}"
                problem = f"the sink {sink.name} takes nothing: {sink.trouble}"
                remedy = f"put right what {sink.name} complains about; what waits is shipped then by itself"
                yield Finding("sink_fails", "error", sink.name, problem, meaning, remedy)


def _find_lagging_sinks(machine: _Machine) -> Iterator[Finding]:
    for status in machine.statuses:
        for sink in status.sinks:
            pending, since = machine.pending(sink.name), sink.caught_up or status.started_at
            behind_s = time.time() - since
            if sink.trouble or not pending or not since or behind_s < LAGS_AFTER_S:
                continue
            problem = f"the sink {sink.name} has not caught up for {behind_s:.0f} s: {pending} events wait for it"
            meaning = "events come in faster than it takes them, or it hangs; what is shown there is old"
            remedy = f"look whether {sink.name} is slow or overloaded; `clew spool status` shows whether it catches up"
            yield Finding("sink_lags", "warning", sink.name, problem, meaning, remedy)


def _find_losses(machine: _Machine) -> Iterator[Finding]:
    """Find what was lost by logs that are still on the spool; of what was lost before there is one note."""
    if machine.account is None:
        return
    recent = _recent_losses(machine)
    for reason, number in sorted(recent.items()):
        if reason == DAMAGED:
            continue  # a finding of its own
        what, remedy = LOSSES.get(reason, (reason, "look at what the service wrote on stderr then"))
        code = "log_not_opened" if reason in _NOT_OPENED else "events_dropped"
        problem = f"{number} events were lost: {what} ({reason})"
        meaning = "they are gone, and counted; it may be over, and it may happen again"
        yield Finding(code, "warning", reason, problem, meaning, remedy)
    earlier = Counter(machine.account.dropped) - recent
    if earlier:
        listed = ", ".join(f"{number} ({reason})" for reason, number in sorted(earlier.items()))
        meaning = "they belong to logs that were shipped and removed long since"
        yield Finding(
            "lost_earlier", "note", "spool", f"events were lost earlier: {listed}", meaning, "nothing is left to do"
        )


def _recent_losses(machine: _Machine) -> Counter[str]:
    """Add up the losses of the logs that are on the spool, those that are kept for a replay among them, by reason."""
    recent: Counter[str] = Counter()
    for log in machine.account.logs if machine.account else ():
        recent.update(log.dropped)
        missing = sum(share.missing for share in log.sinks)
        if missing:
            recent[NOT_IN_SPOOL] += missing
    for entry in _kept_entries(machine.settings):
        recent.update(entry.dropped)
    return recent


def _kept_entries(settings: Settings) -> Iterator[LedgerEntry]:
    for directory in shipped_directories(settings.spool_dir):
        try:
            yield json.decode(read_regular(directory / ENTRY_FILE), type=LedgerEntry)
        except (OSError, DecodeError, ValidationError):
            continue  # removed meanwhile, or what is odd about it is said elsewhere


def _find_damage(machine: _Machine) -> Iterator[Finding]:
    if machine.account is None:
        return
    damaged = [log for log in machine.account.logs if log.damaged_bytes]
    kept = [entry for entry in _kept_entries(machine.settings) if entry.damaged_bytes]
    number = sum(log.damaged_bytes for log in damaged) + sum(entry.damaged_bytes for entry in kept)
    if not number:
        return
    events = sum(one.dropped.get(DAMAGED, 0) for one in (*damaged, *kept))
    names = ", ".join(f"{log.service}/{log.producer}" for log in damaged[:SHOWN_LOGS]) or "logs that are shipped"
    more = f" and {len(damaged) - SHOWN_LOGS} more" if len(damaged) > SHOWN_LOGS else ""
    problem = f"{number} bytes cannot be read in {names}{more}"
    meaning = f"at least {events} events are lost; all that can be read around them is shipped"
    remedy = "look for errors of the disk (`dmesg`), and for programs that write to the spool or remove files from it"
    yield Finding("logs_damaged", "warning", str(machine.settings.spool_dir), problem, meaning, remedy)


def _find_odd_files(machine: _Machine) -> Iterator[Finding]:
    for oddity in machine.account.oddities if machine.account else ():
        problem, _, remedy = oddity.problem.partition("; ")
        path = str(machine.settings.spool_dir / oddity.path)
        meaning = "this file or log is left alone; every other one is shipped"
        yield Finding(
            "odd_file", "warning", path, f"{path}: {problem}", meaning, remedy or "look at it, then move it away"
        )


def _find_dead_letters(machine: _Machine) -> Iterator[Finding]:
    for sink, number in count_letters(machine.settings.spool_dir).items():
        problem = f"the sink {sink} has refused {number} events for good"
        meaning = "they are kept as dead letters, and are not in that sink"
        remedy = f"`clew dead list --sink {sink}` says why; then `clew dead retry` or `clew dead purge`"
        yield Finding("dead_letters", "warning", sink, problem, meaning, remedy)


def _find_unread_spool(machine: _Machine) -> Iterator[Finding]:
    """Say that there are no accounts, where no finding about the directory says it."""
    if machine.account is None and not any(found.severity == "error" for found in find_places(machine.settings)):
        read_account(machine.settings.spool_dir)  # raises what it raised before
    yield from ()


def _find_store_trouble(machine: _Machine) -> Iterator[Finding]:
    try:
        from clew.agent.alert_findings import find_alert_trouble
        from clew.store.postgres.connect import connect, explained, parse_dsn
        from clew.store.postgres.server import embedded
        from clew.store.postgres.upkeep.migrate import pending
    except ImportError:
        return  # the check of the sinks says so if it is needed
    settings = machine.settings
    dsn = settings.dsn or embedded.running_dsn(settings.data_dir / embedded.DIRECTORY)
    if dsn is None:
        return  # what is shipped, if anything, goes elsewhere
    try:
        parse_dsn(dsn)
    except ConfigError:
        return  # said with the settings
    try:
        with connect(dsn, application_name="clew-doctor") as connection, explained(dsn):
            missing = pending(connection)
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            here = datetime.now(UTC)
            yield from find_plain_transport(connection.info.host, is_encrypted=connection.pgconn.ssl_in_use)
            if not missing:
                yield from find_alert_trouble(connection)
    except ClewError as error:
        meaning = "nothing is stored there, and nothing can be asked; what is emitted meanwhile waits on the disk"
        yield Finding("store_unreachable", "error", "store", error.message, meaning, error.hint or "look at its log")
        return
    if missing:
        meaning = "commands and pages find tables missing until they have; an agent that ships there runs them itself"
        problem = f"{len(missing)} migrations of the store have not run"
        yield Finding("store_not_migrated", "error", "store", problem, meaning, "run `clew store migrate`")
    skew = abs((here - row[0]).total_seconds()) if row else 0.0
    if skew > MAX_SKEW_S:
        problem = f"the clock of this machine and that of the store differ by {skew:.1f} s"
        meaning = "the times of events mislead: `--since 1m` may find nothing"
        yield Finding("clock_skew", "warning", "clock", problem, meaning, "synchronise both clocks (NTP)")


def _find_wrong_rules(machine: _Machine) -> Iterator[Finding]:
    from clew.agent.alert_findings import find_wrong_rules

    return find_wrong_rules(machine.settings)


def find_plain_transport(host: str, *, is_encrypted: bool) -> Iterator[Finding]:
    """Say that others could read what goes to the store; PostgreSQL's clients do without TLS in silence."""
    if host.startswith("/") or host in {"", "localhost", "127.0.0.1", "::1"} or is_encrypted:
        return
    problem = f"the connection to the store at {host} is not encrypted"
    meaning = "whoever is on the way can read your events, and the password"
    yield Finding("store_in_the_clear", "warning", "store", problem, meaning, "add sslmode=verify-full to the DSN")


def _cannot_look(check: str, error: Exception) -> Finding:
    if isinstance(error, ClewError):
        problem, remedy = error.message, error.hint
    else:
        path: Any = error.filename if isinstance(error, OSError) else None
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        problem, remedy = f"cannot look at {path or check}: {reason}", ""
    meaning = f"what else is wrong with it ({check}) is not known"
    return Finding(
        "cannot_look", "error", check, problem, meaning, remedy or "run `clew doctor` as the owner of the spool"
    )


CHECKS: Final[dict[str, Callable[[_Machine], Iterator[Finding]]]] = {
    "settings": _find_wrong_settings,
    "sinks": _find_unusable_sinks,
    "destinations": _find_no_sink,
    "directories": lambda machine: find_places(machine.settings),
    "disk space and inodes": lambda machine: find_disk_trouble(machine.settings),
    "bound of the spool": lambda machine: find_full_spool(machine.settings),
    "accounts": _find_unread_spool,
    "agent": _find_no_agent,
    "state of the agent": _find_silent_agent,
    "failing sinks": _find_failing_sinks,
    "lagging sinks": _find_lagging_sinks,
    "losses": _find_losses,
    "damage": _find_damage,
    "odd files": _find_odd_files,
    "dead letters": _find_dead_letters,
    "store": _find_store_trouble,
    "alerts": _find_wrong_rules,
}
"""What is looked at, in this order, each with the function that yields what is wrong."""
