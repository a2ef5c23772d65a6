"""Which network address a request really comes from: the peer's, unless the peer is a proxy that
the operator has named. Nobody else's word is taken."""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest

UNKNOWN = "0.0.0.0"  # noqa: S104  a Unix socket has no address
_IPV6_SITE = 64  # bits: a household or a server gets a whole /64 to choose from


def client_address(request: HttpRequest) -> str:
    """The caller's IP address. `X-Forwarded-For` is read from its end, only past proxies named in
    PRIVATUNE_TRUSTED_PROXIES: what stands before the first stranger is what that stranger wrote."""
    address = str(request.META.get("REMOTE_ADDR") or UNKNOWN)
    hops = [each.strip() for each in request.headers.get("X-Forwarded-For", "").split(",")]
    while hops and _is_trusted(address) and _is_address(hops[-1]):
        address = hops.pop()
    return address if _is_address(address) else UNKNOWN


def network_of(address: str) -> str:
    """What one party can be told by: an IPv4 address, or the /64 that an IPv6 address is in."""
    parsed = ip_address(address)
    if parsed.version == 4:
        return str(parsed)
    return str(ip_network(f"{parsed}/{_IPV6_SITE}", strict=False))


def _is_trusted(address: str) -> bool:
    trusted = _networks(tuple(settings.TRUSTED_PROXIES))
    return _is_address(address) and any(ip_address(address) in network for network in trusted)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=8)
def _networks(names: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(name, strict=False) for name in names]
