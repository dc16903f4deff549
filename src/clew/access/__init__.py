"""Who may ask: tokens, the addresses that may be listened at, how often each may ask."""
