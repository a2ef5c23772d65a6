"""The product's addresses, and two more: one whose view fails in the middle of its scope, and one
that looks, outside any scope, at what the request before has left on its connection."""

from django.http import HttpRequest, JsonResponse
from django.urls import include, path

from finetune.api.wire.base import WireView
from privatune.urls import handler400, handler403, handler404, handler500
from tenants.models import StoredFile
from tenants.roles import Scope
from tests.privatune.crossings.traffic import Mishap, Tally, look

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class Fails(WireView):
    scopes = {"get": Scope.FILES_READ}

    def get(self, request: HttpRequest) -> None:
        assert StoredFile.objects.exists()
        raise Mishap


def looks(request: HttpRequest) -> JsonResponse:
    tally = Tally()
    look(tally)
    return JsonResponse({"found": tally.crossings})


urlpatterns = [path("v1/fails", Fails.as_view()), path("looks", looks)]
urlpatterns += [path("", include("privatune.urls"))]
