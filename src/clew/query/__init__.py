"""The language in which events are asked for: one parser for the command line, the API and the pages.

A query is terms, all of which must hold. What a term may be:

======================= ==========================================================================
``level>=error``        a field, an operator, a value: ``:`` or ``=`` equal, ``!=`` ``>`` ``>=`` ``<`` ``<=``
``service:api,worker``  one of several values
``message:chunk*``      a value that begins so; ``message:*chunk*`` one with this piece in it
``context.top_k:5``     anything in the event's context, by its path; ``metrics.`` and ``error.`` likewise
``score.faithfulness<0.7`` a quality score
``duration>2s``         with a unit: ms s m h d; ``cost>0.01`` is in US dollars
``since:1h``            not older than that, or than a moment: ``since:2026-11-23T10:00``; ``until:`` likewise
``has:error``           a field that is there
``timeout``             a word, in the message, the error or a text of the context, whatever its case
``"rate limit"``        words next to each other, in this order
``rate*`` ``*limit*``   a beginning of a word; any piece of text
``NOT`` ``-``           not this; ``AND`` is between terms anyway; ``OR`` binds less; ``( )`` as usual
======================= ==========================================================================

``parse`` turns a text into a tree (``tree``); what a tree means in SQL is the store's matter. A mistake is a
``QueryError`` that says where it is and what was probably meant.

Before: cli, server. After: the store, which compiles the tree.
"""

from __future__ import annotations

from clew.query.parser import QueryError, parse

__all__ = ["QueryError", "parse"]
