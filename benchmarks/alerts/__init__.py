"""How often alerts fire without a fault, how soon with one, and what an evaluation costs.

The engine that runs in the agent is run on a virtual clock over requests at random moments, evaluated every 15 seconds
with the current minute partial, as it is live. Beside it, over the same requests, are the rules that others write.
"""
