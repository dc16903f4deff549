"""Alerts the Prometheus way: the rules in force as files for Prometheus and Alertmanager.

Here: how a rule file looks (``rule_file``), pieces of PromQL (``promql``), which series each signal counts (``series``),
rules of shares (``shares``) and of levels (``levels``), what is said in an alert (``annotations``), recording rules for
dashboards (``dashboards``), Alertmanager's configuration (``routing``), test cases (``cases``), and all of it together
(``prometheus``).

Everything is pure: rules in, texts out. What comes back from Alertmanager is ``clew.alerts.alertmanager``'s.
"""
