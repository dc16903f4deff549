"""The settings of a process that emits, ships, stores or serves: those of all owners."""

from clew.config.server import ServerSettings

__all__ = ["Settings"]


class Settings(ServerSettings, frozen=True, kw_only=True):
    """Every setting of a process, resolved; each is described by the class of its owner, above.

    An owner's class extends the one below it, in the order in which an event travels, for two reasons: a process that
    emits must also know the sinks (it starts an agent if there are any), and one that serves everything else. What
    needs a part only may ask for the class of that part.
    """
