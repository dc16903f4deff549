"""What it costs to look for secrets before an event is written: ``python -m benchmarks.bench_redact``.

Time of one look, in µs, for texts without and with secrets; best of several repetitions, since the work is the
same each time and everything above the best is the machine.
"""

from __future__ import annotations

import timeit
from typing import Any, Final

from benchmarks.machine import describe
from clew.emit.redact import Redactor

__all__ = ["main", "redact_page", "run"]

REPEATS: Final = 15
WORDS: Final = "The retriever returned the passage that answers the question about the spool and its segments. "
TAIL: Final = (
    b'{"chunk_count":42,"file_size_bytes":3145728,"document_id":"doc-1234","chunker":"recursive-512"},'
    b'"metrics":{"duration_ms":1250,"cost_usd":0.012}}'
)


def run() -> dict[str, Any]:
    """Measure.

    Returns:
        ``machine``, and ``rows``: (what, bytes, µs for the question whether there is a secret, µs to take it out
        or None where there is none).
    """
    redactor = Redactor()
    page = (WORDS * 90)[:8192]
    spiked = f"{page[:4000]} jane@example.org AKIAIOSFODNN7EXAMPLE 4111 1111 1111 1111 {page[4000:]}"
    digest = TAIL.replace(b"doc-1234", b"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")
    texts = [
        ("the fields of an ordinary event", TAIL),
        ("the same with a digest of 64 hex digits", digest),
        ("8 KB of ordinary text", page.encode()),
        ("8 KB of text with an address, a key and a card number", spiked.encode()),
    ]
    rows: list[tuple[str, int, float, float | None]] = []
    for what, encoded in texts:
        text = encoded.decode()
        look = _best_us(lambda encoded=encoded: redactor.may_hold_secret(encoded))
        clean = _best_us(lambda text=text: redactor.clean_text(text)) if redactor.may_hold_secret(encoded) else None
        rows.append((what, len(encoded), look, clean))
    return {"machine": describe(), "rows": rows}


def redact_page(found: dict[str, Any]) -> str:
    """Write what ``run`` found as a table."""
    lines = ["| text | bytes | is there a secret? | take it out |", "|---|---|---|---|"]
    for what, size, look, clean in found["rows"]:
        lines.append(f"| {what} | {size:,} | {look:,.2f} µs | {'–' if clean is None else f'{clean:,.0f} µs'} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    print(redact_page(run()))


def _best_us(call: Any) -> float:
    timer = timeit.Timer(call)
    number, _ = timer.autorange()
    number = max(1, number // 10)
    return min(timer.repeat(REPEATS, number)) / number * 1e6


if __name__ == "__main__":
    main()
