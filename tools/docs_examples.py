"""Show the examples of docstrings as examples on the pages.

Our docstrings have a section ``Example:``; Griffe, which reads them for the site, knows ``Examples:`` and
takes the other for prose.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["Examples"]


class Examples(griffe.Extension):
    """Read ``Example:`` as ``Examples:``, in every docstring."""

    def on_object(self, *, obj: griffe.Object, **_rest: Any) -> None:
        """Rename the section in the docstring of one object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example::?$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
