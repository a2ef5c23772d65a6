"""Which session was a person's a moment ago: people behind one address are then told apart.

Only a session that Django itself found to be somebody's is remembered, so that made-up cookies are
all counted for their address.
"""

from typing import Any

from django.conf import settings
from django.http import HttpRequest, parse_cookie

from privatune.edge.recent import Recent

REMEMBERED = 600.0  # seconds; what a session may do is asked of the database all the same


class Persons:
    def __init__(self) -> None:
        self._known: Recent[str, str] = Recent(REMEMBERED)

    def of(self, cookies: bytes) -> str | None:
        """The person of that session, as the edge names parties."""
        session = parse_cookie(cookies.decode("latin-1")).get(settings.SESSION_COOKIE_NAME)
        return self._known.get(session) if session else None

    def meet(self, request: HttpRequest) -> None:
        """After a request: remembers or forgets whose its session is, if a view has asked that. A
        look at `request.user` here would ask the database, on the event loop."""
        user: Any = getattr(request, "_cached_user", None)  # as contrib.auth's middleware keeps it
        session = request.session.session_key if user is not None else None
        if session is None:
            return
        if user.is_authenticated:
            self._known.put(session, f"person {user.pk}")
        else:
            self._known.drop(session)
