"""Where a webhook may be: at public addresses only, unless the settings allow private ones.

A URL from the settings is trusted to name a host, not to reach into the network that clew runs in: a name can lead to
``127.0.0.1``, to the metadata service of a cloud, or to one address now and to another one a moment later. Therefore
names are looked up here, every address is judged by what it means and not by how it is written, and the connection
goes to an address that was judged (``connection``); nobody looks the name up a second time.

=======================  ========================================================================================
refused                  ranges
=======================  ========================================================================================
this machine             ``0.0.0.0/8``, ``127.0.0.0/8``, ``::``, ``::1``
private networks         RFC 1918, ``100.64.0.0/10`` (carriers, and one cloud's metadata), ``fc00::/7``, ``fec0::/10``
link-local               ``169.254.0.0/16``, ``fe80::/10``: the metadata services of most clouds
metadata                 ``168.63.129.16``, ``fd00:ec2::254``
multicast, reserved      ``224.0.0.0/3``, ``ff00::/8``, documentation, benchmarking, whatever IANA calls not global
IPv4 within IPv6         mapped, compatible, NAT64, 6to4 and Teredo: refused where the address within it is
=======================  ========================================================================================

Source:
    IANA IPv4 and IPv6 special-purpose address registries (RFC 6890); RFC 6052 (NAT64), RFC 3056 (6to4), RFC 4380
    (Teredo); OWASP, "Server-Side Request Forgery Prevention Cheat Sheet".
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from clew.alerts.notify.connection import Deadline

__all__ = ["Lookup", "NetworkAddress", "RefusedAddressError", "find_addresses", "why_refused"]

Lookup: TypeAlias = "Callable[..., Sequence[tuple[Any, ...]]]"
"""A function with the form of ``socket.getaddrinfo``."""

_NAT64: Final = IPv6Network("64:ff9b::/96")
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
_IPV4_COMPATIBLE: Final = IPv6Network("::/96")
_NAMED: Final[tuple[tuple[IPv4Network | IPv6Network, str], ...]] = (
    (IPv4Network("168.63.129.16/32"), "a metadata service"),
    (IPv6Network("fd00:ec2::/32"), "a metadata service"),
    (IPv4Network("169.254.0.0/16"), "a link-local address"),
    (IPv6Network("fe80::/10"), "a link-local address"),
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv6Network("::1/128"), "a loopback address"),
    (IPv4Network("0.0.0.0/8"), "this machine"),
    (IPv6Network("::/128"), "this machine"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
    (IPv4Network("10.0.0.0/8"), "a private address"),
    (IPv4Network("172.16.0.0/12"), "a private address"),
    (IPv4Network("192.168.0.0/16"), "a private address"),
    (IPv4Network("100.64.0.0/10"), "a private address"),
    (IPv6Network("fc00::/7"), "a private address"),
    (IPv6Network("fec0::/10"), "a private address"),
    (IPv4Network("192.0.0.0/24"), "a reserved address"),  # with one cloud's metadata; Python 3.11 calls it global
    (IPv4Network("192.88.99.0/24"), "a reserved address"),
    (IPv6Network("3fff::/20"), "a reserved address"),
    (IPv6Network("64:ff9b:1::/48"), "a private address"),  # NAT64 of one network, which alone knows what is within it
)


class NetworkAddress(NamedTuple):
    """An address that a connection may go to.

    Attributes:
        family: ``socket.AF_INET`` or ``socket.AF_INET6``.
        place: What ``socket.connect`` takes.
    """

    family: int
    place: tuple[Any, ...]


class RefusedAddressError(OSError):
    """A name leads to addresses that notices are not sent to."""


def find_addresses(
    host: str, port: int, *, deadline: Deadline, may_be_private: bool, lookup: Lookup = socket.getaddrinfo
) -> list[NetworkAddress]:
    """Look up a name, or read an address in any of its forms.

    Args:
        host: The name or the address.
        port: The port.
        deadline: By when it has to be known.
        may_be_private: Return what is not public too.
        lookup: Who is asked.

    Returns:
        The addresses that may be connected to, in the order of the answer.

    Raises:
        RefusedAddressError: There are addresses, and none of them may be connected to.
        OSError: There is no such name.
        TimeoutError: Nobody answered in time.

    Example:
        >>> from clew.alerts.notify.connection import Deadline
        >>> find_addresses("0x7f.1", 80, deadline=Deadline(1.0), may_be_private=False)
        Traceback (most recent call last):
        ...
        clew.alerts.notify.address.RefusedAddressError: 0x7f.1 is a loopback address
    """
    found: list[NetworkAddress] = []
    reason = ""
    for family, _, _, _, place in _look_up(host, port, deadline, lookup):
        why = "" if may_be_private else why_refused(str(place[0]))
        reason = reason or why
        address = NetworkAddress(family, place)
        if not why and address not in found:
            found.append(address)
    if not found:
        raise RefusedAddressError(f"{host} is {reason}" if reason else f"{host} has no address")
    return found


def why_refused(text: str) -> str:
    """Return what an address is that notices are not sent to; empty for a public one.

    Args:
        text: An IPv4 or IPv6 address in its usual form, as a lookup returns it.

    Example:
        >>> why_refused("::ffff:169.254.169.254"), why_refused("203.0.114.9")
        ('a link-local address', '')
    """
    try:
        address = ip_address(text)  # with a zone, as in fe80::1%eth0, too
    except ValueError:
        return "no address"
    return next((why for part in _meanings(address) if (why := _why(part))), "")


def _why(address: IPv4Address | IPv6Address) -> str:
    for network, name in _NAMED:
        if address.version == network.version and address in network:
            return name
    is_routed = address.is_global if address.version == 4 else address.is_global and address in _GLOBAL_IPV6
    return "" if is_routed and not address.is_reserved else "a reserved address"


def _meanings(address: IPv4Address | IPv6Address) -> list[IPv4Address | IPv6Address]:
    """Return the addresses that packets to *address* may reach: the ones within it, or itself."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    if address.teredo is not None:
        return [*address.teredo]
    return [address]


def _look_up(host: str, port: int, deadline: Deadline, lookup: Lookup) -> Sequence[tuple[Any, ...]]:
    """Ask in a thread of its own: a resolver whose servers are silent blocks for half a minute, and nothing ends it."""
    answers: list[Sequence[tuple[Any, ...]]] = []
    errors: list[OSError] = []

    def ask() -> None:
        try:
            answers.append(lookup(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            errors.append(error)
        except UnicodeError:  # of the codec for names: a label is empty or longer than 63 characters
            errors.append(OSError(f"{host} is no valid name"))

    asking = Thread(target=ask, name="clew-lookup", daemon=True)
    asking.start()
    asking.join(deadline.left_s())
    if answers:
        return answers[0]
    if errors:
        raise errors[0]
    raise TimeoutError(f"the name {host} could not be looked up in time")
