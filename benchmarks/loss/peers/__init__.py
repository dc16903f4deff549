"""How each contestant traces a function, one module each, set up as its own documentation shows.

A module runs in its contestant's own environment, and has:

``set_up(url)``
    Sends everything to *url*; for clew a DSN.
``traced(name, function)``
    Returns *function* with every call traced under *name*, inputs and output recorded.
``traced_generator(name, function)``
    The same for a generator function.
``flush()``
    Waits until what was told is sent, as the documentation advises before an exit.

Nothing else is set: queues, retries and timeouts are the defaults.
"""
