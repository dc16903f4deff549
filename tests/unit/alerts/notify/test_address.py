"""Where webhooks may be: every form of an address that is not public, and names that lead to one."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from clew.alerts.notify.address import RefusedAddressError, find_addresses, why_refused
from clew.alerts.notify.connection import Deadline

if TYPE_CHECKING:
    from collections.abc import Iterator

REFUSED = {
    "127.0.0.1": "a loopback address",
    "127.255.255.254": "a loopback address",
    "::1": "a loopback address",
    "0.0.0.0": "this machine",
    "0.1.2.3": "this machine",
    "::": "this machine",
    "10.0.0.1": "a private address",
    "172.16.0.1": "a private address",
    "172.31.255.255": "a private address",
    "192.168.1.1": "a private address",
    "100.64.0.1": "a private address",
    "100.100.100.200": "a private address",
    "fc00::1": "a private address",
    "fd12:3456::1": "a private address",
    "fec0::1": "a private address",
    "169.254.169.254": "a link-local address",
    "169.254.0.1": "a link-local address",
    "fe80::1": "a link-local address",
    "fe80::1%eth0": "a link-local address",
    "168.63.129.16": "a metadata service",
    "fd00:ec2::254": "a metadata service",
    "192.0.0.192": "a reserved address",
    "224.0.0.1": "a multicast address",
    "239.255.255.255": "a multicast address",
    "ff02::1": "a multicast address",
    "240.0.0.1": "a reserved address",
    "255.255.255.255": "a reserved address",
    "192.0.2.1": "a reserved address",
    "198.18.0.1": "a reserved address",
    "198.51.100.1": "a reserved address",
    "2001:db8::1": "a reserved address",
    "3fff::1": "a reserved address",
    "5f00::1": "a reserved address",
    "4000::1": "a reserved address",
    "192.88.99.1": "a reserved address",
    "100::1": "a reserved address",
    "::ffff:127.0.0.1": "a loopback address",
    "::ffff:169.254.169.254": "a link-local address",
    "::ffff:10.0.0.1": "a private address",
    "::127.0.0.1": "a loopback address",
    "64:ff9b::7f00:1": "a loopback address",
    "64:ff9b::a9fe:a9fe": "a link-local address",
    "64:ff9b:1::8.8.8.8": "a private address",
    "2002:7f00:1::": "a loopback address",
    "2002:a00:1::1": "a private address",
    "2001:0:808:808:0:0:f5ff:fffe": "a private address",  # Teredo, whose client is at 10.0.0.1
    "no address": "no address",
}
PUBLIC = ["8.8.8.8", "34.237.4.4", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]


@pytest.mark.parametrize(("address", "why"), REFUSED.items())
def test_an_address_that_is_not_public_is_refused(address: str, why: str) -> None:
    """IPv4, IPv6, and IPv4 within IPv6, by the registries of IANA."""
    assert why_refused(address) == why


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_not_refused(address: str) -> None:
    """Also where it is within an address of IPv6."""
    assert why_refused(address) == ""


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001", "127.000.000.001",
        "::1", "0:0:0:0:0:0:0:1", "::ffff:7f00:1", "①②⑦.⓪.⓪.①", "LOCALHOST", "0", "10.1", "3232235777",
        "169.254.43518", "0xa9fea9fe",
    ],
)  # fmt: skip
def test_an_address_is_judged_by_what_it_means(host: str) -> None:
    """Decimal, octal, hexadecimal, short and odd forms, and names, are looked up before they are judged."""
    with pytest.raises(RefusedAddressError):
        find_addresses(host, 80, deadline=Deadline(5.0), may_be_private=False)


def test_a_private_address_is_returned_where_that_is_allowed() -> None:
    """The setting allows this machine, for a proxy or a test."""
    (address,) = find_addresses("127.1", 80, deadline=Deadline(5.0), may_be_private=True)

    assert address == (socket.AF_INET, ("127.0.0.1", 80))


def test_of_several_addresses_only_the_public_ones_are_returned() -> None:
    """A name may have both; the order of the answer is kept, and no address comes twice."""
    lookup = answering("10.0.0.1", "8.8.8.8", "127.0.0.1", "8.8.4.4", "8.8.8.8")

    found = find_addresses("mixed.example", 443, deadline=Deadline(5.0), may_be_private=False, lookup=lookup)

    assert [place for _, place in found] == [("8.8.8.8", 443), ("8.8.4.4", 443)]


@pytest.mark.parametrize("host", ["no-such-name.invalid", "a" * 64 + ".example", "a..example"])
def test_a_name_that_is_none_is_said_to_be_that(host: str) -> None:
    """It is no refusal: a resolver may be away."""
    with pytest.raises(OSError) as raised:
        find_addresses(host, 80, deadline=Deadline(20.0), may_be_private=False)

    assert not isinstance(raised.value, RefusedAddressError)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Give what a lookup that hangs waits for; it is set at the end."""
    released = threading.Event()
    yield released
    released.set()


def test_a_resolver_that_is_silent_is_not_waited_for_beyond_the_deadline(released: threading.Event) -> None:
    """It would block for half a minute, and nothing can interrupt it."""

    def hang(*_: Any, **__: Any) -> list[Any]:
        released.wait()
        return []

    with pytest.raises(TimeoutError, match="could not be looked up in time"):
        find_addresses("slow.example", 80, deadline=Deadline(0.05), may_be_private=False, lookup=hang)


def answering(*addresses: str) -> Any:
    """Return a lookup whose answer is these addresses."""

    def lookup(_host: str, port: int, **_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return lookup
