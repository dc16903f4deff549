"""Which documents are brought in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from clew.demo import corpus
from clew.demo.corpus import broken_document, collect, default_documents
from clew.demo.ingestion.chunk import ChunkerConfig, cut
from clew.demo.ingestion.parse import UnreadableError, choose_parser
from clew.errors import UsageError
from support.fix_demo import lineage

if TYPE_CHECKING:
    from pathlib import Path


def test_the_default_documents_are_there_and_small() -> None:
    """Real text of all kinds; few enough chunks that embedding them takes seconds."""
    documents = default_documents()
    chunks = [
        len(cut(choose_parser(one.name, one.content_type, one.data).parse(one.data), lineage(), ChunkerConfig()))
        for one in documents
    ]

    assert {"application/pdf", "text/html", "text/markdown"} <= {document.content_type for document in documents}
    assert 20 <= sum(chunks) <= 60


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is still worth asking."""
    monkeypatch.setattr(corpus, "PACKAGES", ("no-such-package", "httpx"))

    assert [document.name for document in default_documents()][3:] == ["httpx-README.md"]


def test_the_broken_document_cannot_be_read() -> None:
    """It is there to be refused."""
    broken = broken_document()

    with pytest.raises(UnreadableError):
        choose_parser(broken.name, broken.content_type, broken.data).parse(broken.data)


def test_files_and_folders_are_collected(tmp_path: Path) -> None:
    """Of a folder every document below it, but not what is hidden, and not what is none."""
    folder = tmp_path / "notes"
    (folder / "deep" / ".git").mkdir(parents=True)
    for name in ("b.md", "deep/a.txt", "deep/.git/c.md", ".hidden.md", "photo.jpg"):
        (folder / name).write_text(f"This is {name}.")
    single = tmp_path / "single.html"
    single.write_text("<p>One page.</p>")

    found = collect([folder, single])

    assert [(document.name, document.content_type) for document in found] == [
        ("notes/b.md", "text/markdown"),
        ("notes/deep/a.txt", "text/plain"),
        ("single.html", "text/html"),
    ]


def test_what_cannot_be_brought_in_is_said_in_one_line(tmp_path: Path) -> None:
    """Not there, not a document, damaged, empty: each names the path and is a matter of usage."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    (tmp_path / "damaged.pdf").write_bytes(broken_document().data)
    (tmp_path / "blank.md").write_text("\n")

    for name, reason in {
        "missing.md": "cannot read .*missing.md: No such file",
        "empty": "no document in .*empty",
        "photo.jpg": "photo.jpg is not a document",
        "damaged.pdf": "cannot read .*damaged.pdf: the PDF is damaged",
        "blank.md": "cannot read .*blank.md: there is no text",
    }.items():
        with pytest.raises(UsageError, match=reason) as raised:
            collect([tmp_path / name])
        assert "\n" not in str(raised.value)


def test_too_many_and_too_large_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is started."""
    for name in ("a.md", "b.md", "c.md"):
        (tmp_path / name).write_text("Some text here.")
    monkeypatch.setattr(corpus, "MAX_FILES", 2)
    with pytest.raises(UsageError, match="more than 2 documents"):
        collect([tmp_path])

    monkeypatch.setattr(corpus, "MAX_FILE_BYTES", 3)
    with pytest.raises(UsageError, match="larger than"):
        collect([tmp_path / "a.md"])


def test_what_of_a_folder_cannot_be_read_is_left_out_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken link, a named pipe, a device, a file that is too large: the rest is taken."""
    folder = tmp_path / "vault"
    folder.mkdir()
    (folder / "good.md").write_text("Some text.")
    (folder / "linked.md").symlink_to(folder / "good.md")
    (folder / "gone.md").symlink_to(tmp_path / "nowhere")
    (folder / "zero.txt").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.txt")
    (folder / "big.md").write_text("x" * 100)
    monkeypatch.setattr(corpus, "MAX_FILE_BYTES", 50)
    lines: list[str] = []

    found = collect([folder], lines.append)

    assert [document.name for document in found] == ["vault/good.md", "vault/linked.md"]
    assert len(lines) == 4
    for name in ("big.md is larger", "gone.md: No such file", "pipe.txt is not a file", "zero.txt is not a file"):
        assert sum(name in line for line in lines) == 1, name


def test_a_name_that_is_no_utf8_is_written_so_that_it_can_be_sent(tmp_path: Path) -> None:
    """As archives of other systems bring them along."""
    (tmp_path / os.fsdecode(b"b\xffad.md")).write_text("Some text.")

    (document,) = collect([tmp_path])

    assert document.name == f"{tmp_path.name}/b\\xffad.md"
    document.name.encode("utf-8")
