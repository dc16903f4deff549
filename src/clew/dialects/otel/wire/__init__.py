"""OTLP as bytes: requests, records and answers, in protobuf and JSON, read and written."""
