"""Parsers, on real documents and on broken ones."""

from __future__ import annotations

import pytest

from clew.demo.corpus import default_documents
from clew.demo.ingestion import parse as parser_module
from clew.demo.ingestion.parse import Parsed, UnreadableError, UnsupportedError, choose_parser

DOCUMENTS = {document.name: document for document in default_documents()}


def parse(name: str, data: bytes | str, content_type: str = "") -> Parsed:
    """Parse a document with the parser that it asks for."""
    content = data.encode() if isinstance(data, str) else data
    return choose_parser(name, content_type, content).parse(content)


def text_of(parsed: Parsed) -> str:
    """Return all of its text."""
    return "\n".join(block.text for block in parsed.blocks)


@pytest.mark.parametrize(
    ("name", "content_type", "data", "parser"),
    [
        ("a.md", "", b"x", "markdown-1"),
        ("A.HTML", "text/plain", b"x", "html-1"),
        ("notes", "text/html; charset=utf-8", b"x", "html-1"),
        ("notes.txt", "application/octet-stream", b"x", "text-1"),
        ("README.rst", "", b"x", "rst-1"),
    ],
)
def test_the_parser_follows_name_then_media_type(name: str, content_type: str, data: bytes, parser: str) -> None:
    """A file's ending says more than what a browser guessed."""
    assert choose_parser(name, content_type, data).name == parser


def test_a_pdf_is_known_by_its_first_bytes() -> None:
    """Whatever it is called; the parser's name carries the version of the library."""
    assert choose_parser("report.txt", "text/plain", b"%PDF-1.7 ...").name.startswith("pypdf-")


def test_a_kind_that_nobody_parses_is_refused_by_name() -> None:
    """The message says what was sent, and what would be taken."""
    with pytest.raises(UnsupportedError, match=r"'photo\.jpg' \(image/jpeg\) is none of PDF, Markdown"):
        choose_parser("photo.jpg", "image/jpeg", b"\xff\xd8")


def test_markdown_loses_its_markup_and_keeps_its_structure() -> None:
    """Headings nest, list items keep their lines, code stays as it is, links and pictures leave their text."""
    parsed = parse(
        "a.md",
        "# Top\n\nSome **bold** [link](http://x.y) ![pic](p.png) and `code`\ngoes on.\n\n"
        "## Inner\n\n* one\n* two\n  lines\n\n```python\nx  =  1\n```\n\n# Next\n\n> quoted\n\n[ref]: http://z\n",
    )

    assert [(block.heading, block.text, block.is_code) for block in parsed.blocks] == [
        ("Top", "Some bold link and code goes on.", False),
        ("Top › Inner", "one\ntwo lines", False),
        ("Top › Inner", "x  =  1", True),
        ("Next", "quoted", False),
    ]


def test_markdown_tables_become_lines_and_underlined_headings_count() -> None:
    """Rows are read as rows; a rule below a line makes that line a heading."""
    parsed = parse("a.md", "Title\n=====\n\n| a | b |\n|---|---|\n| 1 | 2 |\n")

    assert [(block.heading, block.text) for block in parsed.blocks] == [("Title", "a — b\n1 — 2")]


def test_a_fence_that_is_never_closed_runs_to_the_end() -> None:
    """Nothing of a careless document is lost."""
    assert parse("a.md", "text\n\n```\ncode\n# no heading").blocks[-1].text == "code\n# no heading"


def test_html_gives_what_a_reader_sees() -> None:
    """Navigation, scripts, styles and the footer are left out; entities are read."""
    parsed = parse("clew-questions.html", DOCUMENTS["clew-questions.html"].data)
    text = text_of(parsed)

    assert "The server listens at 127.0.0.1, port 4319" in text
    assert "documentElement" not in text
    assert "max-width" not in text
    assert "Shipped with clew" not in text
    assert {block.heading for block in parsed.blocks} >= {"Questions about running clew › Looking"}


def test_html_that_is_badly_nested_is_still_read() -> None:
    """Tags that are never closed, and ends that were never begun, cost no text."""
    assert text_of(parse("a.html", "<p>one<p>two</b><script>no</script><br>three &amp; four</div>")) == (
        "one\ntwo\nthree & four"
    )


def test_html_keeps_code_and_the_cells_of_a_row_apart() -> None:
    """Preformatted text is code, with its lines; cells of a table are words of one line."""
    parsed = parse("a.html", "<pre>a = 1\n  b = 2</pre><table><tr><td>one</td><td>two</td></tr></table>")

    assert [(block.text, block.is_code) for block in parsed.blocks] == [("a = 1\n  b = 2", True), ("one two", False)]


def test_a_pdf_gives_pages_and_paragraphs() -> None:
    """The PDF that comes along: two pages, text from both, lines joined."""
    parsed = parse("clew-decisions.pdf", DOCUMENTS["clew-decisions.pdf"].data)

    assert parsed.page_count == 2
    assert {block.page for block in parsed.blocks} == {1, 2}
    assert "A producer's id is a UUIDv7 whose low 48 bits are zero." in text_of(parsed)


@pytest.mark.parametrize("length", [9, 400, 1500])
def test_a_pdf_that_broke_off_is_unreadable(length: int) -> None:
    """Whatever the library raises, one kind of error comes out."""
    with pytest.raises(UnreadableError, match="damaged"):
        parse("a.pdf", DOCUMENTS["clew-decisions.pdf"].data[:length])


def test_an_encrypted_pdf_is_unreadable_and_says_so() -> None:
    """A password that nobody gave is not the same as damage."""
    from io import BytesIO

    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(BytesIO(DOCUMENTS["clew-decisions.pdf"].data)))
    writer.encrypt("secret", algorithm="RC4-128")
    locked = BytesIO()
    writer.write(locked)

    with pytest.raises(UnreadableError, match="encrypted"):
        parse("a.pdf", locked.getvalue())


def test_a_pdf_with_too_many_pages_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before their text is taken out, which would take minutes."""
    monkeypatch.setattr(parser_module, "MAX_PAGES", 1)

    with pytest.raises(UnreadableError, match="2 pages, the limit is 1"):
        parse("a.pdf", DOCUMENTS["clew-decisions.pdf"].data)


def test_a_restructured_readme_loses_its_directives() -> None:
    """Badges and link targets are no text; roles and references leave theirs."""
    text = text_of(parse("anyio-README.rst", DOCUMENTS["anyio-README.rst"].data))

    assert "AnyIO is an asynchronous networking and concurrency library" in text
    assert "image::" not in text
    assert "asyncio_" not in text


@pytest.mark.parametrize("data", [b"\x00\x01\x02" * 50, b"text \x07\x07\x07\x07 text"])
def test_binary_data_is_not_text(data: bytes) -> None:
    """A picture that calls itself a text is refused."""
    with pytest.raises(UnreadableError, match="binary"):
        parse("a.txt", data)


@pytest.mark.parametrize("data", [b"", b" \n\t\n", b"<html><script>x</script></html>"])
def test_a_document_without_text_is_unreadable(data: bytes) -> None:
    """There is nothing that could be found in it."""
    with pytest.raises(UnreadableError, match="no text"):
        parse("a.html" if data.startswith(b"<") else "a.md", data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("grüße".encode(), "grüße"),
        ("\ufeffgrüße".encode(), "grüße"),
        ("grüße".encode("utf-16"), "grüße"),
        ("grüße".encode("cp1252"), "grüße"),
        (b"one\r\ntwo", "one two"),
    ],
)
def test_text_of_any_usual_encoding_is_read(data: bytes, expected: str) -> None:
    """UTF-8 with and without its mark, UTF-16, and what old Windows programs wrote."""
    assert text_of(parse("a.txt", data)) == expected


def test_every_default_document_is_parsed() -> None:
    """Each of the four kinds is among them."""
    kinds = {
        choose_parser(document.name, document.content_type, document.data).name.partition("-")[0]
        for document in DOCUMENTS.values()
    }
    sizes = [parse(document.name, document.data).text_chars for document in DOCUMENTS.values()]

    assert kinds == {"pypdf", "markdown", "html", "rst"}
    assert min(sizes) > 500
