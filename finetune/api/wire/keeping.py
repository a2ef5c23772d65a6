"""Views that take bytes in: what was kept for a wish that another request fulfilled is let go."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from finetune.api.admission import scope_of
from finetune.api.wire.base import WireView
from tenants.services.files import Kept
from tenants.vault.vault import Vault


class KeepingView(WireView):
    unscoped = frozenset({"post"})

    def once_kept(
        self,
        request: HttpRequest,
        wish: str,
        make: Callable[[], Any],
        *,
        vault: Vault,
        kept: Kept,
    ) -> HttpResponseBase:
        """`make()` once, in a scope of its own. Bytes that no row names afterwards are deleted."""
        named = False
        try:
            with scope_of(self.caller):
                response = self.once(request, wish, make)
            named = "idempotent-replayed" not in response.headers
        finally:
            if not named:
                vault.delete(kept.object_name)
        return response
