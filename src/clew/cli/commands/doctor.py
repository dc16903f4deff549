"""``clew doctor``: show what keeps events from arriving, and what mends it. The knowledge is ``agent.diagnosis``'s."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from clew import config
from clew.agent.diagnosis import Diagnosis, diagnose, wrong_setting
from clew.cli.look.render import clean, print_json
from clew.errors import ConfigError

if TYPE_CHECKING:
    from clew.agent.findings import Finding

__all__ = ["doctor"]


def doctor(
    data: Annotated[str | None, typer.Option(help="Data directory; default CLEW_DATA_DIR.", show_default=False)] = None,
    dsn: Annotated[
        str | None, typer.Option(help="The store; default CLEW_DSN or the embedded one.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find what keeps events from arriving: settings, directories, disk, logs, agent, sinks, store.

    Each finding says what is wrong, what follows from it, and what mends it. Nothing is changed. Run it as the user of
    your service, with its settings. Exits with 0 when nothing is wrong, with 1 when there are findings.

    Example: clew doctor
    """
    diagnosis = _diagnose(data, dsn)
    if as_json:
        print_json(diagnosis)
    else:
        _print(diagnosis)
    if diagnosis.findings:
        raise typer.Exit(1)


def _diagnose(data: str | None, dsn: str | None) -> Diagnosis:
    try:
        settings = config.load(data_dir=data, dsn=dsn)
    except ConfigError as error:  # without them nobody knows where anything else is
        return Diagnosis([wrong_setting(error)], [], ["settings"])
    return diagnose(settings)


def _print(diagnosis: Diagnosis) -> None:
    for finding in (*diagnosis.findings, *diagnosis.notes):
        typer.echo(_describe(finding))
    if not diagnosis.findings:
        typer.echo(f"nothing is wrong with {', '.join(diagnosis.checked)}")


def _describe(finding: Finding) -> str:
    """Write a finding as three lines: what is wrong, what follows from it, what mends it."""
    lines = [f"{finding.severity:8} {clean(finding.problem)}", clean(finding.meaning), f"→ {clean(finding.remedy)}"]
    return f"\n{'':9}".join(lines)
