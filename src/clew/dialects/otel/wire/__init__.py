"""OTLP as bytes: requests, records and answers, in protobuf and JSON, read and written.

``requests`` reads a body and writes an answer; ``json_records`` and ``protobuf_records`` find the records in either
encoding, which look the same from then on (``records``). ``writing`` makes the requests that a sink sends.
"""
