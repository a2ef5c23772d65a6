"""How large a body may be at each address, in one table. What is not in it may have 4 kB."""

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.urls import Resolver404, resolve

from tenants.roles import Scope

SMALL = 4 << 10
FORM = 64 << 10
JSON = 256 << 10
PROMPT = 4 << 20  # a million tokens of text
FORM_OVERHEAD = 64 << 10  # bytes of a form around its file
PART_BYTES = 64 << 20
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})

# (method, route as Django's resolver names it); the portal's rooms by their name.
LIMITS: dict[tuple[str, str], int] = {
    ("POST", "v1/files"): settings.MAX_FILE_BYTES + FORM_OVERHEAD,
    ("POST", "v1/uploads/<str:upload_id>/parts"): PART_BYTES + FORM_OVERHEAD,
    ("POST", "v1/uploads/<str:upload_id>/complete"): 1 << 20,  # the ids of 10,000 parts
    ("POST", "v1/chat/completions"): PROMPT,
    ("POST", "v1/completions"): PROMPT,
    ("POST", "v1/responses"): PROMPT,
    ("POST", "v1/embeddings"): PROMPT,
    ("POST", "v1/rerank"): PROMPT,
    ("POST", "portal:evaluation-new"): PROMPT + FORM_OVERHEAD,  # a suite's rows
    ("POST", "portal:upload"): settings.MAX_FILE_BYTES + FORM_OVERHEAD,
}
# What begins so, unless the table says otherwise.
PREFIXES = (
    ("v1/", WRITES, JSON),
    ("api/v1/", WRITES, JSON),
    ("operator/", {"POST"}, FORM),
    ("accounts/", {"POST"}, FORM),
    ("portal:", {"POST"}, FORM),
)
FILES = frozenset(
    {"v1/files", "v1/uploads/<str:upload_id>/parts", "portal:upload", "portal:evaluation-new"}
)


@dataclass(frozen=True)
class Place:
    """An address as the edge sees it.

    `scope` set: an API key with it is needed. `slug` set: somebody signed in who may put files into
    that workspace is needed before the body comes. `waits`: the view waits for a model, and not for
    the database.
    """

    route: str
    limit: int
    scope: Scope | None = None
    slug: str | None = None
    waits: bool = False

    @property
    def spools(self) -> int:
        """A form's file is spooled twice: as the body, and as the file inside it."""
        return 2 if self.route in FILES else 1


def place_of(method: str, path: str) -> Place:
    try:
        match = resolve(path)
    except (Resolver404, ValueError):
        return Place("", SMALL)
    named = match.namespace == "portal"
    route = f"portal:{match.url_name}" if named else match.route
    limit = _limit(method, route)
    view: Any = getattr(match.func, "view_class", None)
    # HEAD is refused later, and counted as what it imitates
    scope = getattr(view, "scopes", {}).get("get" if method == "HEAD" else method.lower())
    waits = bool(getattr(view, "view_is_async", False))
    slug = match.kwargs.get("slug") if named and limit > FORM else None
    return Place(route, limit, scope, slug, waits)


def _limit(method: str, route: str) -> int:
    fitting = (
        limit for begin, methods, limit in PREFIXES if method in methods and route.startswith(begin)
    )
    return LIMITS.get((method, route)) or next(fitting, SMALL)
