"""``clew alerts export``: the rules in force as files of other systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from clew import config
from clew.alerts.export.prometheus import ExportOptions, export_prometheus
from clew.alerts.rule_keys import KEYS, UnreadableValueError
from clew.alerts.rules_file import load_rules, rules_path
from clew.cli.asking import Data, Json  # noqa: TC001 - typer reads annotations at run time
from clew.cli.look.render import print_json
from clew.errors import UsageError
from clew.spool.files.replace import replace_file

__all__ = ["export"]

MAX_WINDOWS: Final = 6


def export(  # noqa: PLR0913, PLR0917 - its options
    system: Annotated[str, typer.Argument(metavar="SYSTEM", help="Which system: prometheus.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Directory to write to; made if missing.")
    ],
    url: Annotated[
        str | None,
        typer.Option(help="Where Alertmanager finds clew's server; default CLEW_PUBLIC_URL.", show_default=False),
    ] = None,
    token_file: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="File on Alertmanager's machine with a token of the scope ingest.", show_default=False
        ),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="Write the rules as they hold in this environment.", show_default=False)
    ] = None,
    windows: Annotated[
        str | None,
        typer.Option(
            help="Windows of all shares, such as 10s,30s, for a trial; default those of the rules.", show_default=False
        ),
    ] = None,
    group_wait: Annotated[str, typer.Option(help="How long Alertmanager waits for other alerts of a service.")] = "30s",
    file: Annotated[
        str | None, typer.Option(metavar="FILE", help="Rules to export; default those in force.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Write the alert rules as files of another system: for Prometheus rules with their tests, and Alertmanager's configuration.

    The alerts decide as clew's own do: by Wilson's lower bound over windows that grow until they hold enough units. Rules
    that need more than Prometheus has are left out, each with its reason.

    Example: clew alerts export prometheus -o /etc/prometheus/clew --url http://clew.example:4319
    """
    if system != "prometheus":
        raise UsageError(f"rules cannot be exported for {system[:40]!r}", hint="the only system is prometheus")
    settings = config.load(data_dir=data)
    if file is not None and not Path(file).exists():
        raise UsageError(
            f"{file} does not exist", hint="write one; `clew alerts rules` shows the defaults to begin with"
        )
    rules = load_rules(Path(file) if file is not None else rules_path(settings, config.load_alerts()))
    options = ExportOptions(
        url=url or settings.public_url or ExportOptions().url,
        token_file=token_file or "",
        environment=environment or "",
        windows=_windows(windows or ""),
        group_wait_s=_length(group_wait, "--group-wait"),
    )
    result = export_prometheus(rules, options)
    directory = Path(output)
    directory.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for name, text in result.files.items():
        path = directory / name
        replace_file(path, text.encode(), mode=0o644)
        written.append(str(path))
    if as_json:
        print_json({"files": written, "rules": result.exported, "left_out": result.left_out})
        return
    for path in written:
        typer.echo(f"wrote {path}")
    typer.echo(f"exported, of {rules.source}: {', '.join(result.exported) or 'nothing'}")
    for name, reason in result.left_out.items():
        typer.echo(f"left out {name}: {reason}")


def _windows(text: str) -> tuple[float, ...]:
    lengths = tuple(_length(part.strip(), "--windows") for part in text.split(",")) if text.strip() else ()
    if len(lengths) > MAX_WINDOWS or list(lengths) != sorted(set(lengths)):
        raise UsageError(
            f"--windows is {text!r}", hint=f"write at most {MAX_WINDOWS} windows, the shortest first: 5m,10m,30m,1h"
        )
    return lengths


def _length(text: str, option: str) -> float:
    try:
        length = float(KEYS["limit"].read(text, ""))
    except UnreadableValueError as error:
        raise UsageError(f"{option} is {text!r}", hint=str(error)) from None
    if length < 1:
        raise UsageError(f"{option} is {text!r}", hint="write a time of at least 1s")
    return length
