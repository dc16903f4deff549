"""A web application that emits all the time and dies when it is asked to, for ASGI and WSGI servers.

``GET /<way>`` dies in that way (see ``victim``), ``GET /`` emits ten events. The counters are in
``VICTIM_COUNTERS``.
"""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clew
from support.victim import WAYS, Lane, die, start_lanes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

COUNTERS = Path(os.environ["VICTIM_COUNTERS"])
EMITS = 50

_lock = threading.Lock()
_own: dict[int, Lane] = {}

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
clew.configure()
Lane(COUNTERS).emit(10)  # where the server loads the application: in its master, with preloading


def _serve(path: str) -> None:
    with _lock:  # a lane has one emitter at a time
        if os.getpid() not in _own:
            _own[os.getpid()] = Lane(COUNTERS)
            start_lanes(COUNTERS, EMITS, threads=2)
        _own[os.getpid()].emit(10)
    if path.lstrip("/") in WAYS:
        die(path.lstrip("/"))


async def asgi(scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
    """Serve over ASGI."""
    if scope["type"] != "http":
        return
    _serve(scope["path"])
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"told"})


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Serve over WSGI."""
    _serve(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Length", "4")])
    return [b"told"]
