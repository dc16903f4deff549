"""Put the sections of the documentation in the order in which a newcomer needs them.

A hook of MkDocs. Pages are found by themselves; only the order of the folders is said here, so that a new
page never has to be entered into a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mkdocs.structure.nav import Navigation

__all__ = ["on_nav"]

TITLES: Final = {
    "Tutorial": "Tutorial",
    "How to": "How to",
    "Reference": "Reference",
    "Explanation": "Explanation",
    "Adr": "Decisions",
}
"""The folders in order, by the titles that MkDocs gives them, and what they are called."""


def on_nav(nav: Navigation, **_rest: Any) -> Navigation:
    """Order the top level: single pages first, then the folders."""
    order = list(TITLES)
    nav.items.sort(key=lambda item: order.index(item.title) if item.is_section and item.title in order else -1)
    for item in nav.items:
        if item.is_section:
            item.title = TITLES.get(str(item.title), item.title)
    return nav
