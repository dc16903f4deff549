"""``clew alerts``: what fires, what people say of it, and the rules behind it."""

from __future__ import annotations

import signal
import threading
from datetime import datetime, timedelta
from pathlib import Path  # noqa: TC003 - typer reads it
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from clew import clock, config
from clew.alerts.notice import Example, Notice, format_value
from clew.alerts.notify.make import make_receivers
from clew.alerts.notify.receiver import Sent
from clew.alerts.rules_file import RuleFileError, load_rules, rules_path
from clew.alerts.runner import AlertRunner
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.cli.asking import Data, Dsn, Json, ask, asks
from clew.cli.commands.alerts_export import export
from clew.cli.commands.alerts_replay import replay_rules
from clew.cli.look.render import clean, console, print_json
from clew.delivery.status import read_statuses
from clew.errors import ClewError, ConfigError, NotFoundError, UsageError
from clew.query.values import ValueProblem, read_duration_ms
from clew.questions.alerts import AlertQuestion, AlertsQuestion, SilencesQuestion
from clew.questions.kinds import did_you_mean
from clew.store.postgres.alerts.acting import EVERY_RULE, acknowledge, add_silence, end_silence
from clew.store.postgres.connect import connect, explained, find_dsn
from clew.store.postgres.traces import recent_traces

if TYPE_CHECKING:
    from types import FrameType

    from clew.alerts.rules import Rule, RuleSet
    from clew.config import Settings
    from clew.store.postgres.alerts.listing import AlertRow

__all__ = ["app"]

app = typer.Typer(
    help="Look after alerts: what fires, and the rules behind it.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)

RuleName = Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule, such as error_rate.")]
AlertId = Annotated[str, typer.Argument(metavar="ID", help="Its id, or the beginning of it.")]
By = Annotated[str, typer.Option("--by", help="Who says it.", show_default=False)]


@app.callback()
def alerts() -> None:
    """Look after alerts: what fires, and the rules behind it."""


@app.command("list")
@asks(AlertsQuestion)
def list_alerts(question: AlertsQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """List alerts: those that go on first, each by when it fired.

    Example: clew alerts list --state firing
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
        return
    out = console()
    evaluation = found.evaluation
    if evaluation.state == "off":
        out.print(
            "alerts were never evaluated: an agent does it (clew up, clew agent), or clew alerts run", style="yellow"
        )
    elif evaluation.state != "ok":
        said = "; ".join(evaluation.quality) or f"the last evaluation was {evaluation.age_s or 0:.0f} s ago"
        out.print(f"{evaluation.state}: {clean(said)}", style="yellow")
    if evaluation.rules_error:
        out.print(clean(evaluation.rules_error), style="yellow")
    if not found.alerts:
        out.print("no alerts")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("id", "state", "since", "what", "value", "threshold"):
        table.add_column(title, no_wrap=title in {"id", "state", "since"})
    for alert in found.alerts:
        table.add_row(*_row(alert))
    out.print(table)


@app.command("show")
@asks(AlertQuestion)
def show(question: AlertQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Show one alert: what was said of it, when, and who was notified.

    Example: clew alerts show 01934b5c
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
        return
    out = console()
    from msgspec import json

    from clew.alerts.notify.text import text_body

    if found.alert.notice is not None:
        out.print(
            clean(text_body(json.decode(found.alert.notice, type=Notice)), is_multiline=True),
            markup=False,
            highlight=False,
        )
    if found.alert.acknowledged_at is not None:
        out.print(
            f"acknowledged at {found.alert.acknowledged_at:%Y-%m-%d %H:%M} {clean(found.alert.acknowledged_by)}: {clean(found.alert.acknowledged_note)}"
        )
    for change in found.changes:
        muted = f"  nobody was notified: {clean(change.muted_by)}" if change.muted_by else ""
        out.print(f"{change.at:%Y-%m-%d %H:%M:%S}  {change.kind}{muted}")
        for delivery in change.deliveries:
            reason = f": {clean(delivery.reason)}" if delivery.reason else ""
            out.print(
                f"  {delivery.receiver} {delivery.state}, attempts {delivery.attempts}, repeated {delivery.repeated}{reason}"
            )


@app.command("check")
def check(
    file: Annotated[
        Path | None, typer.Argument(help="The file; the one in force by default.", show_default=False)
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Check a file of rules: every problem with its line and column.

    Example: clew alerts check alerts.yaml
    """
    path = file or rules_path(config.load(data_dir=data), config.load_alerts())
    if file is not None and not file.exists():
        raise UsageError(
            f"{file} does not exist", hint="write one; `clew alerts rules` shows the defaults to begin with"
        )
    try:
        rules = load_rules(path)
    except RuleFileError as error:
        if as_json:
            print_json({"ok": False, "problems": [problem._asdict() for problem in error.problems]})
        else:
            for problem in error.problems:
                typer.echo(f"{path}:{problem.line}:{problem.column}: {clean(problem.message)}", err=True)
        raise typer.Exit(2) from None
    enabled = sum(rule.enabled for rule in rules.rules.values())
    if as_json:
        print_json({"ok": True, "source": rules.source, "rules": enabled, "problems": []})
    else:
        typer.echo(f"{rules.source}: {enabled} rules")


@app.command("rules")
def show_rules(data: Data = None, as_json: Json = False) -> None:
    """Show the rules in force.

    Example: clew alerts rules
    """
    rules = _rules(config.load(data_dir=data))
    if as_json:
        from msgspec import to_builtins

        print_json({"source": rules.source, "rules": to_builtins(list(rules.rules.values()))})
        return
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for title in ("rule", "what", "threshold", "severity", "at least", "window"):
        table.add_column(title, no_wrap=title == "rule")
    for rule in rules.rules.values():
        measured = SIGNALS[rule.signal]
        sign = "<" if measured.is_below else ">"
        threshold = f"{sign} {format_value(rule.threshold, measured.unit)}"
        is_share = isinstance(measured, ShareSignal)
        window = f"{rule.window_s / 60:g} to {rule.max_window_s / 60:g} min"
        table.add_row(
            rule.name,
            measured.title,
            threshold,
            rule.severity if rule.enabled else "off",
            f"{rule.min_units} {measured.counted}" if is_share else "",
            window if is_share else "",
        )
    console().print(table)


@app.command("test")
def send_test(rule: RuleName, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """Send a test notice of a rule to every receiver, now.

    Example: clew alerts test error_rate
    """
    settings, alert_settings = config.load(data_dir=data, dsn=dsn), config.load_alerts()
    held = _rule(_rules(settings), rule)
    receivers = [each for each in make_receivers(alert_settings) if not held.receivers or each.name in held.receivers]
    if not receivers:
        raise ConfigError(
            "nobody is set up to be notified",
            hint="set CLEW_SLACK_WEBHOOK_URL, CLEW_SMTP_URL with CLEW_MAIL_FROM and CLEW_MAIL_TO, or CLEW_WEBHOOK_URL",
        )
    notice = _test_notice(held, _some_trace(settings), settings.public_url or "")
    outcomes = [(receiver.name, receiver.send(notice, "")) for receiver in receivers]
    results: list[dict[str, Any]] = [
        {
            "receiver": name,
            "ok": isinstance(outcome, Sent),
            "reason": "" if isinstance(outcome, Sent) else outcome.reason,
        }
        for name, outcome in outcomes
    ]
    if as_json:
        print_json({"rule": rule, "results": results})
    else:
        for result in results:
            typer.echo(f"{result['receiver']}: {'sent' if result['ok'] else clean(result['reason'])}")
    if not all(result["ok"] for result in results):
        raise typer.Exit(1)


@app.command("ack")
def ack(
    alert_id: AlertId,
    by: By = "",
    note: Annotated[str, typer.Option("--note", help="What you say of it.", show_default=False)] = "",
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Say that somebody looks after an alert: it is not notified again until it is worse, or over.

    Example: clew alerts ack 01934b5c --note "the provider is slow, waiting"
    """
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    with connect(where, application_name="clew-alerts-ack") as connection, explained(where):
        found = acknowledge(connection, alert_id, by=by, note=note)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"acknowledged: {found.alert.id}")


@app.command("silence")
def silence(  # noqa: PLR0913, PLR0917 - the options of the command
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Name of the rule; * for every one.")],
    lasts: Annotated[str, typer.Option("--for", help="For how long: 30m, 2h, 7d.")],
    why: Annotated[str, typer.Option("--why", help="The reason; it is shown with every silenced alert.")],
    service: Annotated[str, typer.Option("--service", help="Of this service only.", show_default=False)] = "",
    environment: Annotated[
        str, typer.Option("--environment", help="In this environment only.", show_default=False)
    ] = "",
    by: By = "",
    data: Data = None,
    dsn: Dsn = None,
    as_json: Json = False,
) -> None:
    """Have nobody notified of a rule for a while; alerts are still raised and listed.

    Example: clew alerts silence latency --for 2h --why "load test"
    """
    settings = config.load(data_dir=data, dsn=dsn)
    if rule != EVERY_RULE:
        _rule(_rules(settings), rule)
    where = find_dsn(settings)
    with connect(where, application_name="clew-alerts-silence") as connection, explained(where):
        made = add_silence(
            connection, rule, lasts=_duration(lasts), why=why, service=service, environment=environment, by=by
        )
    if as_json:
        print_json(made)
    else:
        typer.echo(f"silenced until {made.ends_at:%Y-%m-%d %H:%M:%S}; `clew alerts unsilence {made.id}` ends it")


@app.command("silences")
@asks(SilencesQuestion)
def silences(question: SilencesQuestion, data: Data = None, dsn: Dsn = None, as_json: Json = False) -> None:
    """List the silences that hold, or will.

    Example: clew alerts silences
    """
    found = ask(config.load(data_dir=data, dsn=dsn), question.reading())
    if as_json:
        print_json(found)
        return
    for each in found.silences:
        whose = " ".join(part for part in (each.service, each.environment) if part)
        typer.echo(
            f"{each.id}  {clean(each.rule)} {clean(whose)} until {each.ends_at:%Y-%m-%d %H:%M:%S}: {clean(each.why)}"
        )
    if not found.silences:
        typer.echo("no silences")


@app.command("unsilence")
def unsilence(
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="Its id.")], data: Data = None, dsn: Dsn = None
) -> None:
    """End a silence before its time.

    Example: clew alerts unsilence 01934b5c-0a7e-7c3e-9d56-2f3b8f1c7a10
    """
    where = find_dsn(config.load(data_dir=data, dsn=dsn))
    with connect(where, application_name="clew-alerts-silence") as connection, explained(where):
        end_silence(connection, silence_id)
    typer.echo("the silence is over")


@app.command("run")
def run(
    data: Data = None,
    dsn: Dsn = None,
    once: Annotated[bool, typer.Option("--once", help="Evaluate once, and end.")] = False,
) -> None:
    """Evaluate rules and send notices in the foreground, where no agent does; several may run.

    Example: clew alerts run
    """
    settings = config.load(data_dir=data, dsn=dsn)
    settings = config.load(data_dir=data, dsn=find_dsn(settings))
    runner = AlertRunner(settings, config.load_alerts(), report=_report, lag_s=lambda: _lag_s(settings))
    if once:
        found = runner.attempt(is_forced=True)
        runner.stop()
        if found is None:
            raise ClewError("the rules could not be evaluated", hint="see the line above, and `clew doctor`")
        typer.echo(f"evaluated: {found.changes} changes")
        return
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    runner.start()
    typer.echo("evaluating alerts; Ctrl-C ends", err=True)
    stopped.wait()
    runner.stop()


app.command("replay")(replay_rules)
app.command("export")(export)


def _row(alert: AlertRow) -> tuple[str, ...]:
    measured = SIGNALS.get(alert.rule)
    unit = measured.unit if measured is not None else "count"
    counts = "" if alert.n is None or alert.bad is None else f" ({alert.bad}/{alert.n})"
    who = " ".join(clean(part) for part in (alert.service, alert.environment, alert.subject) if part)
    state = alert.state + (", acknowledged" if alert.acknowledged_at else "") + (", muted" if alert.muted_by else "")
    since = "" if alert.since is None else f"{alert.since.astimezone():%m-%d %H:%M}"
    return (
        alert.id,
        state,
        since,
        f"{who} {clean(alert.rule)}".strip(),
        format_value(alert.value, unit) + counts,
        "" if alert.threshold is None else format_value(alert.threshold, unit),
    )


def _rules(settings: Settings) -> RuleSet:
    return load_rules(rules_path(settings, config.load_alerts()))


def _rule(rules: RuleSet, name: str) -> Rule:
    rule = rules.rules.get(name)
    if rule is None:
        raise UsageError(
            f"there is no rule {name[:60]!r}",
            hint=f"{did_you_mean(name, list(rules.rules))}`clew alerts rules` lists them",
        )
    return rule


def _some_trace(settings: Settings) -> str | None:
    """Return the newest trace, for a test notice to lead to; None where the store has none, or is not there."""
    try:
        page = ask(settings, recent_traces(limit=1, cursor=None))
    except (ClewError, NotFoundError):
        return None
    return page.traces[0].trace_id if page.traces else None


def _test_notice(rule: Rule, trace_id: str | None, public_url: str) -> Notice:
    measured = SIGNALS[rule.signal]
    now = clock.now()
    url = f"{public_url.rstrip('/')}/t/{trace_id}" if public_url and trace_id else ""
    examples = (
        () if trace_id is None else (Example(trace_id=trace_id, role="typical", text="the newest trace", url=url),)
    )
    return Notice(
        alert_id=f"test-{now:%Y%m%dT%H%M%S}",
        number=1,
        kind="test",
        rule=rule.name,
        title=measured.title,
        severity=rule.severity,
        service=rule.service,
        environment=rule.environment,
        unit=measured.unit,
        value=rule.threshold,
        threshold=rule.threshold,
        is_below=measured.is_below,
        counted=measured.counted,
        since=now,
        at=now,
        examples=examples,
        cause="a test: nothing is wrong",
        action=rule.action or "Nothing is to be done; to look at the newest trace",
        command=f"clew trace {trace_id}" if trace_id else "clew doctor",
        owner=rule.owner,
        runbook=rule.runbook,
    )


def _duration(text: str) -> timedelta:
    try:
        return timedelta(milliseconds=read_duration_ms(text.strip()))
    except (ValueProblem, OverflowError):
        raise UsageError(f"--for is {text[:40]!r}, which is no time", hint="write 30m, 2h or 7d") from None


def _lag_s(settings: Settings) -> float | None:
    """Return how late the store is, by what agents on this machine say; None where none says anything."""
    now = datetime.now().timestamp()  # noqa: DTZ005 - seconds since the epoch, whatever the zone
    caught_up = [
        sink.caught_up
        for status in read_statuses(settings.spool_dir)
        for sink in status.sinks
        if sink.name == "postgres" and sink.caught_up
    ]
    return max((max(0.0, now - moment) for moment in caught_up), default=None)


def _report(line: str) -> None:
    typer.echo(line, err=True)
