"""Whose address a request comes from, also behind the operator's own proxies.

`X-Forwarded-For` is a client's free text save for what our own proxies appended: with N proxies in
front, the N-th address from the right is the one that the outermost of them saw.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any


def client_address(scope: Mapping[str, Any], proxies: int) -> str:
    peer = str((scope.get("client") or ("", 0))[0])
    if not proxies:
        return peer
    given = b",".join(bytes(v) for n, v in scope["headers"] if n == b"x-forwarded-for")
    hops = [part.strip() for part in given.decode("latin-1").split(",") if part.strip()]
    if len(hops) < proxies:
        return peer
    try:
        return str(ipaddress.ip_address(hops[-proxies]))
    except ValueError:
        return peer
