"""Write a page, so that nothing in it can act.

Pages show what users and models wrote. Every value is escaped; the browser is instructed to run no script, to load
nothing but our own style sheet, and to let no other page show ours in a frame. What a page is about stands in
its address, so it is not passed on to linked sites.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from clew.server.ui.words import FILTERS

__all__ = ["page", "style_sheet"]

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "private, no-store",
}

_environment = Environment(
    loader=PackageLoader("clew.server.ui"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters.update(FILTERS)


def page(template: str, *, status: int = 200, **values: Any) -> Response:
    """Write a page.

    Args:
        template: Name of its template, without the suffix.
        status: The status to answer with.
        values: What the template shows.
    """
    text = _environment.get_template(f"{template}.html").render(values)
    return Response(text.encode("utf-8", "replace"), status, HEADERS, "text/html; charset=utf-8")


def style_sheet() -> Response:
    """Return the style sheet of all pages."""
    text = files("clew.server.ui").joinpath("static/clew.css").read_bytes()
    return Response(text, headers={"cache-control": "max-age=3600"}, media_type="text/css; charset=utf-8")
