"""``clew alerts replay``: how often the rules would have fired on the data that are there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from clew import config
from clew.alerts.evaluate import horizons
from clew.alerts.notice import format_value
from clew.alerts.replay import replay
from clew.alerts.rules_file import RuleFileError, load_rules, rules_path
from clew.alerts.signals import SIGNALS
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.look.render import clean, console, print_json
from clew.errors import NotFoundError, UsageError
from clew.questions.alerts import PastQuestion

if TYPE_CHECKING:
    from clew.alerts.replay import AlertReplay, ReplayedAlert, ReplayedRule

__all__ = ["replay_rules"]

SHOWN_ALERTS = 20


@asks(PastQuestion)
def replay_rules(
    question: PastQuestion,
    file: Annotated[
        Path | None, typer.Option("--file", help="Rules to try; those in force by default.", show_default=False)
    ] = None,
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Replay rules over the past: how often each would have fired, and how close to its threshold the usual level is.

    Example: clew alerts replay --since 7d
    """
    settings = config.load(data_dir=data, dsn=dsn)
    if file is not None and not file.exists():
        raise UsageError(f"{file} does not exist", hint="`clew alerts rules` shows those in force")
    try:
        rules = load_rules(file or rules_path(settings, config.load_alerts()))
    except RuleFileError as error:
        raise UsageError(str(error), hint="`clew alerts check` lists everything that is wrong") from None
    cells = ask(settings, question.cells(horizons(rules)))
    if not cells:
        raise NotFoundError("there is nothing to replay", hint="the store has no requests in that time")
    since, until = question.of(cells)
    found = replay(rules, cells, since, until)
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: AlertReplay) -> None:
    out = console()
    days = (found.until - found.since) / timedelta(days=1)
    out.print(
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC, {days:.3g} days, each minute evaluated"
    )
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("rule", "of", "alerts", "5 min > threshold", "usual", "95 %", "threshold"):
        table.add_column(title, no_wrap=title == "rule", justify="left" if title in {"rule", "of"} else "right")
    for each in found.rules:
        unit = SIGNALS[each.signal].unit
        table.add_row(
            clean(each.rule),
            clean(" ".join(part for part in each.target if part)),
            str(len(each.alerts)),
            str(each.naive_alerts),
            "–" if each.median is None else format_value(each.median, unit),
            "–" if each.p95 is None else format_value(each.p95, unit),
            format_value(each.threshold, unit),
        )
    out.print(table)
    alerts = sorted(((each, alert) for each in found.rules for alert in each.alerts), key=lambda pair: pair[1].fired_at)
    for each, alert in alerts[-SHOWN_ALERTS:]:
        out.print(_alert_line(each, alert), highlight=False, markup=False)
    if len(alerts) > SHOWN_ALERTS:
        out.print(f"and {len(alerts) - SHOWN_ALERTS} before; --json has them all")
    for each in found.rules:
        if each.warning:
            whose = " ".join(part for part in each.target if part)
            out.print(f"{clean(each.rule)} {clean(whose)}: {each.warning}", style="yellow", highlight=False)
    if found.left_out:
        out.print(f"not replayed, since they measure the moment: {', '.join(found.left_out)}", style="dim")


def _alert_line(each: ReplayedRule, alert: ReplayedAlert) -> str:
    unit = SIGNALS[each.signal].unit
    whose = " ".join(part for part in each.target if part)
    end = "not over" if alert.resolved_at is None else f"over at {alert.resolved_at:%H:%M}"
    value = f"{format_value(alert.value, unit)} ({alert.bad}/{alert.n})"
    return clean(f"{alert.fired_at:%Y-%m-%d %H:%M}  {each.rule} {whose} {value}, since {alert.since:%H:%M}, {end}")
