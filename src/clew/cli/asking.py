"""What the commands that ask the store have in common: their options, and how they ask."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from clew.cli.look.render import clean
from clew.query import QueryError
from clew.questions.kinds import FLAG, QUERY
from clew.questions.parameter import Parameter, Question, parameters, read_question
from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.reading import Reading, read

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.config import Settings

__all__ = ["Data", "Dsn", "Json", "ask", "asks"]

SHOWN_OF_QUERY = 100

T = TypeVar("T")

Data = Annotated[str | None, typer.Option("--data", help="Data directory; default CLEW_DATA_DIR.", show_default=False)]
Dsn = Annotated[
    str | None, typer.Option("--dsn", help="The store; default CLEW_DSN or the embedded one.", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def ask(settings: Settings, reading: Reading[T]) -> T:
    """Put one question to the store.

    Args:
        settings: Which store: its DSN, else the embedded one of the data directory.
        reading: The question.

    Raises:
        StoreUnreachable: There is no store, or it lets nobody in.
        StoreNotMigrated: Our tables are not there.
        ClewError: What the reading itself raises.
    """
    dsn = find_dsn(settings)
    with connect(dsn, is_reader=True) as connection, explained(dsn):
        return read(connection, reading)


def asks(question: type[Question]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the parameters of a question as its options and arguments.

    The command's function takes the question first, and then what it has of its own. A query that cannot be
    understood is shown with a mark at the place.

    Args:
        question: The question's class.

    Example:
        ``@asks(CostsQuestion)`` over ``def costs(question: CostsQuestion, as_json: Json = False) -> None``
    """
    declared = parameters(question, "cli")

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            texts = {one.name: text for one in declared if (text := _text_of(given.pop(one.field))) is not None}
            try:
                asked = read_question(question, texts, front="cli")
            except QueryError as error:
                _show_place(next(texts[one.name] for one in declared if one.kind is QUERY), error.at)
                raise
            command(asked, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        options = [_option(one) for one in declared]
        both = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in [*options, *own]]
        run.__name__, run.__doc__, run.__module__ = command.__name__, command.__doc__, command.__module__
        run.__signature__ = inspect.Signature(both)  # pyright: ignore[reportFunctionMemberAccess] - what typer reads
        run.__annotations__ = {}
        return run

    return decorate


def _option(one: Parameter) -> inspect.Parameter:
    """Write a parameter the way typer reads it."""
    settings: dict[str, Any] = {"help": f"{one.description}.", "show_default": one.default is not None}
    if one.kind is FLAG:
        entry = typer.Option(one.option, help=f"{one.help}.")
        return inspect.Parameter(
            one.field, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Annotated[bool, entry]
        )
    if one.option:
        entry: Any = typer.Option(one.option, metavar=one.metavar, **settings)
    else:
        entry = typer.Argument(metavar=one.metavar, **settings)
    default = inspect.Parameter.empty if one.is_required else one.default
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(one.field, kind, default=default, annotation=Annotated[str | None, entry])


def _text_of(given: str | bool | None) -> str | None:
    """Return what was given as a text; None for what was not given."""
    if isinstance(given, bool):
        return "true" if given else None
    return given


def _show_place(query: str, at: int) -> None:
    """Show where in a query the mistake is."""
    begin = max(0, at - SHOWN_OF_QUERY // 2)
    shown = clean(query[begin : begin + SHOWN_OF_QUERY])
    print(f"{shown}\n{' ' * (at - begin)}^", file=sys.stderr)
