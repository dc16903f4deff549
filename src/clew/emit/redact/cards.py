"""Card numbers: digits that can be one, where something says that they are.

The check digit alone is right for every tenth number, and the ids, times and scores of a RAG system are full of long
numbers. So a text's digits are taken for a card's only if all of this holds:

* they begin and are as many as an issuer's are,
* the check digit is right (Luhn),
* they are no part of a longer number, a fraction, or a longer word of letters and digits,
* they are written in groups as on a card (``4111 1111 1111 1111``, ``4111-1111-1111-1111``), or a word before them
  says card (``Visa``, ``card number``, ``cvv`` behind them …) and none between says id.

Source:
    ISO/IEC 7812-1 (Luhn, annex B); the issuers' ranges as Wikipedia's "Payment card number" lists them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FIRST_GROUPS", "card_in_value", "find_cards", "is_card"]

_GROUPED = re.compile(
    r"(?<![\w./+#@-])(?<![0-9]{4}[ -])(?:[0-9]{4}(?P<gap>[ -])[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{1,4}(?:(?P=gap)[0-9]{3})?"
    r"|[0-9]{4}(?P<gap2>[ -])[0-9]{6}(?P=gap2)[0-9]{4,5})(?![\w/+#@-]|[.,][0-9]|[ -][0-9]{4})"
)
_PLAIN = re.compile(r"(?<![\w./+#@-])(?<![0-9],)[0-9]{13,19}(?![\w/+#@-]|[.,][0-9])")
_WORD_BEFORE = re.compile(
    r"(?i)\b(?:card|cards|visa|mastercard|maestro|amex|american express|discover|diners|jcb|unionpay|credit|debit|"
    r"kreditkarte|karte|carte|tarjeta|cc|pan)\b"
)
_CARD_NAME_BEFORE = re.compile(r"(?i)(?:card|cc)[_ -]?(?:number|num|no)?[\"'\\]*\s{0,3}[:=]\s{0,3}[\"'\\]*$")
_ID_BETWEEN = re.compile(
    r"(?i)\b(?:\w*_?ids?|isbn|ean|imei|order|invoice|tracking|trace|request|session|chunk|document|doc|user|customer|"
    r"ticket|hash|ref|reference|timestamp|time|at|epoch|duration|score|scores|serial|phone|tel|sku|gtin)\b"
)
_WORD_AFTER = re.compile(r"(?i)\W{1,4}(?:cvv|cvc|exp\b|expires|expiry|visa|mastercard|amex)")
_REACH: Final = 48

_MAESTRO: Final = ("5018", "5020", "5038", "5893", "6304", "6759", "6761", "6762", "6763")


def _is_issued(digits: str) -> bool:
    length, two, three, four, six = len(digits), digits[:2], int(digits[:3]), int(digits[:4]), int(digits[:6])
    if digits[0] == "4":
        return length in (13, 16, 19)
    if "51" <= two <= "55" or 2221 <= four <= 2720:
        return length == 16
    if two in ("34", "37"):
        return length == 15
    if 300 <= three <= 305 or two in ("36", "38", "39"):
        return length == 14
    if 3528 <= four <= 3589 or four == 6011 or 644 <= three <= 649 or two in ("62", "65") or 622126 <= six <= 622925:
        return 16 <= length <= 19
    return (2200 <= four <= 2204 or digits.startswith(_MAESTRO)) and 16 <= length <= 19


FIRST_GROUPS: Final = frozenset(
    str(group)
    for low, high in (
        (2200, 2205), (2221, 2721), (3000, 3060), (3400, 3500), (3528, 3590), (3600, 4000), (4000, 5000), (5018, 5039),
        (5100, 5600), (5893, 5894), (6011, 6012), (6200, 6305), (6440, 6600), (6759, 6764),
    )
    for group in range(low, high)
)  # fmt: skip
"""The first four digits of card numbers, as they are words of their own where a number is written in groups."""


def is_card(digits: str) -> bool:
    """Whether *digits* are a number that an issuer gives out, with the right check digit.

    Example:
        >>> is_card("4111111111111111"), is_card("4111111111111112"), is_card("1732366800000")
        (True, False, False)
    """
    return (
        12 <= len(digits) <= 19
        and digits.isdecimal()
        and _is_issued(digits)
        and len(set(digits)) > 1
        and _has_check_digit(digits)
    )


def find_cards(text: str) -> Iterator[tuple[int, int]]:
    """Find where card numbers are in *text*."""
    for match in _GROUPED.finditer(text):
        if is_card(re.sub(r"[^0-9]", "", match[0])):
            yield match.span()
    for match in _PLAIN.finditer(text):
        if is_card(match[0]) and _is_said_to_be_a_card(text, *match.span()):
            yield match.span()


def card_in_value(value: object) -> bool:
    """Whether the value of a field that is named like a card holds its number."""
    if type(value) is int:
        return is_card(str(value)) if 10**12 <= value < 10**19 else False
    return type(value) is str and len(value) < 40 and is_card(re.sub(r"[ -]", "", value))


def _is_said_to_be_a_card(text: str, start: int, end: int) -> bool:
    before = text[max(0, start - _REACH) : start]
    if _CARD_NAME_BEFORE.search(before):
        return True
    last = None
    for last in _WORD_BEFORE.finditer(before):  # noqa: B007 - the last one counts
        pass
    if last is not None and not _ID_BETWEEN.search(before, last.end()):
        return True
    return _WORD_AFTER.match(text, end) is not None and not _ID_BETWEEN.search(before)


def _has_check_digit(digits: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(digits)):
        value = int(digit)
        if position % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0
