"""The service as a process: ``python -m clew.demo``.

``clew demo`` starts it with a socket that listens already and a pipe as its standard input: when the
pipe closes, because the parent has ended in whatever way, the service ends too.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
import threading
from pathlib import Path

import uvicorn

from clew.demo.app import create_app
from clew.demo.parts import put_together
from clew.demo.settings import DemoSettings, endpoint_from
from clew.emit import process

STOP_TIMEOUT_S = 10


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m clew.demo", description="Run the demo's RAG service.")
    parser.add_argument("--directory", type=Path, required=True, help="where the index is kept")
    parser.add_argument("--port", type=int, default=8000, help="port to listen at, on this machine only")
    parser.add_argument("--fd", type=int, help="a socket that listens already; end when standard input closes")
    arguments = parser.parse_args()
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what it finds wrong with a PDF reaches us as exceptions
    process.configure()
    app = create_app(put_together(DemoSettings(endpoint=endpoint_from(os.environ)), arguments.directory))
    config = uvicorn.Config(
        app, port=arguments.port, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_TIMEOUT_S
    )
    server = uvicorn.Server(config)
    if arguments.fd is None:
        server.run()
        return
    threading.Thread(target=_end_with_parent, args=(server,), name="parent", daemon=True).start()
    server.run(sockets=[socket.socket(fileno=arguments.fd)])


def _end_with_parent(server: uvicorn.Server) -> None:
    # Not sys.stdin: a thread that waits inside its buffer would hold up the interpreter's end.
    while os.read(0, 1):
        continue
    server.should_exit = True


if __name__ == "__main__":
    main()
