"""What can be asked: each question is declared once, and every front reads it the same way.

A question is a class (``costs``, ``logs``, …): its fields are its parameters (``parameter``), each with a type, a reader (``kinds``),
a default, limits, help and an example; ``reading`` answers it from the store. The command line
(``cli.asking``) makes options of it, the HTTP API (``server.asking``) query parameters; both hand over texts, and
``read_question`` alone decides what they mean and what is wrong with them.

Before: cli, server. After: store, query.
"""
