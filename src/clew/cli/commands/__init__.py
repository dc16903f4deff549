"""The commands of ``clew``, one module each; ``registry`` imports one when it is asked for."""
