"""Receivers: what other systems' clients send, made into our events.

A receiver knows one foreign format. It makes ``DraftEvent`` of what it reads, and hands that to the
``Intake``, which alone knows the spool. It answers its client only after that.
"""
