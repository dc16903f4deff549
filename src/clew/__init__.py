"""clew: observability for RAG systems, one thread from request to root cause.

    import clew

    clew.configure(service="rag-api")
    log = clew.get_logger()

    @clew.traceable(run_type="retriever")
    def search(query: str) -> list[str]:
        log.info("query_received", query_chars=len(query))
        ...

Every event is durable when the call returns, carries the ids in force, and is shipped by the
agent, never by this process.
"""

from clew.emit.context import Context, current, trace_context
from clew.emit.logger import Logger, get_logger
from clew.emit.process import configure, flush, shutdown
from clew.emit.tracing import Span, span, traceable
from clew.errors import ClewError

__all__ = [
    "ClewError",
    "Context",
    "Logger",
    "Span",
    "configure",
    "current",
    "flush",
    "get_logger",
    "shutdown",
    "span",
    "trace_context",
    "traceable",
]
