"""``clew doctor``: find what keeps events from arriving, and say what to do.

Each check is one function that returns what it found; a check that cannot decide says so. Nothing
is changed.
"""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from msgspec import Struct

from clew import config
from clew.agent.accounts import read_account
from clew.agent.status import read_statuses
from clew.cli.render import clean, print_json
from clew.errors import ClewError
from clew.shipping import agent_is_alive
from clew.store.connect import connect, find_dsn
from clew.store.migrate import pending

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clew.config import Settings

__all__ = ["Finding", "doctor", "examine"]

MAX_SKEW_S = 2.0


class Finding(Struct):
    """What one check found.

    Attributes:
        check: What was looked at.
        state: ``"ok"``, ``"warning"`` or ``"failed"``.
        told: What was found.
        advice: What to do about it; empty when nothing needs to be done.
    """

    check: str
    state: Literal["ok", "warning", "failed"]
    told: str
    advice: str = ""


def doctor(
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    dsn: Annotated[str | None, typer.Option(help="The store; default CLEW_DSN or the embedded one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check the way from the application to the store, and say what is wrong.

    Example: clew doctor
    """
    findings = list(examine(config.load(data_dir=data, dsn=dsn)))
    if as_json:
        print_json(findings)
    else:
        for finding in findings:
            typer.echo(f"{finding.state:8} {finding.check}: {clean(finding.told)}")
            if finding.advice:
                typer.echo(f"         → {clean(finding.advice)}")
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Make every check, in the order in which an event travels.

    Args:
        settings: Where the spool and the store are.

    Yields:
        What each check found.
    """
    yield _permissions(settings.data_dir, "data directory")
    yield _permissions(settings.spool_dir, "spool directory")
    yield _room(settings)
    yield _agent(settings)
    yield _losses(settings)
    yield from _store(settings)


def _permissions(directory: Path, check: str) -> Finding:
    if not directory.exists():
        return Finding(check, "ok", f"{directory} is not there yet; it is made at the first use")
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        return Finding(
            check, "failed", f"{directory} may not be written to", "fix its owner or mode, or set CLEW_DATA_DIR"
        )
    if directory.stat().st_mode & 0o077:
        return Finding(check, "warning", f"{directory} is open to other users", f"chmod 700 {directory}")
    return Finding(check, "ok", str(directory))


def _room(settings: Settings) -> Finding:
    place = settings.spool_dir
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < settings.spool_keep_free_bytes + settings.segment_bytes:
        advice = "free some disk space, or lower CLEW_SPOOL_KEEP_FREE_BYTES"
        return Finding("disk space", "failed", f"{free // config.MIB} MiB free: events are being dropped", advice)
    return Finding("disk space", "ok", f"{free // config.MIB} MiB free")


def _agent(settings: Settings) -> Finding:
    waiting = sum(1 for _ in settings.spool_dir.glob("*/*/lock")) if settings.spool_dir.exists() else 0
    if not agent_is_alive(settings.spool_dir):
        state: Literal["ok", "failed"] = "failed" if waiting else "ok"
        advice = "run `clew up`, or `clew agent` with CLEW_DSN set" if waiting else ""
        return Finding("agent", state, f"none runs; {waiting} producers have events waiting", advice)
    troubles = [sink for status in read_statuses(settings.spool_dir) for sink in status.sinks if sink.trouble]
    if troubles:
        told = "; ".join(f"{sink.name}: {sink.trouble}" for sink in troubles)
        return Finding("agent", "failed", told, "put that right; the events are held meanwhile and nothing is lost")
    return Finding("agent", "ok", "runs")


def _losses(settings: Settings) -> Finding:
    dropped = read_account(settings.spool_dir).dropped
    if dropped:
        told = ", ".join(f"{number} ({reason})" for reason, number in sorted(dropped.items()))
        return Finding("losses", "warning", f"events were dropped: {told}", "see `clew spool status`")
    return Finding("losses", "ok", "no event was dropped")


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        with connect(find_dsn(settings), application_name="clew-doctor") as connection:
            missing = pending(connection)
            row = connection.execute("SELECT clock_timestamp()").fetchone()
            transport = _transport(connection.info.host, is_encrypted=connection.pgconn.ssl_in_use)
            now = datetime.now(UTC)
    except ClewError as error:
        yield Finding("store", "failed", error.message, error.hint)
        return
    if missing:
        yield Finding("store", "failed", f"{len(missing)} migrations have not run", "run `clew store migrate`")
    else:
        yield Finding("store", "ok", "reachable and up to date")
    yield transport
    skew = abs((now - row[0]).total_seconds()) if row else 0.0
    if skew > MAX_SKEW_S:
        told = f"this machine's clock and the store's differ by {skew:.1f} s"
        yield Finding("clock", "warning", told, "synchronise the clocks (NTP); times of events mislead otherwise")
    else:
        yield Finding("clock", "ok", f"within {MAX_SKEW_S:.0f} s of the store's")


def _transport(host: str, *, is_encrypted: bool) -> Finding:
    """Say whether others could read what goes to the store; PostgreSQL's clients do without TLS in silence."""
    if host.startswith("/") or host in {"", "localhost", "127.0.0.1", "::1"}:
        return Finding("way to the store", "ok", "on this machine")
    if is_encrypted:
        return Finding("way to the store", "ok", "encrypted; sslmode=verify-full would tell whom it leads to as well")
    return Finding(
        "way to the store", "warning", f"{host} is talked to in the clear", "add sslmode=verify-full to the DSN"
    )
