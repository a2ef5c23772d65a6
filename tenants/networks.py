"""Lists of networks from which something is allowed. Pure."""

import ipaddress
from collections.abc import Iterable

from tenants.errors import Invalid

MOST = 50


def read_networks(texts: Iterable[str]) -> list[str]:
    """Addresses and CIDR networks in canonical form. Raises Invalid naming the one at fault."""
    given = [text.strip() for text in texts if text.strip()]
    if len(given) > MOST:
        raise Invalid("too_many_networks", f"At most {MOST} networks.", param="allowed_addresses")
    found = []
    for text in given:
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise Invalid(
                "invalid_network",
                f"This is no network: {error}.",
                fix="Write an address (203.0.113.7) or a network (203.0.113.0/24, 2001:db8::/32).",
                param="allowed_addresses",
            ) from None
    return found


def is_within(address: str, networks: Iterable[str]) -> bool:
    """Whether the address is in one of them; one that cannot be read is in none."""
    known = _address(address)
    return known is not None and any(known in ipaddress.ip_network(each) for each in networks)


def are_within(networks: Iterable[str], outer: Iterable[str]) -> bool:
    """Whether each of `networks` lies inside one of `outer`."""
    wide = [ipaddress.ip_network(each) for each in outer]
    return all(
        any(_inside(ipaddress.ip_network(each), around) for around in wide) for each in networks
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        known = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = known.ipv4_mapped if isinstance(known, ipaddress.IPv6Address) else None
    return mapped or known  # ::ffff:192.0.2.1 is 192.0.2.1


def _inside(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network,
    outer: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)
