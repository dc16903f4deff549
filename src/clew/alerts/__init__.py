"""Alerts: rules over the sums of the store, when they fire, and who is notified.

Here: the rules and the file they are read from (``rules``), what is measured (``signals``), the statistics
(``statistics``), the state of each alert (``machine``), their evaluation (``evaluate``), what is said of an alert
(``notice``), and who it is said to (``notify``).

Evaluation reads sums by the minute alone, so its cost does not grow with the number of events; events are read
when an alert is about to fire, for evidence. Rules, statistics, states and texts are pure; only ``notify`` opens
connections to others, and only ``store.postgres`` knows the tables.

It may call the store and everything below it; agent, server and command line call it.
"""
