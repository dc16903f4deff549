"""What can be broken in the demo, one fault a file: ``fault`` says what one is, ``registry`` lists them.

A fault breaks something real, and nothing reports it but the code that meets it: the provider refuses calls, and the
retries, errors and latencies of the service are its own.
"""
