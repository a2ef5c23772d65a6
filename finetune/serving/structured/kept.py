"""Grammars compiled before: a request is measured before it is answered, and schemas come again."""

from collections import OrderedDict
from threading import Lock
from typing import Any

COUNT = 32  # grammars of one tenant
KB = 64 << 10  # of memory that one tenant's take, the last one aside
TENANTS = 32  # who are remembered


class Kept:
    """By tenant, so that none puts another's out and none learns from the time it takes what
    another has asked for; the latest are kept."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, OrderedDict[str, tuple[Any, int]]] = OrderedDict()
        self._lock = Lock()

    def get(self, tenant: str, source: str) -> Any | None:
        with self._lock:
            own = self._tenants.get(tenant, OrderedDict())
            if source not in own:
                return None
            own.move_to_end(source)
            self._tenants.move_to_end(tenant)
            return own[source][0]

    def put(self, tenant: str, source: str, matcher: Any, kb: int) -> None:
        with self._lock:
            own = self._tenants.setdefault(tenant, OrderedDict())
            own[source] = matcher, kb
            while len(own) > COUNT or (len(own) > 1 and sum(kb for _, kb in own.values()) > KB):
                own.popitem(last=False)
            self._tenants.move_to_end(tenant)
            while len(self._tenants) > TENANTS:
                self._tenants.popitem(last=False)
