"""Who is notified: Slack, mail, webhooks, and the outbox that sends each notice at least once.

Here: what a receiver is (``receiver``), the receivers, one a file, and the outbox with its retries (``outbox``).
A receiver turns a notice into its own form and tries once to send it. It knows no other receiver, no store and no rule.
"""
