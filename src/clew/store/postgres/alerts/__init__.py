"""What PostgreSQL keeps for alerts: sums by the minute to evaluate, evidence, alerts and their changes, the outbox.

Here: one module for each of these. What they mean is decided in ``clew.alerts``; nothing here knows a rule.
"""
