"""A real, small RAG service, to see clew at work, and the commands' driver for it.

The service, in the order of a request::

    settings → app → ingest   parse → chunk → embed → index
                     answer   cache → retrieve (bm25, vectors) → rerank → prompt → generate → evaluate

``ingest`` and ``answer`` are where it is instrumented: the modules they call compute and know
nothing of clew. ``generate`` asks either an OpenAI-compatible endpoint (``completions``) or the
extractive reader of this package (``reader``).

The rest is for ``clew demo``: ``corpus`` (which documents), ``questions`` (what is asked of them),
``service`` (the process), ``driver`` (real requests to it), ``selfcheck`` (did every event arrive).
"""
