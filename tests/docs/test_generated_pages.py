"""Pages that say what the code says are as the code says it."""

from __future__ import annotations

import pytest
from tools.fix_docs import PAGES, REFERENCE


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_not_stale(name: str) -> None:
    """What is checked in is what the generator writes; `make fix-docs` puts it right."""
    assert (REFERENCE / name).read_text("utf-8") == PAGES[name]()
