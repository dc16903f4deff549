"""A provider of the demo's own, for the demo with a fault: OpenAI's protocol over HTTP, on this machine only.

``prompt_reader`` reads what the model is sent, ``endpoint`` is the protocol, ``server`` runs it in a thread and breaks
and repairs it.
"""
