"""Typeset some of the project's decisions as the PDF that the demo brings along.

pip install fpdf2
python tools/demo_pdf.py
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from fpdf import FPDF

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src/clew/demo/documents/clew-decisions.pdf"
NUMBERS = ("0003", "0004", "0006", "0007")


def main() -> None:
    """Write the PDF."""
    pdf = FPDF(format="A4")
    pdf.set_title("Decisions behind clew")
    pdf.set_creation_date(datetime(2026, 11, 23, tzinfo=UTC))  # the same bytes from the same text
    pdf.set_margins(25, 25)
    pdf.add_page()
    _write(pdf, "Decisions behind clew", size=20)
    for number in NUMBERS:
        (path,) = (ROOT / "docs/adr").glob(f"{number}-*.md")
        title, *paragraphs = re.split(r"\n\s*\n", path.read_text("utf-8").strip())
        _write(pdf, re.sub(r"^#\s*", "Decision ", title), size=14)
        for paragraph in paragraphs:
            _write(pdf, _plain(paragraph), size=11)
    pdf.output(str(TARGET))


def _plain(paragraph: str) -> str:
    text = re.sub(r"\s+", " ", paragraph)
    return re.sub(r"\*\*|`|(?<!\w)\*|\*(?!\w)", "", text).replace("–", "-").replace("\u03bc", "µ")


def _write(pdf: FPDF, text: str, *, size: int) -> None:
    pdf.set_font("Helvetica", style="B" if size > 11 else "", size=size)
    pdf.multi_cell(0, size * 0.55, text, align="L", new_x="LMARGIN", new_y="NEXT")
    pdf.ln(size * 0.25)


if __name__ == "__main__":
    main()
