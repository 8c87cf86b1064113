"""PURE. Whose address a request comes from, also behind proxies.

A proxy appends to `X-Forwarded-For` whom it has heard from. Anybody may write anything to the left of that, so the list
is read from the right, and only as far as those who wrote it are trusted.
"""

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_HOPS = 10


def parse_networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Read networks such as `10.0.0.0/8` or single addresses. Raises ValueError for what is neither."""
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Give the address of the client: the peer's, or what trusted proxies say in the `X-Forwarded-For` headers.

    `forwarded` are the values of these headers in their order. What is no address ends the search where it is met.
    """
    address = _normal(peer)
    if not trusted or not forwarded or address is None:
        return peer
    hops = [hop.strip() for value in forwarded for hop in value.split(",")][-MAX_HOPS:]
    while hops and _is_among(address, trusted):
        before = _normal(hops.pop())
        if before is None:
            break
        address = before
    return address


def limit_key(address: str) -> str:
    """Give what limits count an address by: itself, or the /64 of an IPv6 address, all of which one person has.

    A server that listens on `::` sees IPv4 addresses mapped into IPv6: they count as what they are, and not as one /64.
    """
    normal = _normal(address)
    if normal is None or ":" not in normal:
        return normal or address
    return str(ipaddress.ip_network((normal, 64), strict=False))


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether an address is a trusted proxy's."""
    normal = _normal(address)
    return normal is not None and _is_among(normal, trusted)


def _normal(text: str) -> str | None:
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(parsed, "ipv4_mapped", None)
    return str(mapped or parsed)


def _is_among(address: str, networks: Sequence[Network]) -> bool:
    parsed = ipaddress.ip_address(address)
    return any(parsed.version == network.version and parsed in network for network in networks)
