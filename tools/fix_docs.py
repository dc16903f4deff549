"""Write the pages of ``docs`` that say what the code, or other pages, already say.

``make fix-docs`` runs this; ``tests/docs/test_generated_pages.py`` fails when a page is stale. A page is
what its function here returns, and never edited by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from msgspec import NODEFAULT, json, structs

from clew import config
from clew.agent.health import AgentHealth, SinkLag, families
from clew.alerts.notice import format_value
from clew.alerts.rule_keys import KEYS, json_schema
from clew.alerts.rules_file import default_rules
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.catalog.events import EVENTS, FAILURE_METRICS, FIELDS, METRIC_FIELDS
from clew.catalog.series import CLOSED_LABELS, METRICS, REQUEST_METRICS, SPAN_METRICS
from clew.cli.registry import root
from clew.config.agent import AgentSettings
from clew.config.alerts import AlertSettings
from clew.config.emit import EmitSettings
from clew.config.server import ServerSettings
from clew.config.spool import SpoolSettings
from clew.config.store import StoreSettings
from clew.delivery.status import SinkHealth
from clew.event import STAGES, Event
from clew.receivers.langsmith import LangSmithCounts
from clew.server.alert_metrics import families as alert_families
from clew.server.app import create_app
from clew.server.health import RequestCounts
from clew.server.store_metrics import families as store_families
from clew.sinks.prometheus.series import MAX_SERIES
from clew.store.postgres.alerts.listing import EvaluationStatus, OutboxCount
from clew.store.postgres.upkeep.room import Room
from clew.store.postgres.upkeep.status import SlowStatement, StoreStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from clew.alerts.rules import Rule
    from clew.alerts.signals import Signal
    from clew.config.declaring import OwnerSettings

__all__ = ["PAGES", "main"]

REFERENCE: Final = Path(__file__).parents[1] / "docs" / "reference"
NOTE: Final = "<!-- Written by `make fix-docs` from {source}; do not edit. -->\n"

_UNITS: Final = {"ratio": "share", "seconds": "time", "usd": "dollars", "count": "number", "score": "score"}

_RULES_ARE = """The rules below are in force without a file. A file changes them by name, switches them off and adds others: \
`alerts.yaml` in the data directory, or the one that `CLEW_ALERTS_FILE` names. `clew alerts check` finds what is wrong in it, \
with line and column; a wrong file leaves the rules in force that were. Editors complete it by [its JSON schema](alerts.schema.json). \
How to set alerts up is [a page of its own](../how-to/alerts.md).

A share fires when the lower end of its Wilson interval (z = 3.09) is above the threshold, over the shortest window that holds \
enough units, for as long as `for` says; and it is over when the shares of that window and of the last ten minutes have been at or \
below it for `resolve_after` ([ADR 69](../adr/0069-alert-beyond-chance.md)). Other signals are one number, measured at each evaluation.
"""

_EVENTS_ARE = """What a RAG system has to say, in the words of the catalogue. A message that is not declared here is \
a log like any other; it has the stage of the span around it.
"""
_FIELD_RULE = """A field means the same in every event. It goes to the event's `metrics` when it is a measurement \
whose sum or distribution over many events means something by itself: durations, costs, tokens, scores. A field that \
describes this one event goes to its `context`, also when it is a number, such as a chunk count, a file size or a rank.

An attribute in brackets has another unit than the field: durations are seconds in OpenTelemetry. What has no place \
of its own in LangSmith is metadata of the run.
"""
_FIELD_HEAD = ("field", "type", "unit", "in", "what", "OpenTelemetry", "LangSmith")
_JSON_RULE = """One line of JSON, in UTF-8. `trace_id`, `span_id` and `user_id` are `null` when there is none; other keys \
are absent when there is nothing to say. Whoever reads an event from the store also finds its `event_id`, which derives \
from the producer and the position in its log.
"""
_DECLARED = """What the events of the [catalogue](events.md) add up to: the sink `prometheus` counts them, and `/metrics` of the agent \
shows them. [How to](../how-to/prometheus.md) has the rest. Each measurement and each error counts once, where it is reported first.
"""
_LABELS_ARE = """`model` is the model that was asked, else what the cost is paid for; `line` the line of the [bill](../how-to/costs.md). \
`message` is that of a log; of a span it is its run type, since anybody may name a span anything. A metric keeps {series} sets \
of label values apart. Beyond them every value is `other` but those of labels whose values are all known: {closed}.
"""
_SETTINGS_COME_FROM = """Where a setting comes from, first hit wins: an argument of `clew.configure` or of a command, the \
environment, `clew.toml` (in the working directory, or where `CLEW_CONFIG` points), the default. In the environment a \
list is separated by commas, and a table has one `key=value` a line.
"""
_EXIT_CODES = """Every command exits with 0 when it has done what was asked, 1 when it failed or found nothing, 2 when it \
could not understand what was asked, and 130 when it was interrupted. A fault is one line on stderr.
"""
_DECISIONS_ARE = """Why clew is as it is, where that would surprise a careful reader or where a measurement decided. A page says what \
the question was, what was decided, what follows from it, and what would overturn it. \
[The first](0001-record-architecture-decisions.md) says when to write one.
"""
_API_IS = """Answered by `clew up` and `clew server`, at `127.0.0.1:4319` by default. `/docs` shows this page, \
and `/openapi.json` is for tools. Once there is a [token](../how-to/secure-the-server.md), \
every request but those to `/healthz` and `/readyz` carries one: `Authorization: Bearer <token>`, or below `/langsmith` \
`x-api-key: <token>`. Until then the server listens on loopback only, and takes nothing from web pages of other sites. \
Anything may be answered 401, 403 or 429 then; errors look like `{"error": {"message": "…", "hint": "…"}}`.
"""


def main() -> int:
    """Write every page that differs from what the code says, and name it."""
    for name, page in PAGES.items():
        path = (REFERENCE / name).resolve()
        text = page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(REFERENCE.parents[1])}")
    return 0


def events() -> str:
    """Write the page of events, from the catalogue and the record."""
    by_stage = [(stage, [event for event in EVENTS.values() if event.stage == stage]) for stage in STAGES[:-1]]
    parts = [
        "# Events\n",
        NOTE.format(source="`clew/catalog/events.py` and `clew/emit/record.py`"),
        _EVENTS_ARE,
    ]
    for stage, declared in by_stage:
        parts.append(f"## {stage.capitalize()}\n")
        for event in declared:
            parts.append(f"### {event.message}\n\n{event.description}\n")
            facts = [("level", event.level), ("LangSmith run type", f"`{event.run_type}`")]
            for kind, names in (
                ("context", [name for name in event.fields if name not in METRIC_FIELDS]),
                ("metrics", [name for name in event.fields if name in METRIC_FIELDS]),
                ("feeds", event.metrics),
            ):
                if names:
                    facts.append((kind, ", ".join(f"`{name}`" for name in names)))
            parts.append(_table(("", ""), facts))
    parts += ["## Fields\n", _FIELD_RULE, _table(_FIELD_HEAD, _field_rows()), "## The JSON of an event\n", _JSON_RULE]
    told = _attributes(Event)
    order = Event.__struct_fields__
    parts.append(_table(("key", "what"), [(f"`{key}`", told[key]) for key in order]))
    return "\n".join(parts)


def _field_rows() -> Iterator[tuple[str, ...]]:
    for field in FIELDS.values():
        attribute = f"`{field.attribute}`" if field.attribute_scale == 1 else f"(`{field.attribute}`)"
        place = "metrics" if field.is_metric else "context"
        langsmith = f"`{field.langsmith}`" if field.langsmith else ""
        yield f"`{field.name}`", field.type, field.unit, place, field.description, attribute, langsmith


def metrics() -> str:
    """Write the page of metrics, from what the agent and the server answer and from the catalogue."""
    sink = (SinkHealth("postgres"), SinkLag())
    outcomes = {"postgres": {"delivered": 0}}
    runs = {("partitions ahead", "done"): 0}
    health = AgentHealth(0.0, 0, 0, 0, [sink], outcomes, {"spool_full": 0}, {"gpt-x": 0}, {"done": 0}, runs)
    slow = SlowStatement("trace_events", 1, 300.0, 300.0, 300.0)
    status, room = StoreStatus("18", 0, 0, 0, 0, 0, None, 0, [], [], None), Room(0, 0.0)
    counts = RequestCounts()
    counts.add("/api/logs", 200, 0.001)
    declared = [
        (f"`{metric.name}`", metric.type, _names(metric.labels), metric.description) for metric in METRICS.values()
    ]
    feeding = [
        *((f"span of run type `{kind}`", _names(fed)) for kind, fed in SPAN_METRICS.items()),
        ("span without a parent in its own process", _names(REQUEST_METRICS)),
        ("span that failed, with an error that no event inside it reports", _names(FAILURE_METRICS)),
    ]
    evaluation = EvaluationStatus(state="ok", age_s=1.0, took_s=0.1, lag_s=0.1)
    notices = [OutboxCount("slack", "sent", 1, 0, 0.0)]
    head = ("metric", "type", "labels", "what")
    return "\n".join([
        "# Metrics\n",
        NOTE.format(source="`clew/agent/health.py`, `clew/server/health.py`, `clew/server/store_metrics.py`, `clew/server/alert_metrics.py` and `clew/catalog/`"),
        "## Of the agent\n",
        "At `/metrics` of `clew up`, and of `clew agent --metrics-port`.\n",
        _table(head, _exposed(families(health))),
        "## Of the server\n",
        "At `/metrics` of `clew up` and of `clew server`.\n",
        _table(head, _exposed([*counts.families(), *LangSmithCounts().families(), *store_families((status, room), [slow]), *alert_families(evaluation, notices)])),
        "## Of your system\n",
        _DECLARED,
        _table(head, declared),
        _LABELS_ARE.format(series=MAX_SERIES, closed=_names(CLOSED_LABELS)),
        "## What feeds them\n",
        "Logs of the catalogue, as [their page](events.md) says; and spans, where no log inside has fed the same metric:\n",
        _table(("", "feeds"), feeding),
        "## Their buckets\n",
        _table(("metric", "upper edges"), _buckets()),
    ])  # fmt: skip


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _exposed(told: Iterable[Metric]) -> Iterator[tuple[str, str, str, str]]:
    """Give name, type, labels and help of every family."""
    for family in told:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = [label for label in family.samples[0].labels if label != "le"]
        yield f"`{name}`", family.type, _names(labels), family.documentation


def _buckets() -> Iterator[tuple[str, str]]:
    for metric in METRICS.values():
        if metric.buckets:
            yield f"`{metric.name}`", ", ".join(f"{edge:g}" if edge < 1e6 else f"{edge:.0f}" for edge in metric.buckets)


def settings() -> str:
    """Write the page of settings, from the classes that declare them."""
    return "\n".join([
        "# Settings\n",
        NOTE.format(source="`clew/config/`"),
        _SETTINGS_COME_FROM,
        *(f"## {title}\n\n{_table(_HEAD_OF_SETTINGS, _settings_of(owner))}" for title, owner in _OWNERS.items()),
        "`CLEW_DEBUG=1` lets the command line show where a fault in clew itself happened.\n",
    ])  # fmt: skip


_HEAD_OF_SETTINGS = ("setting", "environment", "default", "what")
_OWNERS: Final = {
    "Emitting": EmitSettings,
    "The spool": SpoolSettings,
    "The store": StoreSettings,
    "The agent and its sinks": AgentSettings,
    "The server": ServerSettings,
    "Alerts and notifications": AlertSettings,
}


def _settings_of(owner: type[OwnerSettings]) -> Iterator[tuple[str, ...]]:
    """Give a row for each setting that *owner* declares itself."""
    described = _attributes(owner)
    for field in structs.fields(owner):
        if field.name in described:
            variable = f"`{config.PREFIX}{field.name.upper()}`"
            yield f"`{field.name}`", variable, _default(field), described[field.name]


_DERIVED_DEFAULTS = {
    "service": "the program's name",
    "data_dir": "`$XDG_DATA_HOME/clew`, else `~/.local/share/clew`; on macOS `~/Library/Application Support/clew`",
    "spool_dir": "`<data_dir>/spool`",
}


def _default(field: structs.FieldInfo) -> str:
    if field.name in _DERIVED_DEFAULTS:
        return _DERIVED_DEFAULTS[field.name]
    value = field.default if field.default is not NODEFAULT else field.default_factory()  # type: ignore[operator]
    if value is None or value in ((), {}):
        return "none"
    if isinstance(value, int) and value >= 1024 and field.name.endswith("_bytes"):
        unit, size = ("MiB", 1024 * 1024) if value >= 1024 * 1024 else ("KiB", 1024)
        return f"{value // size} {unit}"
    return f"`{','.join(value) if isinstance(value, tuple) else str(value).lower() if value is True else value}`"


def cli() -> str:
    """Write the page of commands, from the commands themselves."""
    parts = [
        "# Commands\n",
        NOTE.format(source="the commands in `clew/cli`"),
        _EXIT_CODES,
    ]
    for name, command in _commands():
        text, _, example = (command.help or "").partition("Example:")
        parts.append(f"## clew {name}\n\n{' '.join(text.split())}\n")
        if example:
            parts.append(f"```console\n$ {example.strip()}\n```\n")
        rows = [(_parameter(entry), entry.help or "", _shown_default(entry)) for entry in command.params]
        if rows:
            parts.append(_table(("option", "what", "default"), rows))
    return "\n".join(parts)


def _commands() -> Iterator[tuple[str, Any]]:
    group = root()
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "commands"):
            yield from ((f"{name} {below}", one) for below, one in command.commands.items())
        else:
            yield name, command


def _parameter(entry: Any) -> str:
    if entry.param_type_name == "argument":
        return f"`{entry.metavar or entry.name.upper()}`" + ("" if entry.required else " …")
    return f"`{', '.join(entry.opts)}`"


def _shown_default(entry: Any) -> str:
    return "" if entry.default in (None, False) else f"`{entry.default}`"


def http() -> str:
    """Write the page of the HTTP API, from its OpenAPI document."""
    with tempfile.TemporaryDirectory() as home:
        document = create_app(config.load(data_dir=home)).openapi()
    parts = [
        "# HTTP API\n",
        NOTE.format(source="the OpenAPI document of `clew/server`"),
        _API_IS,
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parts.append(f"## {method.upper()} {path}\n\n{operation.get('summary', '')}.\n")
            if description := operation.get("description"):
                parts.append(f"{' '.join(description.split())}\n")
            rows = [
                (f"`{entry['name']}`", entry["in"], entry.get("description", ""))
                for entry in operation.get("parameters", [])
            ]
            if rows:
                parts.append(_table(("parameter", "in", "what"), rows))
    return "\n".join(parts)


def alerts() -> str:
    """Write the page of alert rules."""
    rules = default_rules().rules
    by_signal = {rule.signal: rule for rule in rules.values()}
    lines = [NOTE.format(source="`clew.alerts`"), "# Alert rules\n", _RULES_ARE, "## What can be measured\n"]
    lines += ["| signal | what it is | unit | default rule |", "|---|---|---|---|"]
    for name, signal in SIGNALS.items():
        rule = by_signal.get(name)
        lines.append(f"| `{name}` | {signal.description} | {_UNITS[signal.unit]} | {_default_rule(rule, signal)} |")
    lines += ["", "## What may be written in a rule\n", "| key | what it is |", "|---|---|"]
    lines += [f"| `{key}` | {entry.description} |" for key, entry in KEYS.items()]
    lines += ["| `overrides` | A list of what is different for some services or environments. |", ""]
    lines += ["## The default rules\n", "```yaml", (files("clew.alerts") / "defaults.yaml").read_text("utf-8").rstrip()]
    return "\n".join([*lines, "```", ""])


def alerts_schema() -> str:
    """Write the JSON schema of a file of rules."""
    return json.format(json.encode(json_schema()), indent=2).decode() + "\n"


def _default_rule(rule: Rule | None, signal: Signal) -> str:
    if rule is None:
        return "none; on request"
    sign = "<" if signal.is_below else ">"
    limit = "" if rule.limit is None else f"longer than {rule.limit:g} s, "
    least = f", of at least {rule.min_units} {signal.counted}" if isinstance(signal, ShareSignal) else ""
    return f"`{rule.name}`: {limit}{sign} {format_value(rule.threshold, signal.unit)}{least}, {rule.severity}"


def decisions() -> str:
    """Write the list of the decisions, from their titles."""
    rows = []
    for path in sorted((REFERENCE / ".." / "adr").glob("[0-9]*.md")):
        title = path.read_text("utf-8").partition("\n")[0]
        rows.append((path.name[:4], f"[{re.sub(r'^# [0-9]+[.] ', '', title)}]({path.name})"))
    return "\n".join(
        [
            "# Decisions\n",
            NOTE.format(source="the pages beside this one"),
            _DECISIONS_ARE,
            _table(("", "decision"), rows),
        ]
    )


def _attributes(documented: type) -> dict[str, str]:
    """Read the section ``Attributes`` of a class's docstring: text by name."""
    section = (inspect.getdoc(documented) or "").partition("Attributes:")[2]  # from 3.13 on a docstring has no margin
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in entries}


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


PAGES: Final[dict[str, Callable[[], str]]] = {
    "../adr/index.md": decisions,
    "alerts.md": alerts,
    "alerts.schema.json": alerts_schema,
    "cli.md": cli,
    "events.md": events,
    "http.md": http,
    "metrics.md": metrics,
    "settings.md": settings,
}
"""The generated pages: where it is, from ``docs/reference``, and what writes it."""

if __name__ == "__main__":
    sys.exit(main())
