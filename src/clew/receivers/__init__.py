"""Receivers: what other systems' clients send, taken in: transports only.

A receiver asks a dialect what a request means, hands the ``DraftEvent`` of each item to the ``Intake``, which alone knows
the spool, and answers its client only after that.
"""
