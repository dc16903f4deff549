"""``clew token``: who may ask the server what."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, get_args

import typer
from msgspec import ValidationError, convert

from clew import clock, config
from clew.access.tokens import Scope, Token, create_token, read_tokens, revoke_token
from clew.cli.asking import Data, Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import clean, print_json
from clew.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["app"]

app = typer.Typer(
    help="Make, list and revoke the tokens that the server asks for.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)

_SPAN = re.compile(r"(\d{1,5})\s*(m|h|d|w)", re.IGNORECASE)
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.callback()
def token() -> None:
    """Make, list and revoke the tokens that the server asks for."""


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what it is for, such as `grafana`.")],
    scope: Annotated[
        list[str], typer.Option(help="What it may do: read, ingest, admin; give it again for more than one.")
    ],
    expires: Annotated[
        str | None, typer.Option(help="When it ends by itself: 12h, 90d, 52w; default never.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Make a token, and print it: this once, for only its hash is kept.

    `read` answers questions, `ingest` takes events in, `admin` may do everything. From the first token on the server
    asks for one.

    Example: clew token create --name grafana --scope read --expires 90d
    """
    directory = _data_dir(data)
    now = clock.now()
    expires_at = None if expires is None else now + _parse_span(expires)
    secret, made = create_token(
        directory, name=name, scopes=[_parse_scope(one) for one in scope], now=now, expires_at=expires_at
    )
    if as_json:
        print_json({"token": secret, **_as_object(made, now)})
        return
    typer.echo(secret)
    typer.echo(f"{_describe(made, now)}\nIt is not shown again. Send it as `Authorization: Bearer …`.", err=True)


@app.command("list")
def list_tokens(data: Data = None, as_json: Json = False) -> None:
    """List the tokens: id, name, scopes, state. The tokens themselves are not kept.

    Example: clew token list
    """
    now = clock.now()
    tokens = read_tokens(_data_dir(data))
    if as_json:
        print_json({"tokens": [_as_object(token, now) for token in tokens]})
    if not tokens:
        raise NotFoundError("there are no tokens", hint="`clew token create` makes one")
    if not as_json:
        for token in tokens:
            typer.echo(_describe(token, now))


@app.command()
def revoke(
    which: Annotated[str, typer.Argument(help="The token's id, or its name.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """End a token at once; servers that run notice with the next request.

    Example: clew token revoke grafana
    """
    now = clock.now()
    ended = revoke_token(_data_dir(data), which, now=now)
    if as_json:
        print_json(_as_object(ended, now))
    else:
        typer.echo(_describe(ended, now))


def _data_dir(data: str | None) -> Path:
    return config.load(data_dir=data).data_dir


def _parse_scope(text: str) -> Scope:
    try:
        return convert(text, Scope)
    except ValidationError:
        raise UsageError(f"--scope is {text!r}", hint=f"use {', '.join(get_args(Scope))}") from None


def _parse_span(text: str) -> timedelta:
    match = _SPAN.fullmatch(text.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--expires is {text!r}, which is not a time from now", hint="write 12h, 90d or 52w")
    return timedelta(**{_UNITS[match[2].lower()]: int(match[1])})


def _as_object(token: Token, now: datetime) -> dict[str, Any]:
    fields = {name: getattr(token, name) for name in token.__struct_fields__ if name != "sha256"}
    return {**fields, "state": token.state(now)}


def _describe(token: Token, now: datetime) -> str:
    state = token.state(now)
    until = f", until {token.expires_at:%Y-%m-%d %H:%M}" if state == "valid" and token.expires_at else ""
    return f"{token.id}  {clean(token.name)}  {','.join(token.scopes)}  {state}{until}"
