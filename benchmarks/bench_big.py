"""What a big value costs the caller: ``python -m benchmarks.bench_big``.

Processor time of the calling thread for one event, in ms, beside ``json.dumps`` of the same value: the least
work that any logger which writes JSON does. Every call gets another value of its kind; best of several, since
what is above the best is the machine.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
import time
from random import Random
from typing import TYPE_CHECKING, Any, Final

import clew
from benchmarks.machine import SCRATCH, describe
from benchmarks.ordinary import words

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["big_page", "main", "run"]

CALLS: Final = 5
IMAGE_BYTES: Final = 3_750_000


def run() -> dict[str, Any]:
    """Measure.

    Returns:
        ``machine``, and ``rows``: (what, MB of JSON, goal as a multiple of ``json.dumps`` or None, ms of ``json.dumps``, ms of clew).
    """
    SCRATCH.mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(dir=SCRATCH)
    clew.configure(service="big", data_dir=directory, agent="external")
    random = Random(1)
    text = words(random)
    log = clew.get_logger()

    @clew.traceable
    def see(messages: object) -> int:
        return len(str(type(messages)))

    def log_it(value: object) -> None:
        log.info("document_parsed", content=value)

    def raise_it(value: str) -> None:
        log.error("call_failed", error=ValueError(value))

    kinds: list[tuple[str, float | None, Callable[[Any], Any], Callable[[], Any]]] = [
        ("a message with an image of 5 MB, in base64, to a traced function", 5.0, see, lambda: _messages(random)),
        ("the same in an event", 5.0, log_it, lambda: _messages(random)),
        ("an exception whose text holds it", None, raise_it, lambda: f"refused: {_image(random)}"),
        (
            "100 KB of text with URLs and mail addresses",
            20.0,
            log_it,
            lambda: _text(random, text, 100_000, links=True),
        ),
        ("100 KB of text without", 20.0, log_it, lambda: _text(random, text, 100_000, links=False)),
        (
            "1 MB of text with URLs and mail addresses",
            20.0,
            log_it,
            lambda: _text(random, text, 1_000_000, links=True),
        ),
        ("400 passages of 2 KB", None, log_it, lambda: [_text(random, text, 2_000, links=True) for _ in range(400)]),
    ]
    rows: list[tuple[str, float, float | None, float, float]] = []
    for what, goal, call, make in kinds:
        values = [make() for _ in range(CALLS)]
        plain = min(_cpu_ms(json.dumps, value) for value in values)
        mine = min(_cpu_ms(call, value) for value in values)
        rows.append((what, len(json.dumps(values[0])) / 1e6, goal, plain, mine))
    clew.shutdown()
    shutil.rmtree(directory, ignore_errors=True)
    return {"machine": describe(), "rows": rows}


def big_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as a table."""
    machine = found["machine"]
    lines = [
        f"Measured on {machine['day']} at commit `{machine['commit']}`: {machine['processor']}, {machine['python']}.",
        "",
        "| value | JSON | `json.dumps` | clew | × `json.dumps` | goal |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for what, size, goal, plain, mine in found["rows"]:
        limit = "–" if goal is None else f"≤ {goal:.0f} ×"
        lines.append(f"| {what} | {size:.2f} MB | {plain:.2f} ms | {mine:.2f} ms | {mine / plain:.1f} × | {limit} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print(big_page(run()))


def _image(random: Random) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(random.randbytes(IMAGE_BYTES)).decode()


def _messages(random: Random) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _image(random)}}]}]


def _text(random: Random, text: Callable[[int], str], size: int, *, links: bool) -> str:
    parts: list[str] = []
    length = 0
    while length < size:
        sentence = text(random.randint(6, 20))
        if links and random.random() < 0.2:
            number = random.randrange(100_000)
            sentence += (
                f" See https://docs.example.com/{number}?page={number % 7}, or write to user{number}@example.com."
            )
        parts.append(sentence)
        length += len(sentence) + 1
    return " ".join(parts)[:size]


def _cpu_ms(call: Callable[[Any], Any], value: object) -> float:
    began = time.thread_time_ns()
    call(value)
    return (time.thread_time_ns() - began) / 1e6


if __name__ == "__main__":
    main()
