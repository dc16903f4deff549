"""Any OpenTelemetry backend, over OTLP/HTTP."""
