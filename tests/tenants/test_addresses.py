"""A request comes from its peer, unless that peer is a proxy the operator has named."""

from typing import Any

import pytest
from django.test import RequestFactory

from tenants.addresses import client_address, network_of


@pytest.mark.parametrize(
    ("proxies", "peer", "forwarded", "client"),
    [
        ([], "203.0.113.1", "10.0.0.1", "203.0.113.1"),
        (["10.0.0.0/8"], "203.0.113.1", "198.51.100.1", "203.0.113.1"),
        (["10.0.0.0/8"], "10.0.0.7", "198.51.100.1", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.7", "1.2.3.4, 198.51.100.1", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.7", "198.51.100.1, 10.0.0.9", "198.51.100.1"),
        (["10.0.0.0/8"], "10.0.0.7", "nonsense", "10.0.0.7"),
        (["10.0.0.0/8"], "10.0.0.7", "", "10.0.0.7"),
        (["2001:db8::/32"], "2001:db8::1", "2001:67c::5", "2001:67c::5"),
        ([], "", "", "0.0.0.0"),
    ],
)
def test_only_named_proxies_are_believed(
    rf: RequestFactory, settings: Any, proxies: list[str], peer: str, forwarded: str,
    client: str,
) -> None:  # fmt: skip
    settings.TRUSTED_PROXIES = proxies
    request = rf.get("/", REMOTE_ADDR=peer, HTTP_X_FORWARDED_FOR=forwarded)
    assert client_address(request) == client


def test_one_ipv6_site_is_one_place() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9")
    assert network_of("2001:db8:1:2::1") != network_of("2001:db8:1:3::1")
    assert network_of("203.0.113.1") == "203.0.113.1"
