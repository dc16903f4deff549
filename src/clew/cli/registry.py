"""Which commands there are. A command's module is imported when that command is asked for."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command

from clew.errors import ClewError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["COMMANDS", "root"]

COMMANDS: Final = {
    "up": ("clew.cli.commands.up", "up"),
    "demo": ("clew.cli.commands.demo", "demo"),
    "fault": ("clew.cli.commands.fault", "app"),
    "trace": ("clew.cli.commands.trace", "trace"),
    "traces": ("clew.cli.commands.traces", "traces"),
    "diff": ("clew.cli.commands.diff", "diff"),
    "lineage": ("clew.cli.commands.lineage", "lineage"),
    "logs": ("clew.cli.commands.logs", "logs"),
    "errors": ("clew.cli.commands.errors", "errors"),
    "export": ("clew.cli.commands.export", "export"),
    "costs": ("clew.cli.commands.costs", "costs"),
    "agent": ("clew.cli.commands.agent", "agent"),
    "server": ("clew.cli.commands.server", "server"),
    "store": ("clew.cli.commands.store", "app"),
    "sql": ("clew.cli.commands.sql", "sql"),
    "spool": ("clew.cli.commands.spool", "app"),
    "dead": ("clew.cli.commands.dead", "app"),
    "token": ("clew.cli.commands.token", "app"),
    "alerts": ("clew.cli.commands.alerts", "app"),
    "doctor": ("clew.cli.commands.doctor", "doctor"),
}
"""Each command, in the order of the help: its module, and the function or group in it."""


class _LazyGroup(TyperGroup):
    """The commands of ``COMMANDS``, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the name is the base class's
        """List the names of all commands."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the name is the base class's
        """Import a command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        try:
            found = getattr(import_module(module), name)
        except ModuleNotFoundError as error:
            found = _missing(cmd_name, error.name or "a package")
        return get_command(found if isinstance(found, typer.Typer) else _single(cmd_name, found))


def root() -> Any:
    """Build the ``clew`` command."""
    app = typer.Typer(cls=_LazyGroup, add_completion=False, rich_markup_mode=None, no_args_is_help=True)
    app.callback()(_clew)
    return get_command(app)


def _show_version(is_asked: bool) -> None:
    if not is_asked:
        return
    try:
        typer.echo(f"clew {version('clew')}")
    except PackageNotFoundError:
        typer.echo("clew, not installed")
    raise typer.Exit


def _clew(
    *,
    is_version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Give every request of a RAG system one thread, from the call to the root cause.

    Example: clew up
    """


def _single(name: str, function: Callable[..., None]) -> typer.Typer:
    """Wrap one function as a command of its own."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    settings = {"allow_extra_args": True, "ignore_unknown_options": True} if hasattr(function, "is_missing") else {}
    app.command(name, context_settings=settings)(function)
    return app


def _missing(name: str, package: str) -> Callable[..., None]:
    """Make a command that says which package it would need."""

    def missing() -> None:
        raise ClewError(f"clew {name} needs the package {package}", hint="pip install 'clew[all]'")

    missing.__doc__ = f"(Needs the package {package}: pip install 'clew[all]'.)"
    missing.is_missing = True  # pyright: ignore[reportFunctionMemberAccess]
    return missing
