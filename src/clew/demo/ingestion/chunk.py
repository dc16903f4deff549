"""Cutting a document into chunks: whole sentences, below their headings, with some overlap.

A chunk's id is made from the version of its document, the chunker with its configuration, its
place and its text: the same document cut the same way gets the same ids on every machine and in
every run, and whatever changes one of them changes the ids.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from msgspec import Struct, json
from msgspec.structs import asdict

from clew.demo.ingestion.parse import HEADING_SEPARATOR
from clew.demo.text import fingerprint, sentences

if TYPE_CHECKING:
    from clew.demo.ingestion.parse import Block, Parsed

__all__ = ["CHUNKER", "Chunk", "ChunkOrigin", "ChunkerConfig", "cut"]

CHUNKER: Final = "sentences-under-headings-1"


class ChunkerConfig(Struct, frozen=True):
    """How to cut.

    Attributes:
        max_chars: Longest chunk, in characters; a longer sentence is cut at a word.
        overlap_sentences: How many sentences a chunk repeats of the one before it under the same heading.
        min_chars: Parts of different headings are joined while what there is is shorter than this.

    Raises:
        ValueError: ``max_chars`` is below 40: sentences would be cut to pieces.
    """

    max_chars: int = 700
    overlap_sentences: int = 1
    min_chars: int = 160

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.max_chars < 40:
            raise ValueError(f"max_chars is {self.max_chars}, it has to be 40 at least")

    @property
    def hash(self) -> str:
        """Identify the configuration."""
        return fingerprint(json.encode(asdict(self)), length=12)


class ChunkOrigin(Struct, frozen=True):
    """Where a chunk comes from: enough to make it again, and to find who else is affected.

    Attributes:
        document_id: Its document.
        document_version: Hash of the document's bytes.
        document_name: Its document, for people.
        ingest_run_id: The run that brought it in.
        parser: Parser and its version.
        chunker: Chunker and its version.
        chunker_config_hash: How the chunker was configured.
        embedding_model: What made its vector.
    """

    document_id: str
    document_version: str
    document_name: str
    ingest_run_id: str
    parser: str
    chunker: str
    chunker_config_hash: str
    embedding_model: str


class Chunk(Struct, frozen=True):
    """A piece of a document.

    Attributes:
        chunk_id: Its stable id.
        ordinal: Its place in the document, from 0.
        text: Its text; a line end ends a sentence.
        heading: The headings above its beginning.
        page: The page of its beginning, from 1; None where there are no pages.
        lineage: Where it comes from.
    """

    chunk_id: str
    ordinal: int
    text: str
    heading: str
    page: int | None
    lineage: ChunkOrigin

    @property
    def searchable(self) -> str:
        """Its text below its document's name and its headings, as it is embedded and searched."""
        return "\n".join(part for part in (self.lineage.document_name, self.heading, self.text) if part)


class _Unit(Struct):
    """The smallest piece that is not cut: a sentence, or a piece of code."""

    text: str
    heading: str
    page: int | None
    joiner: str  # what stands between it and the unit before


class _Draft(Struct):
    """A chunk to be."""

    units: list[_Unit]
    repeated: int = 0  # how many of the units repeat the chunk before

    @property
    def text(self) -> str:
        first, *others = self.units
        return first.text + "".join(unit.joiner + unit.text for unit in others)


def cut(parsed: Parsed, lineage: ChunkOrigin, config: ChunkerConfig) -> list[Chunk]:
    """Cut a document.

    Args:
        parsed: The document's text.
        lineage: Where the chunks come from.
        config: How to cut.

    Returns:
        At least one chunk, in the order of the text; none is longer than ``config.max_chars``.
    """
    drafts: list[_Draft] = []
    for _, units in groupby(_units(parsed.blocks, config.max_chars), key=lambda unit: unit.heading):
        part = list(units)
        title = part[0].heading.rpartition(HEADING_SEPARATOR)[2]
        if drafts and _can_take(drafts[-1], part, config):
            drafts[-1].units += [_Unit(title, "", None, "\n\n")] * bool(title) + part
        else:
            drafts += _pack(part, config)
    return [_finish(draft, ordinal, lineage) for ordinal, draft in enumerate(drafts)]


def _units(blocks: list[Block], max_chars: int) -> list[_Unit]:
    units: list[_Unit] = []
    for block in blocks:
        for line_number, line in enumerate([block.text] if block.is_code else block.text.split("\n")):
            pieces = line.split("\n") if block.is_code and len(line) > max_chars else [line]
            pieces = pieces if block.is_code else sentences(line)
            for number, piece in enumerate(pieces):
                joiner = ("\n" if line_number or block.is_code else "\n\n") if not number else " "
                joiner = "\n" if block.is_code else joiner
                units += [_Unit(text, block.heading, block.page, joiner) for text in _at_most(piece, max_chars)]
    return units


def _at_most(text: str, max_chars: int) -> list[str]:
    """Cut what is too long where a word ends, or anywhere when no word does."""
    pieces: list[str] = []
    while len(text) > max_chars:
        end = text.rfind(" ", max_chars // 2, max_chars + 1)
        end = end if end > 0 else max_chars
        pieces.append(text[:end].rstrip())
        text = text[end:].lstrip()
    return [*pieces, text] if text else pieces


def _can_take(draft: _Draft, part: list[_Unit], config: ChunkerConfig) -> bool:
    """Whether the next part is to be joined to a chunk that is too short to stand alone."""
    length = sum(len(unit.joiner) + len(unit.text) for unit in part) + len(f"\n\n{part[0].heading}")
    is_short = len(draft.text) < config.min_chars or length < config.min_chars
    return is_short and len(draft.text) + length <= config.max_chars


def _pack(units: list[_Unit], config: ChunkerConfig) -> list[_Draft]:
    """Fill chunks with the units of one part, as many as fit."""
    drafts: list[_Draft] = []
    draft = _Draft([])
    length = 0
    for unit in units:
        if draft.units and length + len(unit.joiner) + len(unit.text) > config.max_chars:
            drafts.append(draft)
            repeated = _overlap(draft, unit, config)
            draft = _Draft(repeated, len(repeated))
            length = len(draft.text) if repeated else 0
        length += len(unit.text) + (len(unit.joiner) if draft.units else 0)
        draft.units.append(unit)
    drafts.append(draft)
    return drafts


def _overlap(draft: _Draft, following: _Unit, config: ChunkerConfig) -> list[_Unit]:
    """Choose what the next chunk repeats: the last sentences, if there is room for them."""
    count = min(config.overlap_sentences, len(draft.units) - draft.repeated - 1)
    repeated = draft.units[len(draft.units) - count :] if count > 0 else []
    room = config.max_chars - len(following.joiner) - len(following.text)
    return repeated if sum(len(unit.joiner) + len(unit.text) for unit in repeated) <= room else []


def _finish(draft: _Draft, ordinal: int, lineage: ChunkOrigin) -> Chunk:
    text, first = draft.text, draft.units[0]
    of_document = (lineage.document_id, lineage.document_version, lineage.parser)
    chunk_id = fingerprint(*of_document, lineage.chunker, lineage.chunker_config_hash, str(ordinal), text)
    return Chunk(f"chunk-{chunk_id}", ordinal, text, first.heading, first.page, lineage)
