"""What counts of some events, by the one rule."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import msgpack

from clew.measures.bill import AMOUNTS
from clew.measures.counting import Followed, follow
from clew.measures.observation import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from clew.measures.bill import Place
    from clew.measures.observation import Observation

__all__ = ["Bill", "count", "takes"]


class Bill:
    """The sums of what counts.

    Attributes:
        events: What counts of each event by its number, with what was taken away again, by amount.
        parts: The same sums by stage, line and amount.
        requests: How many requests there were.
        failures: How many errors.
    """

    def __init__(self) -> None:
        self.events: dict[int, dict[str, float]] = {}
        self.parts: dict[tuple[str, str, str], float] = {}
        self.requests = 0
        self.failures = 0

    def total(self, name: str = "cost_usd") -> float:
        """Return what an amount comes to, to the ten billionth."""
        return round(sum(amounts.get(name, 0.0) for amounts in self.events.values()), 10)

    def lines(self, name: str = "cost_usd") -> dict[str, float]:
        """Return an amount by ``stage/line``, without those that come to nothing."""
        found = {
            f"{stage}/{line}": round(sum_, 10) for (stage, line, amount), sum_ in self.parts.items() if amount == name
        }
        return {part: sum_ for part, sum_ in found.items() if sum_}

    def add(self, place: Place, amounts: Iterable[float | None], sign: float = 1.0) -> None:
        """Add amounts, or take them away."""
        for name, amount in zip(AMOUNTS, amounts, strict=True):
            if amount is None:
                continue
            event = self.events.setdefault(place.position, {})
            event[name] = event.get(name, 0.0) + sign * amount
            key = (place.stage, place.line, name)
            self.parts[key] = self.parts.get(key, 0.0) + sign * amount


def takes(_name: str, _event: Observation) -> bool:
    """Take any measurement."""
    return True


def count(*payloads: bytes, saves: bool = True) -> Bill:
    """Count events in their order.

    Args:
        payloads: The events, as they stand on a spool.
        saves: Whether what is remembered is written down and read again after each of them.
    """
    bill, producer = Bill(), Followed()
    for number, payload in enumerate(payloads):
        told = read(payload, number)
        if told is None:
            continue
        verdict = follow(takes, told, producer)
        bill.requests += verdict.is_request
        bill.failures += verdict.is_failure
        if verdict.counted is not None:
            bill.add(verdict.counted.place, verdict.counted.amounts)
            for correction in verdict.counted.corrections:
                bill.add(correction.place, correction.amounts, -1.0)
        if saves:
            producer = msgpack.decode(msgpack.encode(producer), type=Followed)
    return bill
