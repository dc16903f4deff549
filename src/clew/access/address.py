"""Where to listen: at any address but loopback only when a token is asked for.

Before: the settings of whatever listens, the server or the agent's ``/metrics``. After: ``tokens``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from clew.access.tokens import Keyring
from clew.errors import ConfigError

if TYPE_CHECKING:
    from clew.config import Settings

__all__ = ["check_address", "is_loopback"]

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at *host*.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
        (True, False)
    """
    return host.strip("[]").lower() in LOOPBACK


def check_address(settings: Settings) -> None:
    """Refuse to listen where others can reach us and nobody would be asked for a token.

    Raises:
        ConfigError: The ``host`` is not loopback, and there is no token.
    """
    if not is_loopback(settings.host) and Keyring(settings).is_empty():
        raise ConfigError(
            f"{settings.host} can be reached from other machines",
            hint="make a token with `clew token create`, or set CLEW_TOKEN, which clients then have to send; "
            "or listen at 127.0.0.1",
        )
