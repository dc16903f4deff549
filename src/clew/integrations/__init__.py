"""Where clew meets other libraries; what each integration promises is in ``CONTRACT.md``."""
