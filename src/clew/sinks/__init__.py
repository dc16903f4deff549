"""Where events go: one module for each system, all behind the contract in ``base``."""
