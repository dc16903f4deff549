"""Rules of users cannot hold an application up."""

from __future__ import annotations

import pytest

from clew.emit.redact import Redactor
from clew.emit.redact.patterns import compile_own
from clew.errors import ConfigError


@pytest.mark.parametrize(
    "pattern",
    ["(a|a)*b", "(a|aa)+$", "a*a*a*a*a*b", "(?:a{1,900}){1,900}$", "(a+)+$", "(a*)*b", "((ab)+c?)+d", r"(\w+)\1",
     "(unclosed", r"\s*\S*\s*=", "(.*)(.*)b", r"(\w+\s?)*$", "(x+x+)+y", "([a-z]+)*1", "a{1,900}a{1,900}b",
     "(?:a?){30}b", "(.*?,){11}P", "x.{0,100}y.{0,100}z"],
)  # fmt: skip
def test_a_rule_that_takes_longer_than_its_text_asks_is_refused(pattern: str) -> None:
    """Exponential and polynomial rules are refused by their name, with what to do instead."""
    with pytest.raises(ConfigError, match="mine"):
        compile_own("mine", pattern)


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"EMP-\d{6}", "by EMP-123456.", ["EMP-123456"]),
        (r"\bcust_[a-z0-9]{8,32}\b", "cust_abcd1234 cust_x", ["cust_abcd1234"]),
        (r"(?i)internal-[\w.-]+", "see Internal-wiki.pages-7 now", ["Internal-wiki.pages-7"]),
        (r"[\w.]+@corp\.example", "to a.b@corp.example, c@corp.example", ["a.b@corp.example", "c@corp.example"]),
        (r"\d+-\d+-\d+", "1-22-333 and 4-5-6", ["1-22-333", "4-5-6"]),
        (r"\b[A-Z]{2}\d{2}(?: ?\d{4}){4,7}\b", "DE02 1203 0000 0000 2020", ["DE02 1203 0000 0000 2020"]),
        (r"key=[^&]+&", "?key=a b&x", ["key=a b&"]),
        (r"(?m)^user: .*$", "a\nuser: jane doe\nb", ["user: jane doe"]),
        (r"(?:EMP|CUST)-\d+", "EMP-1, CUST-22", ["EMP-1", "CUST-22"]),
        (r"a*b", "xaab b", ["aab", "b"]),
    ],
)
def test_an_ordinary_rule_finds_what_it_says(pattern: str, text: str, found: list[str]) -> None:
    """To bound a rule does not change what it finds."""
    assert [match[0] for match in compile_own("mine", pattern).finditer(text)] == found


@pytest.mark.parametrize("pattern", [r"\w+x", r"[\w.]+@corp\.example", r".*x.*y", r"a.*b", r"(?i)a\w*b", r"\d+-\d+x"])
def test_a_hostile_text_is_worked_through(pattern: str) -> None:
    """Texts that make such patterns take quadratic time in ``re`` itself end: the work is bounded."""
    rule = compile_own("mine", pattern)
    for seed in ("a", "x", "xy", "a.b@", "1-", "A"):
        assert list(rule.finditer(seed * (30_000 // len(seed)))) is not None


def test_a_rule_that_is_anchored_is_tried_on_each_text() -> None:
    """``^`` is the beginning of a text, not of all the texts of an event."""
    redactor = Redactor(patterns={"case": r"^C-\d+"})

    assert redactor.search(["a", "C-77 is open"], 1000) == {"C-77 is open": "[redacted:case] is open"}
