"""Secrets never reach the disk.

Two layers, both before an event is written to the spool:

1. *Names* (``names``). A field whose name says that it holds a secret loses its value, at any depth. Names that
   merely look alike and are wanted (``token_count``, ``cache_key``, ``session_id`` …) are kept.
2. *Texts* (``search``). Credentials, e-mail addresses and card numbers are taken out of texts, wherever they are:
   tokens by how they begin (``tokens``), values by the name before them (``assigned``), passwords in addresses
   (``addresses``), command lines and SQL (``commands``), private keys (``blocks``), card numbers (``cards``).

What is taken out is replaced by ``[redacted:<kind>]``, or in hash mode by ``[<kind>:<hash>]``: the first 16 hex
digits of HMAC-SHA256 under your key, so that equal values can still be joined and none can be read.

Rules of users (``patterns``) are held to the same bound as ours: their time is in proportion to the text.
"""

from __future__ import annotations

from clew.emit.redact.redactor import MEMO_KEYS, REDACTED, Redactor

__all__ = ["MEMO_KEYS", "REDACTED", "Redactor"]
