"""Whose requests a server takes: a web page's are refused, and those of a name that was bent to
this machine's address, where no API key keeps them out."""

import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from faults import UserFault

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
JSON = b"application/json"
Headers = dict[bytes, bytes]


class NotAllowed(UserFault):
    status = 401


class Misdirected(UserFault):
    status = 421


class Forbidden(UserFault):
    status = 403


class NotJson(UserFault):
    status = 415


@dataclass(frozen=True)
class Callers:
    """`key`: what a caller has to send as its API key; None: nothing, and then a request has to be
    sent to one of `names`, the server's own."""

    key: str | None
    names: frozenset[str] = LOCAL

    def require(self, headers: Headers) -> None:
        """Raises UserFault."""
        if self.key is not None:
            sent = headers.get(b"authorization", b"").removeprefix(b"Bearer ")
            if not sent or not hmac.compare_digest(sent, self.key.encode()):
                raise NotAllowed("invalid_api_key", "The API key is not the one of this server.")
            return
        self._require_own_name(headers.get(b"host", b""))
        if (origin := headers.get(b"origin")) is not None:
            self._require_own_page(origin)

    def _require_own_name(self, host: bytes) -> None:
        """A page may have a name of its own that leads here (DNS rebinding), and reads answers."""
        if _name(b"//" + host) not in self.names:
            raise Misdirected(
                "wrong_host",
                "This server has no API key, and answers under its own names alone: "
                f"{', '.join(sorted(self.names))}.",
                fix="Ask it there, or start it with --api-key-file.",
            )

    def _require_own_page(self, origin: bytes) -> None:
        if _name(origin) not in self.names:
            raise Forbidden(
                "foreign_origin",
                "A web page of another place has sent this.",
                fix="Start the server with --api-key-file for pages that may ask it.",
            )


def require_json(headers: Headers) -> None:
    """A page can send anything else without asking first. Raises UserFault."""
    sent = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if sent != JSON:
        raise NotJson(
            "unsupported_media_type",
            "A body is JSON here.",
            fix="Send the header `Content-Type: application/json`.",
        )


def _name(address: bytes) -> str | None:
    try:
        return urlsplit(address.decode("ascii")).hostname
    except ValueError:  # no address; UnicodeDecodeError is one
        return None
