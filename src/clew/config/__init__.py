"""The settings: declared by their owners, read by one loader.

Here: how a setting is declared (``declaring``), one module for each owner (``emit``, ``spool``, ``store``, ``agent``,
``server``), the settings of a process, which are all of these together (``settings``), those of alerts, which only the
process that evaluates alerts reads (``alerts``), and the loader (``loader``).

A new setting is declared in the module of its owner: its name, its type with its limits, its default, and a line of the
docstring. Everything else follows from that: the variable, the page of settings, the messages, and what is not shown.

Nothing here opens a connection or starts a thread. It may call ``event`` and ``errors``; everybody above may call it.
"""

from __future__ import annotations

from clew.config.declaring import PREFIX
from clew.config.loader import load, load_alerts
from clew.config.settings import Settings
from clew.config.spool import data_dir

__all__ = ["PREFIX", "Settings", "data_dir", "load", "load_alerts"]
