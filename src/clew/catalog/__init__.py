"""The catalogue: the vocabulary of a RAG system, declared once, as data.

``events`` declares events and fields, ``series`` what is measured of them, ``bill`` what costs are paid for, ``usage`` what
providers mean by the tokens they report. The split of an event into metrics and context, the stage of a log,
Prometheus, OpenTelemetry, LangSmith, the store and the reference pages all read these tables; there is no second list.
It holds no code that handles an event, and calls ``event`` alone.

There is nothing to import from here: an application that emits needs ``events`` alone, and should not pay for the rest.
"""
