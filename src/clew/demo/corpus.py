"""Which documents the demo brings in: its own and those of installed packages, or the user's."""

from __future__ import annotations

import os
import stat
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from clew.demo.ingestion.parse import SUFFIXES, UnreadableError, UnsupportedError, choose_parser
from clew.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Document", "broken_document", "collect", "default_documents"]

OWN: Final = ("clew-words.md", "clew-questions.html", "clew-decisions.pdf")
PACKAGES: Final = ("httpx", "uvicorn", "starlette", "msgspec", "anyio")
"""Packages that are installed with the demo, and have a README worth asking."""

MAX_FILES = 500
MAX_FILE_BYTES = 20 * 1024 * 1024

_MEDIA_TYPES: Final = {
    "pdf": "application/pdf",
    "markdown": "text/markdown",
    "html": "text/html",
    "rst": "text/x-rst",
    "text": "text/plain",
}
_ENDINGS: Final = {"text/markdown": ".md", "text/x-rst": ".rst"}


class Document(Struct, frozen=True):
    """A document to bring in.

    Attributes:
        name: Its file name, with folders where there are any.
        content_type: Its media type.
        data: Its bytes.
    """

    name: str
    content_type: str
    data: bytes


def default_documents() -> list[Document]:
    """Return real text that is on every machine with the demo: three of clew, and READMEs of packages."""
    folder = resources.files("clew.demo") / "documents"
    own = [_document(name, (folder / name).read_bytes()) for name in OWN]
    return [*own, *(readme for package in PACKAGES if (readme := _readme(package)))]


def broken_document() -> Document:
    """Return a PDF that nobody can read: the first half of one, as an upload that broke off leaves it."""
    whole = (resources.files("clew.demo") / "documents" / "clew-decisions.pdf").read_bytes()
    return _document("broken-off-upload.pdf", whole[: len(whole) // 2])


def collect(paths: list[Path], report: Callable[[str], object] | None = None) -> list[Document]:
    """Read the user's documents.

    Args:
        paths: Files, each of which has to be readable, and folders, of which every file is taken that
            a parser knows, except those whose names begin with a dot. What of a folder cannot be read (a broken link, a
            named pipe, a file that is too large) is left out.
        report: Gets a line for each file that is left out.

    Raises:
        UsageError: A path is not there or cannot be read, a file is not a document, a folder holds
            none, or there are too many of them.
    """
    documents: list[Document] = []
    for path in paths:
        if path.is_dir():
            found = _read_folder(path, report or (lambda _: None))
            if not found:
                raise UsageError(
                    f"there is no document in {_shown(path)}", hint=f"a document ends in {', '.join(SUFFIXES)}"
                )
            documents += found
        else:
            document = _read(path, path.name)
            _check(document, path)
            documents.append(document)
        if len(documents) > MAX_FILES:
            raise UsageError(f"there are more than {MAX_FILES} documents", hint="name fewer, or a smaller folder")
    return documents


def _read_folder(folder: Path, report: Callable[[str], object]) -> list[Document]:
    documents: list[Document] = []
    for file in sorted(_files_in(folder)):
        try:
            documents.append(_read(file, str(file.relative_to(folder.resolve().parent))))
        except UsageError as error:
            report(f"left out: {error.message}")
    return documents


def _files_in(folder: Path) -> list[Path]:
    found: list[Path] = []
    for place, folders, names in os.walk(folder.resolve()):
        folders[:] = [name for name in folders if not name.startswith(".")]
        wanted = [name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
        found += [Path(place) / name for name in wanted]
    return found


def _read(path: Path, name: str) -> Document:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a named pipe would be waited for, a device read without an end
            raise UsageError(f"{_shown(path)} is not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise UsageError(f"{_shown(path)} is larger than {MAX_FILE_BYTES // (1024 * 1024)} MiB")
        return _document(_shown(name), path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot read {_shown(path)}: {error.strerror or error}") from error


def _shown(name: Path | str) -> str:
    r"""Write a name that may be no UTF-8 so that it can be sent and shown: its foreign bytes as ``\xff``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _check(document: Document, path: Path) -> None:
    try:
        choose_parser(document.name, document.content_type, document.data).parse(document.data)
    except UnsupportedError:
        raise UsageError(
            f"{_shown(path)} is not a document", hint=f"a document ends in {', '.join(SUFFIXES)}"
        ) from None
    except UnreadableError as error:
        raise UsageError(f"cannot read {_shown(path)}: {error}") from error


def _document(name: str, data: bytes) -> Document:
    kind = SUFFIXES.get(Path(name).suffix.lower())
    return Document(name, _MEDIA_TYPES[kind] if kind else "application/octet-stream", data)


def _readme(package: str) -> Document | None:
    """Return the README of an installed package, from its metadata; None when it has none that we can read."""
    try:
        package_metadata = metadata.metadata(package)
    except metadata.PackageNotFoundError:
        return None
    content_type = str(package_metadata.json.get("description_content_type") or "").partition(";")[0].strip()
    text = str(package_metadata.json.get("description") or "")
    ending = _ENDINGS.get(content_type)
    return _document(f"{package}-README{ending}", text.encode()) if ending and text.strip() else None
