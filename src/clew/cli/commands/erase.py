"""``clew store erase``: the right to be forgotten, with a proof."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec import Struct

from clew import config
from clew.cli.asking import Data, Dsn, Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import clean, print_json
from clew.delivery.erasure import SpoolErasure, erase_from_spool, survey_spool
from clew.errors import UsageError
from clew.store.postgres.connect import connect, find_dsn
from clew.store.postgres.upkeep.erasure import Found, begin_erasure, condemned, count_theirs, erase_from_store
from clew.store.postgres.upkeep.migrate import check_migrated

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["erase"]

SHOWN_MENTIONS = 10

NOT_SEARCHED = (
    "spools of other hosts: run this there too",
    "backups, replicas, exports, and archives of PostgreSQL's log of changes",
    "the id as a part of longer texts, in events of others",
    "Prometheus, whose exemplars hold trace ids and no users",
)
"""What no run of this command can search."""


class Proof(Struct):
    """What was there, what was done, and what is there now.

    Attributes:
        user: The person.
        before: What the store held.
        after: What it holds now.
        spool: What was done to the spool, and which of its files still hold the id.
        left: What could not be done here.
        outside: Backends beyond, which have to be asked by themselves, and for which traces.
    """

    user: str
    before: Found
    after: Found
    spool: SpoolErasure
    left: list[str]
    outside: dict[str, list[str]]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left that this command can reach."""
        nothing = not (self.after.events or self.after.open_spans or self.after.mentions)
        return nothing and not (self.spool.waiting or self.spool.files)


def erase(
    user: Annotated[str, typer.Option("--user", help="Whose events.", show_default=False)],
    mentions: Annotated[
        bool, typer.Option("--mentions", help="Erase also events of others that name the id as a text of its own.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count, and change nothing.")] = False,
    is_sure: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Erase a user from the store, the spool and the dead letters, and search for what is left.

    Events of the user go, and those of traces in which nobody else has a part. There is no way back. Exit code 1 says that
    something is left.

    Example: clew store erase --user user-123 --dry-run
    """
    if not user.strip():
        raise UsageError("--user is empty", hint="name the user_id whose events are to go")
    try:
        user.encode()
    except UnicodeEncodeError:
        raise UsageError("--user is not UTF-8, as the user_id of every event is") from None
    settings = config.load(data_dir=data, dsn=dsn)
    where = find_dsn(settings)
    check_migrated(where)
    with connect(where, application_name="clew-erase") as connection:
        parts = survey_spool(settings.spool_dir, user)
        before = count_theirs(connection, user, with_mentions=mentions, traces=parts.theirs, shared=parts.shared)
        if not dry_run and not is_sure:
            typer.confirm(f"erase {before.events:,} events of {clean(user)} for good?", abort=True)
        if not dry_run:
            begin_erasure(connection, before)
        traces = {*before.traces, *condemned(connection)}
        spool = erase_from_spool(settings.spool_dir, user, traces, with_mentions=mentions, is_dry_run=dry_run)
        left = [] if dry_run else erase_from_store(connection, user, before, with_mentions=mentions)
        after = count_theirs(connection, user, with_mentions=mentions)
    proof = Proof(user, before, after, spool, left, _outside(settings, before))
    if as_json:
        print_json({**_as_object(proof), "is_dry_run": dry_run})
    else:
        _print(proof, is_dry_run=dry_run)
    if not dry_run and not proof.is_complete:
        raise typer.Exit(1)


def _outside(settings: Settings, found: Found) -> dict[str, list[str]]:
    """Name the backends that were sent events, and the traces to ask them to delete."""
    return {name: found.traces for name in settings.sink_names() if name in {"langsmith", "otlp"}}


def _as_object(proof: Proof) -> dict[str, Any]:
    return {
        "user": proof.user,
        "before": proof.before,
        "after": proof.after,
        "spool": proof.spool,
        "left": proof.left,
        "outside": proof.outside,
        "not_searched": NOT_SEARCHED,
        "is_complete": proof.is_complete,
    }


def _print(proof: Proof, *, is_dry_run: bool) -> None:
    rows = [
        (name, str(count), "0" if name not in proof.after.partitions else str(proof.after.partitions[name]))
        for name, count in proof.before.partitions.items()
    ]
    rows.append(("open_spans", str(proof.before.open_spans), str(proof.after.open_spans)))
    rows.append(("spool", f"{proof.spool.events + proof.spool.waiting}", f"{proof.spool.waiting}"))
    rows.append(("dead letters", str(proof.spool.dead_letters), "0"))
    typer.echo(f"{'where':24} {'found':>9} {'now':>9}")
    for name, found, now in rows:
        typer.echo(f"{name:24} {found:>9} {found if is_dry_run else now:>9}")
    typer.echo(f"\n{len(proof.before.traces):,} traces are theirs alone")
    for line in proof.left:
        typer.echo(f"left to others: {line}")
    for name, traces in proof.outside.items():
        typer.echo(f"outside: ask {name} to delete {len(traces):,} traces (--json lists them)")
    if proof.spool.waiting:
        typer.echo(f"waiting: the agent has still to ship {proof.spool.waiting} events of theirs; then erase again")
    for path in proof.spool.files:
        typer.echo(f"still holds the id: {clean(path)} in the spool")
    for mention in proof.after.mentions[:SHOWN_MENTIONS]:
        typer.echo(f"names the id: {mention.event_id} {mention.timestamp} {clean(mention.message)}")
    if proof.after.mentions:
        typer.echo(f"{len(proof.after.mentions):,} events of others name the id; --mentions erases them too")
    if is_dry_run:
        typer.echo("nothing was changed")
    elif proof.is_complete:
        typer.echo("searched again: nothing is left" + (", but for what is left to others" if proof.left else ""))
    typer.echo(f"not searched: {'; '.join(NOT_SEARCHED)}")
