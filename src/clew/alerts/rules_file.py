"""Read a file of rules: YAML, checked whole, each problem with its line and column.

A file changes the defaults by name and adds rules. What it says is checked before any of it is in force: signals and names
of fields that do not exist (the nearest is named), values without their unit, numbers out of their range, rules that
inhibit each other in a circle. All problems are reported at once.

What may be written is the table of ``rule_keys``.

Before: ``runner``, ``clew alerts check``. After: ``rules``.
"""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import yaml
from msgspec import json
from msgspec.structs import asdict, replace
from yaml.constructor import SafeConstructor

from clew.alerts.rule_keys import (
    COMMON_KEYS,
    KEYS,
    NAME,
    NOT_IN_OVERRIDES,
    VERSION,
    RuleKey,
    UnreadableValueError,
    nearest,
)
from clew.alerts.rules import Override, Rule, RuleSet
from clew.alerts.signals import SIGNALS, ShareSignal
from clew.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from clew.config import Settings
    from clew.config.alerts import AlertSettings


__all__ = ["RuleFileError", "RuleProblem", "default_rules", "load_rules", "parse_rules", "rules_path"]

RULES_FILE: Final = "alerts.yaml"
"""The file of rules in the data directory."""

MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 12
MAX_PLAIN: Final = 5_000
"""How many values one value may hold, with each alias counted for what it stands for: nested ones multiply."""


class RuleProblem(NamedTuple):
    """What is wrong with a file, and where.

    Attributes:
        line: The line, from 1.
        column: The column, from 1.
        message: What is wrong, and what to write instead.
    """

    line: int
    column: int
    message: str


class RuleFileError(ConfigError):
    """A file of rules that cannot be put in force.

    Attributes:
        source: The file.
        problems: Everything that is wrong with it, by line.
    """

    def __init__(self, source: str, problems: list[RuleProblem]) -> None:
        self.source = source
        self.problems = sorted(problems)
        first = self.problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(
            f"{source}:{first.line}:{first.column}: {first.message}{more}",
            hint="the rules that were in force before stay so; `clew alerts check` lists everything that is wrong",
        )


def load_rules(path: Path | None) -> RuleSet:
    """Read the rules in force: the defaults, changed by a file.

    Args:
        path: The file; None, or one that does not exist, for the defaults alone.

    Raises:
        RuleFileError: The file cannot be put in force.

    Example:
        >>> load_rules(None).rules["error_rate"].threshold
        0.05
    """
    if path is None:
        return default_rules()
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return default_rules()
    except OSError as error:
        raise RuleFileError(str(path), [RuleProblem(1, 1, f"cannot be read: {error.strerror}")]) from error
    if len(text) > MAX_BYTES:
        raise RuleFileError(str(path), [RuleProblem(1, 1, f"is larger than {MAX_BYTES:,} bytes")])
    return parse_rules(text, source=str(path), base=default_rules())


def default_rules() -> RuleSet:
    """Return the rules that are in force without a file."""
    return parse_rules((files("clew.alerts") / "defaults.yaml").read_bytes(), source="defaults")


def parse_rules(text: bytes | str, *, source: str, base: RuleSet | None = None) -> RuleSet:
    """Read rules.

    Args:
        text: YAML.
        source: Where it is from, for messages.
        base: Rules that it changes; None for none.

    Raises:
        RuleFileError: It means nothing, or not all of it does.

    Example:
        >>> rules = parse_rules("rules: {slow: {signal: latency, limit: 4s, threshold: 5 %}}", source="example")
        >>> rules.rules["slow"].limit
        4.0
    """
    return _Parser(source, base or RuleSet({})).parse(text)


def rules_path(settings: Settings, alert_settings: AlertSettings) -> Path:
    """Return where the file of rules is, or would be."""
    return alert_settings.alerts_file or settings.data_dir / RULES_FILE


class _Parser:
    """Reads one file; collects what is wrong with it."""

    def __init__(self, source: str, base: RuleSet) -> None:
        self._source = source
        self._base = base
        self._problems: list[RuleProblem] = []
        self._places: dict[str, yaml.Node] = {}

    def parse(self, text: bytes | str) -> RuleSet:
        try:
            root = cast("yaml.Node | None", yaml.compose(text, Loader=yaml.SafeLoader))  # pyright: ignore[reportUnknownMemberType]
        except yaml.YAMLError as error:
            raise RuleFileError(self._source, [_of_yaml(error)]) from None
        except (RecursionError, UnicodeError, ValueError):
            raise RuleFileError(self._source, [RuleProblem(1, 1, "is no YAML in UTF-8")]) from None
        rules = dict(self._base.rules)
        if root is not None:
            rules = self._read(root, rules)
        self._check_inhibition(rules)
        if self._problems:
            raise RuleFileError(self._source, self._problems)
        digest = sha256(json.encode([asdict(rule) for rule in rules.values()])).hexdigest()[:16]
        return RuleSet(rules, self._source, digest)

    def _read(self, root: yaml.Node, rules: dict[str, Rule]) -> dict[str, Rule]:
        top = self._mapping(root, "the file")
        common: dict[str, Any] = {}
        for key, (key_node, node) in top.items():
            if key == "version":
                if _plain(node) != VERSION:
                    self._note(node, f"version is {_shown(node)}; this version of clew reads version {VERSION}")
            elif key == "common":
                common = self._fields(self._mapping(node, "common"), "", COMMON_KEYS)
            elif key == "rules":
                pass
            else:
                self._note(key_node, f"there is no {key!r} here{nearest(key, ('version', 'common', 'rules'))}")
        if common:
            rules = {name: _changed(rule, common) for name, rule in rules.items()}
        if "rules" in top and not _is_empty(top["rules"][1]):
            for name, (key_node, node) in self._mapping(top["rules"][1], "rules").items():
                rule = self._rule(name, key_node, node, rules.get(name), common)
                if rule is not None:
                    rules[name] = rule
        return rules

    def _rule(
        self, name: str, key_node: yaml.Node, node: yaml.Node, base: Rule | None, common: dict[str, Any]
    ) -> Rule | None:
        if not NAME.fullmatch(name):
            self._note(
                key_node,
                f"a rule cannot be called {name[:70]!r}: use small letters, digits and _, beginning with a letter",
            )
            return None
        entries = {} if _is_empty(node) else self._mapping(node, f"rule {name}")
        if base is None and "signal" not in entries:
            near = nearest(name, self._base.rules)
            self._note(key_node, f"rule {name} is new and has no signal{near}; signals are {', '.join(SIGNALS)}")
            return None
        before = len(self._problems)
        signal_name = base.signal if base is not None else ""
        if "signal" in entries:
            signal_name = str(_plain(entries["signal"][1]))
            if signal_name not in SIGNALS:
                self._note(
                    entries["signal"][1], f"there is no signal {signal_name[:70]!r}{nearest(signal_name, SIGNALS)}"
                )
                return None
        if "inhibited_by" in entries:
            self._places[name] = entries["inhibited_by"][1]
        overrides = entries.pop("overrides", None)
        changes = common | self._fields(entries, SIGNALS[signal_name].unit, KEYS)
        if overrides is not None:
            changes["overrides"] = self._overrides(overrides[1], SIGNALS[signal_name].unit)
        if len(self._problems) > before:
            return None
        if base is None and "threshold" not in changes and signal_name not in {"heartbeat", "slo_burn"}:
            self._note(key_node, f"rule {name} has no threshold")
            return None
        rule = (
            _changed(base, changes)
            if base is not None
            else replace(Rule(name=name, signal=signal_name, threshold=0.0), **changes)
        )
        self._check(rule, key_node)
        if len(self._problems) == before:
            self._check_written(rule, entries, overrides[1] if overrides is not None else None)
        return rule

    def _overrides(self, node: yaml.Node, unit: str) -> tuple[Override, ...]:
        if not isinstance(node, yaml.SequenceNode):
            self._note(node, "overrides is no list: write one item, beginning with -, for each service or environment")
            return ()
        found: list[Override] = []
        allowed = {
            key: entry
            for key, entry in KEYS.items()
            if key not in NOT_IN_OVERRIDES or key in {"service", "environment"}
        }
        for item in node.value:
            changes: dict[str, Any] = self._fields(self._mapping(item, "an override"), unit, allowed)
            service, environment = changes.pop("service", ""), changes.pop("environment", "")
            if not service and not environment:
                self._note(item, "an override names no service and no environment, so it is for none: add one")
            found.append(Override(service=service, environment=environment, changes=changes))
        return tuple(found)

    def _fields(
        self,
        entries: Mapping[str, tuple[yaml.Node, yaml.Node]],
        unit: str,
        allowed: Mapping[str, RuleKey] | tuple[str, ...],
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, (key_node, node) in entries.items():
            if key not in allowed:
                self._note(key_node, f"there is no {key[:70]!r} here{nearest(key, allowed)}")
                continue
            entry = KEYS[key]
            try:
                found[entry.field] = entry.read(_plain(node), unit)
            except UnreadableValueError as wrong:
                self._note(node, f"{key} is {_shown(node)}: {wrong}")
        return found

    def _mapping(self, node: yaml.Node, what: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode):
            self._note(node, f"{what} is {_shown(node)}: write keys and values, such as threshold: 5 %")
            return {}
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)
        for key_node, value_node in pairs:
            key = str(_plain(key_node))
            if key in found:
                self._note(key_node, f"{key[:70]!r} is there twice")
            found[key] = key_node, value_node
        return found

    def _check(self, rule: Rule, node: yaml.Node) -> None:
        signal = SIGNALS[rule.signal]
        if signal.has_limit and not rule.limit:
            self._note(node, f"rule {rule.name} has no limit, such as limit: 2s")
        if rule.window_s > rule.max_window_s:
            self._note(node, f"rule {rule.name} has a window that is longer than its max_window")
        if isinstance(signal, ShareSignal) and signal.is_burn and rule.objective is None:
            self._note(node, f"rule {rule.name} has no objective, such as objective: 99.5 %")

    def _check_written(
        self, rule: Rule, entries: Mapping[str, tuple[yaml.Node, yaml.Node]], overrides: yaml.Node | None
    ) -> None:
        """Check what is written of one rule beside what it comes to: the value to be critical at, and each override."""
        if "critical_at" in entries:
            self._check_critical(rule, entries["critical_at"][1])
        places = [] if overrides is None else cast("list[yaml.Node]", overrides.value)
        for override, place in zip(rule.overrides, places, strict=False):
            changed = _changed(rule, override.changes)
            self._check(changed, place)
            if "critical_at" in override.changes:
                self._check_critical(changed, place)

    def _check_critical(self, rule: Rule, node: yaml.Node) -> None:
        """Note a value to be critical at that is below the threshold, where somebody wrote it."""
        signal = SIGNALS[rule.signal]
        if isinstance(signal, ShareSignal) and not signal.is_burn and (rule.critical_at or 1.0) < rule.threshold:
            self._note(node, f"is below the threshold of rule {rule.name}: write a critical_at above it")

    def _check_inhibition(self, rules: dict[str, Rule]) -> None:
        for rule in rules.values():
            for other in rule.inhibited_by:
                if other not in rules:
                    self._note(
                        self._place_of(rule.name, other),
                        f"rule {rule.name} is inhibited by {other!r}, which does not exist{nearest(other, rules)}",
                    )
        said: set[frozenset[str]] = set()
        for name in rules:
            circle = _circle(name, rules)
            if circle and frozenset(circle) not in said:
                said.add(frozenset(circle))
                # That which is written last closes the circle.
                last = max(circle, key=lambda each: self._places[each].start_mark.line if each in self._places else -1)
                each_other = "inhibit each other" if len(circle) > 1 else "inhibits itself"
                self._note(
                    self._place_of(last, ""),
                    f"rule{'s' * (len(circle) > 1)} {' and '.join(circle)} {each_other}, so nobody would be notified",
                )

    def _place_of(self, rule: str, other: str) -> yaml.Node | None:
        """Return where a rule names another one; where it names any, if that is not found."""
        node = self._places.get(rule)
        items = cast("list[yaml.Node]", node.value) if isinstance(node, yaml.SequenceNode) else []
        return next((item for item in items if item.value == other), node)

    def _note(self, node: yaml.Node | None, message: str) -> None:
        mark = node.start_mark if node is not None else None
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        self._problems.append(RuleProblem(line, column, message))


def _changed(rule: Rule, changes: dict[str, Any]) -> Rule:
    return replace(rule, **changes)


def _of_yaml(error: yaml.YAMLError) -> RuleProblem:
    mark = getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return RuleProblem(line, column, f"is no YAML: {getattr(error, 'problem', None) or 'it cannot be read'}")


def _is_empty(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and _plain(node) is None


def _plain(node: yaml.Node) -> Any:
    """Return a node as a plain value; what nests too deeply, into itself, or is too much, as a text."""
    return _plain_within(node, 0, [MAX_PLAIN])


def _plain_within(node: yaml.Node, depth: int, left: list[int]) -> Any:
    left[0] -= 1
    if depth > MAX_DEPTH or left[0] < 0:
        return "…"
    if isinstance(node, yaml.SequenceNode):
        return [_plain_within(item, depth + 1, left) for item in node.value[: left[0] + 1]]
    if isinstance(node, yaml.MappingNode):
        pairs = cast("list[tuple[yaml.Node, yaml.Node]]", node.value)[: left[0] + 1]
        return {str(_plain_within(key, depth + 1, left)): _plain_within(value, depth + 1, left) for key, value in pairs}
    try:
        return SafeConstructor().construct_object(node)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    except (yaml.YAMLError, ValueError, AttributeError):  # the last of what PyYAML raises for a tag that does not fit
        return str(node.value)


def _circle(name: str, rules: Mapping[str, Rule]) -> list[str]:
    """Return the rules on a way from a rule over those that inhibit it back to itself; none if there is no such way."""
    ways: list[list[str]] = [[name]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        for other in rules[way[-1]].inhibited_by:
            if other == name:
                return way
            if other in rules and other not in seen:
                seen.add(other)
                ways.append([*way, other])
    return []


def _shown(node: yaml.Node) -> str:
    if isinstance(node, yaml.ScalarNode):
        return repr(str(node.value)[:70])
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
