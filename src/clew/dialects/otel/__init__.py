"""The dialects of OpenTelemetry: what our events are called there, read and written.

========================= ====================================================================
``names``                 the attributes, each by one constant
``own``                   what no convention has a place for, both ways: nothing is lost
``writing``               our events into attributes: what ``sinks.otlp.sink`` sends
``reading``               attributes of three dialects into events: what ``receivers.otlp`` takes
========================= ====================================================================

Three dialects are read, two are written together: OpenTelemetry's for generative AI (``gen_ai.*``) and
OpenInference (``openinference.span.kind``, ``llm.*``, ``retrieval.*`` …). What a field of the catalogue is
called stands in the catalogue.

OTLP as bytes is in ``wire``; the events that a receiver makes of a request, in ``events``. It knows no connection.
"""
