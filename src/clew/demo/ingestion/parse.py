"""Taking the text out of documents: PDF, Markdown, HTML, plain text.

A parser turns bytes into blocks (paragraphs, lists, code), each below its headings. Its name
carries a version that changes with its behaviour, since a new parser makes new chunks out of
unchanged documents.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.metadata import version
from io import BytesIO
from pathlib import PurePosixPath
from typing import Final, Literal

from msgspec import Struct

from clew.demo.text import squeeze

__all__ = ["SUFFIXES", "Block", "Parsed", "Parser", "UnreadableError", "UnsupportedError", "choose_parser"]

MAX_PAGES = 2_000
SHORT_LINE_RATIO = 0.7
MAX_CONTROL_RATIO = 0.02  # a text with more control characters than this is none
HEADING_SEPARATOR: Final = " › "

_CONTROL: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")


class UnreadableError(Exception):
    """A document is not what it says it is, or holds no text."""


class UnsupportedError(Exception):
    """No parser knows this kind of document."""


class Block(Struct, frozen=True):
    """A paragraph, a list or a piece of code.

    Attributes:
        text: Its text; lines matter only where there is a line end.
        heading: The headings above it, the outermost first, joined by ``" › "``.
        page: Its page, from 1; None where there are no pages.
        is_code: Whether it is code rather than prose.
    """

    text: str
    heading: str = ""
    page: int | None = None
    is_code: bool = False


class Parsed(Struct, frozen=True):
    """What a parser found.

    Attributes:
        blocks: The text, in its order.
        page_count: Number of pages; None where there are none.
    """

    blocks: list[Block]
    page_count: int | None = None

    @property
    def text_chars(self) -> int:
        """Characters of text."""
        return sum(len(block.text) for block in self.blocks)


class Parser(Struct, frozen=True):
    """One way to take text out of a document.

    Attributes:
        name: Its name and version.
        parse: Takes the bytes, returns what is in them; raises ``UnreadableError``.
    """

    name: str
    parse: Callable[[bytes], Parsed]


def choose_parser(name: str, content_type: str, data: bytes) -> Parser:
    """Choose a parser by what the document is called, said to be, and looks like.

    Args:
        name: File name.
        content_type: Media type, as its sender gives it; may be empty.
        data: The document.

    Raises:
        UnsupportedError: No parser is for this.

    Example:
        >>> choose_parser("guide.md", "", b"# Guide").name
        'markdown-1'
    """
    suffix = PurePosixPath(name).suffix.lower()
    media_type = content_type.partition(";")[0].strip().lower()
    kind = "pdf" if data.startswith(b"%PDF-") else SUFFIXES.get(suffix) or _MEDIA_TYPES.get(media_type)
    if kind is None:
        shown = media_type or "no content type"
        raise UnsupportedError(f"{name!r} ({shown}) is none of PDF, Markdown, HTML and plain text")
    name_of_parser = f"pypdf-{version('pypdf')}" if kind == "pdf" else f"{kind}-1"
    return Parser(name_of_parser, _PARSERS[kind])


def parse_markdown(data: bytes) -> Parsed:
    """Parse Markdown: headings, paragraphs, lists, fenced code; mark-up is taken off.

    Raises:
        UnreadableError: It is not text.
    """
    builder = _Builder()
    for is_code, part in _split_fences(_decode(data)):
        if is_code:
            builder.add(part, is_code=True)
        else:
            _read_markdown(_without_markup(part), builder)
    return builder.finish()


def parse_html(data: bytes) -> Parsed:
    """Parse HTML: what a reader sees of its main text, without navigation, scripts and styles.

    Raises:
        UnreadableError: It is not text.
    """
    reader = _HtmlReader()
    reader.feed(_decode(data))
    reader.close()
    return reader.finish()


def parse_rst(data: bytes) -> Parsed:
    """Parse reStructuredText as far as a README needs it; directives and link targets are taken out.

    Raises:
        UnreadableError: It is not text.
    """
    builder = _Builder()
    text = _decode(data)
    for pattern, replacement in _RST_MARKUP:
        text = pattern.sub(replacement, text)
    _read_markdown(text, builder)
    return builder.finish()


def parse_text(data: bytes) -> Parsed:
    """Parse plain text: paragraphs end at blank lines, an underlined line is a heading.

    Raises:
        UnreadableError: It is not text.
    """
    builder = _Builder()
    _read_markdown(_decode(data), builder)
    return builder.finish()


def parse_pdf(data: bytes) -> Parsed:
    """Parse a PDF page by page.

    Raises:
        UnreadableError: It is damaged, encrypted, too long, or holds pictures only.
    """
    try:
        pages = _read_pages(data)
    except UnreadableError:
        raise
    except Exception as error:  # a damaged file makes pypdf raise just about anything
        raise UnreadableError(f"the PDF is damaged: {error or type(error).__name__}") from error
    builder = _Builder(page_count=len(pages))
    for number, text in enumerate(pages, start=1):
        builder.page = number
        for paragraph in _paragraphs(text):
            builder.add(paragraph)
    return builder.finish()


def _read_pages(data: bytes) -> list[str]:
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableError("the PDF is encrypted")
    if len(reader.pages) > MAX_PAGES:
        raise UnreadableError(f"the PDF has {len(reader.pages)} pages, the limit is {MAX_PAGES}")
    return [page.extract_text() for page in reader.pages]


def _paragraphs(page: str) -> list[str]:
    """Join the lines of a page; one that is much shorter than the longest ends a paragraph."""
    lines = [line for line in map(squeeze, page.splitlines()) if not line.isdigit()]  # page numbers
    long = SHORT_LINE_RATIO * max(map(len, lines), default=0)
    joined = "".join(f"{line}\n" if len(line) < long else f"{line} " for line in lines)
    return re.sub(r"(?<=[a-z])- (?=[a-z])", "", joined).split("\n")


class _Builder:
    """Collects blocks below headings."""

    def __init__(self, page_count: int | None = None) -> None:
        self.page: int | None = None
        self._page_count = page_count
        self._blocks: list[Block] = []
        self._headings: dict[int, str] = {}

    def head(self, level: int, text: str) -> None:
        """Begin a part; what was below a heading of this level or a deeper one ends."""
        self._headings = {depth: heading for depth, heading in self._headings.items() if depth < level}
        if text := squeeze(text):
            self._headings[level] = text

    def add(self, text: str, *, is_code: bool = False) -> None:
        """Add a block, if there is anything in it."""
        if is_code:
            text = text.strip("\n").rstrip()
        else:
            text = "\n".join(line for line in map(squeeze, text.split("\n")) if line)
        if text.strip():
            heading = HEADING_SEPARATOR.join(title for _, title in sorted(self._headings.items()))
            self._blocks.append(Block(text, heading, self.page, is_code))

    def finish(self) -> Parsed:
        if not self._blocks:
            raise UnreadableError("there is no text in it")
        return Parsed(self._blocks, self._page_count)


def _decode(data: bytes) -> str:
    """Read bytes as text: UTF-8, UTF-16 with its mark, else the encoding of old Windows files."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        text = data.decode("utf-16", "replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252", "replace")
    if "\0" in text or len(_CONTROL.findall(text)) > MAX_CONTROL_RATIO * len(text):
        raise UnreadableError("it is binary data, not text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _split_fences(text: str) -> list[tuple[bool, str]]:
    """Cut Markdown into (is it code, text) at its fences; one that is never closed runs to the end."""
    parts: list[tuple[bool, str]] = []
    lines: list[str] = []
    fence = ""
    for line in text.split("\n"):
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        opens = mark is not None and not fence
        closes = mark is not None and bool(fence) and mark[1].startswith(fence)
        if opens or closes:
            parts.append((closes, "\n".join(lines)))
            lines, fence = [], mark[1] if opens and mark else ""
        else:
            lines.append(line)
    parts.append((bool(fence), "\n".join(lines)))
    return parts


_MARKUP: Final = (
    (re.compile(r"<!--.*?-->", re.DOTALL), ""),
    (re.compile(r"^\[[^\]\n]+\]:\s+\S+.*$", re.MULTILINE), ""),  # definitions of links
    (re.compile(r"<(?:br|hr)\s*/?>", re.IGNORECASE), "\n"),
    (re.compile(r"</?[a-zA-Z][^<>]*>"), ""),
    (re.compile(r"!\[[^\]]*\](?:\([^)]*\)|\[[^\]]*\])"), ""),  # pictures
    (re.compile(r"\[([^\[\]]*)\](?:\([^)\s]*(?:\s+\"[^\"]*\")?\)|\[[^\]]*\])"), r"\1"),  # links
    (re.compile(r"<(https?://[^>\s]+)>"), r"\1"),
    (re.compile(r"(\*\*\*|\*\*|\*)(?=\S)([^*\n]+?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)(__|_)(?=\S)([^_\n]+?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"`+([^`\n]+)`+"), r"\1"),
    (re.compile(r"\\([\\`*_{}\[\]()#+.!|<>-])"), r"\1"),
)

_RST_MARKUP: Final = (
    (re.compile(r"^\.\.[ \t].*(?:\n[ \t]+\S.*)*$", re.MULTILINE), ""),
    (re.compile(r":[a-z]+:`([^`<]+?)(?:\s*<[^>`]*>)?`"), r"\1"),
    (re.compile(r"``([^`]+)``"), r"\1"),
    (re.compile(r"`([^`<]+?)(?:\s*<[^>`]*>)?`_{0,2}"), r"\1"),
    (re.compile(r"(?<=\w)_(?=[\s.,;:)])"), ""),
    (re.compile(r"(\*\*|\*)(?=\S)([^*\n]+?)(?<=\S)\1"), r"\2"),
)


def _without_markup(text: str) -> str:
    """Take Markdown's inline mark-up, and HTML, off a text."""
    import html

    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return html.unescape(text)


_ATX_HEADING: Final = re.compile(r" {0,3}(#{1,6})\s+(.*?)\s*#*\s*$")
_RULE: Final = re.compile(r"\s*([-=~*_^\"+])(?:\s*\1){2,}\s*$")
_LIST_ITEM: Final = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+(?=\S)")
_TABLE_RULE: Final = re.compile(r"\s*\|?[\s:|-]*-{2,}[\s:|-]*\|?\s*$")
_QUOTE: Final = re.compile(r"\s*(?:>\s?)+")
_UNDERLINES: Final = "=-~^\"'+*"  # of headings, the outermost first


def _read_markdown(text: str, builder: _Builder) -> None:
    """Read headings, paragraphs and lists; list items and table rows keep a line of their own."""
    paragraph: list[str] = []

    def flush() -> None:
        builder.add("\n".join(paragraph))
        paragraph.clear()

    for raw in text.split("\n"):
        line = _QUOTE.sub("", raw)
        heading = _ATX_HEADING.match(line)
        if heading:
            flush()
            builder.head(len(heading[1]), heading[2])
        elif _RULE.match(line):
            if len(paragraph) == 1 and line.strip()[0] in _UNDERLINES:
                builder.head(_UNDERLINES.index(line.strip()[0]) + 1, paragraph.pop())
            flush()
        elif not line.strip():
            flush()
        elif _TABLE_RULE.match(line):
            continue
        elif line.lstrip().startswith("|"):
            paragraph.append(" — ".join(cell.strip() for cell in line.strip().strip("|").split("|") if cell.strip()))
        elif (item := _LIST_ITEM.match(line)) or not paragraph:
            paragraph.append(line[item.end() if item else 0 :])
        else:
            paragraph[-1] += f" {line.strip()}"
    flush()


class _HtmlReader(HTMLParser):
    """Reads what a page says, as blocks."""

    _HIDDEN: Final = frozenset({"script", "style", "nav", "footer", "template", "noscript", "svg", "head", "form"})
    _BREAKS: Final = frozenset({
        "p", "div", "section", "article", "ul", "ol", "dl", "table", "blockquote", "figure", "main", "header",
    })  # fmt: skip
    _LINES: Final = frozenset({"li", "dt", "dd", "tr", "br", "figcaption"})
    _VOID: Final = frozenset({"br", "hr", "img", "input", "link", "meta", "source", "wbr"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._builder = _Builder()
        self._text: list[str] = []
        self._hidden: list[str] = []
        self._heading: int | None = None
        self._is_code = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002 - the base's
        if self._hidden or tag in self._HIDDEN:
            if tag not in self._VOID:
                self._hidden.append(tag)
        elif re.fullmatch(r"h[1-6]", tag):
            self._flush()
            self._heading = int(tag[1])
        elif tag == "pre":
            self._flush()
            self._is_code = True
        elif tag in self._BREAKS:
            self._flush()
        elif tag in self._LINES:
            self._text.append("\n")
        elif tag in {"td", "th"}:
            self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            if tag in self._hidden:
                del self._hidden[self._hidden.index(tag) :]
        elif re.fullmatch(r"h[1-6]", tag) or tag == "pre" or tag in self._BREAKS:
            self._flush()

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._text.append(data if self._is_code else re.sub(r"\s+", " ", data))

    def finish(self) -> Parsed:
        """Return what was read."""
        self._flush()
        return self._builder.finish()

    def _flush(self) -> None:
        text, self._text = "".join(self._text), []
        if self._heading is not None:
            self._builder.head(self._heading, text)
        else:
            self._builder.add(text, is_code=self._is_code)
        self._heading, self._is_code = None, False


_Kind = Literal["pdf", "markdown", "html", "rst", "text"]

SUFFIXES: Final[dict[str, _Kind]] = {
    ".pdf": "pdf",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".rst": "rst",
    ".txt": "text",
    ".text": "text",
}
"""Which kind of document a file name's ending stands for."""

_MEDIA_TYPES: Final[dict[str, _Kind]] = {
    "application/pdf": "pdf",
    "text/markdown": "markdown",
    "text/x-markdown": "markdown",
    "text/html": "html",
    "application/xhtml+xml": "html",
    "text/x-rst": "rst",
    "text/plain": "text",
}
_PARSERS: Final[dict[_Kind, Callable[[bytes], Parsed]]] = {
    "pdf": parse_pdf,
    "markdown": parse_markdown,
    "html": parse_html,
    "rst": parse_rst,
    "text": parse_text,
}
