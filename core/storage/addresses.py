"""Where a name leads, looked up once: what was judged is what is connected to."""

import asyncio
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from core.errors import InvalidInput, Unavailable

MOST = 4  # addresses of one name that are tried
# Where clouds keep credentials and settings of the machine, beside the link-local addresses.
METADATA = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254"))
)
NAT64 = ip_network("64:ff9b::/96")
UNICAST = ip_network("2000::/3")  # all that was given to anybody of IPv6

Address = IPv4Address | IPv6Address


async def resolved(host: str, port: int, *, seconds: float) -> tuple[str, ...]:
    """The addresses of a host, in the order to try them.

    Raises InvalidInput (`url_not_allowed`) if one of them is nobody's store, whatever name it
    has been given, and Unavailable (`fetch_failed`).
    """
    try:
        async with asyncio.timeout(seconds):
            addresses = await looked_up(host, port)
    except (OSError, UnicodeError):
        words = "The endpoint cannot be reached: its name is not known here."
        raise Unavailable(words, code="fetch_failed") from None
    if any(map(is_nobodys_store, addresses)):
        words = "The endpoint's name leads to an address that nothing is fetched from."
        raise InvalidInput(words, code="url_not_allowed")
    return tuple(map(str, addresses[:MOST]))


async def looked_up(host: str, port: int) -> tuple[Address, ...]:
    """All addresses of a host, each once, in the order to try them. Raises OSError, ValueError."""
    look_up = asyncio.get_running_loop().getaddrinfo
    found = await look_up(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(each[4][0]) for each in found))


def is_nobodys_store(address: Address) -> bool:
    """Whether it is link-local, a cloud's metadata service, multicast or no address at all,
    plainly or by way of an IPv6 form of an IPv4 address."""
    return any(
        each.is_link_local or each.is_multicast or each.is_unspecified or each in METADATA
        for each in _forms(address)
    )


def is_public(address: Address) -> bool:
    """Whether it is a host's on the internet, and so is every address that it stands for."""
    return not is_nobodys_store(address) and all(map(_is_hosts, _forms(address)))


def is_loopback(address: Address) -> bool:
    """Whether it is this machine, plainly or in another form."""
    return any(each.is_loopback for each in _forms(address))


def _is_hosts(address: Address) -> bool:
    given = address.version == 4 or address in UNICAST or address in NAT64
    return given and address.is_global


def _forms(address: Address) -> tuple[Address, ...]:
    if isinstance(address, IPv4Address):
        return (address,)
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in NAT64 or int(address) >> 32 == 0:  # the deprecated ::a.b.c.d, too
        inner.append(IPv4Address(int(address) & 0xFFFFFFFF))
    if address == IPv6Address(1):
        return (address,)
    return (address, *(each for each in inner if each is not None))
