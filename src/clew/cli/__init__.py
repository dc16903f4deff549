"""The ``clew`` command: ``commands`` (one module each), ``look`` (how values appear), ``stack`` (what ``up`` starts)."""
